"""The figure of known answers: estimates where the result says, caps that lie on the panel, and errors by name."""

import copy

import pytest
from fabricated import PROVENANCE, Repository
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_figures import assert_inside_and_apart, rebuilt

from splitprobe.artifacts import write_json
from splitprobe.params import ParamsError
from splitprobe.report import calibration
from splitprobe.report.style import QUIET, styled

TRUTHS = (0.0, 1.2, 60.0)
MINE = {"epochs": 2, "fit_images": 2400, "held_out_images": 600}


def estimates(truth: float) -> dict:
    return {
        "calibrated": {"mi_nats": min(0.9 * truth, 6.0), "cap_nats": 6.397, **MINE},
        "infonce": {"mi_nats": min(0.95 * truth, 6.2), "cap_nats": 6.397, **MINE},
        "decoder_mmse": {"mi_nats": truth, "cap_nats": 434.0, "components": 64, "images": 600},
    }


RECORD = {
    "provenance": PROVENANCE,
    "shape": [1, 8, 8],
    "mutual_information": [{"rho": i / 3, "truth_nats": truth, **estimates(truth)} for i, truth in enumerate(TRUTHS)],
    "dependence": [
        {"rho": rho, "truth_dcor_squared": rho**2, "plain_dcor_squared": 0.3 + 0.7 * rho**2, "dcor_squared": rho**2}
        for rho in (0.0, 0.5, 0.9)
    ],
    "entropy": [
        {"width": width, "truth_bits": bits, "coded_bits": bits + 0.01, "deflate_bits": bits + 0.4}
        for width, bits in ((1.0, 2.1), (16.0, 6.05))
    ],
}


@pytest.fixture
def made(tmp_path) -> Repository:
    made = Repository(tmp_path)
    made.rows["calibration"] = ["calibrated", "infonce", "decoder_mmse"]
    write_json(made.paths.calibration, RECORD)
    return made


def drawn(made):
    with styled():
        return calibration.draw(made.params(), made.paths)


def named(axes, label: str) -> list[tuple[float, float]]:
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return list(zip(*line.get_data(), strict=True))


def test_every_estimate_stands_over_its_truth(made):
    information, entropy, dependence = drawn(made).axes
    assert named(information, "MINE, calibrated") == [(0, 0), (1.2, pytest.approx(1.08)), (60, 6)]
    assert named(information, "decoder bound, best decoder") == [(t, t) for t in TRUTHS]
    assert named(entropy, "static entropy code") == [(w, pytest.approx(0.01)) for w in (1, 16)]
    assert named(entropy, "deflate") == [(w, pytest.approx(0.4)) for w in (1, 16)]
    assert named(dependence, "bias-corrected") == [(0, 0), (0.25, 0.25), (pytest.approx(0.81), pytest.approx(0.81))]
    assert named(dependence, "plain")[0] == (0, 0.3)
    dotted = [line for line in information.lines if line.get_color() == "black" and line.get_label().startswith("_")]
    assert [list(line.get_xdata()) == list(line.get_ydata()) for line in dotted] == [True]


def test_a_cap_is_drawn_once_where_the_panel_reaches_it(made):
    information = drawn(made).axes[0]
    assert [line.get_ydata()[0] for line in information.lines if line.get_color() == QUIET] == [6.4]
    assert [text.get_text() for text in information.texts] == ["at most 6.4 nats"]


def test_the_caption_tells_budget_and_origin(made):
    text = " ".join(one.get_text() for one in drawn(made).texts).replace("\n", " ")
    for part in (
        "Scale demo; seed 0; CPU, 2 threads, float32.",
        "of shape 1 × 8 × 8",
        "MINE, calibrated and InfoNCE: 2 epochs on 2,400 pairs, read on 600 others.",
    ):
        assert part in text


def test_rows_choose_the_estimators_and_their_order(made):
    made.rows["calibration"] = ["infonce"]
    information = drawn(made).axes[0]
    assert [text.get_text() for text in information.get_legend().get_texts()] == ["InfoNCE"]


def test_an_absent_value_leaves_a_gap(made):
    record = copy.deepcopy(RECORD)
    record["mutual_information"][1]["infonce"]["mi_nats"] = None
    record["entropy"][0]["deflate_bits"] = None
    write_json(made.paths.calibration, record)
    information, entropy, _ = drawn(made).axes
    assert [x for x, _ in named(information, "InfoNCE")] == [0, 60]
    assert [x for x, _ in named(entropy, "deflate")] == [16]


@pytest.mark.parametrize("name", ["paper", "kraskov"])
def test_an_estimator_that_is_not_there_is_named(made, name):
    made.rows["calibration"].append(name)
    with pytest.raises(ParamsError, match=f"rows.calibration: '{name}' is no estimator here; known: "):
        drawn(made)


def test_a_stage_that_has_not_run_is_named(made):
    made.paths.calibration.unlink()
    with pytest.raises(ParamsError, match="stage calibrate_information writes it"):
        drawn(made)


def test_text_stays_apart_and_two_builds_give_the_same_bytes(made):
    figure = drawn(made)
    with styled():
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in figure.texts]
        boxes += [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert_inside_and_apart(figure, boxes)
    first = rebuilt(made, "calibration")
    assert first == rebuilt(made, "calibration")
    assert len(first[0]) < 150_000
