"""The figure of known answers: estimates where the result says, caps that lie on the panel, and errors by name."""

import pytest
from drawing import assert_readable, assert_stable, drawn, words
from fabricated import Repository
from fabricated_items import DEVICE

from splitprobe.core.params import ParamsError
from splitprobe.report import figures
from splitprobe.report.frame import NO_SEED
from splitprobe.report.style import QUIET

TRUTHS = (0.0, 1.2, 60.0)
MINE = {"epochs": 2, "fit_images": 2400, "held_out_images": 600}


@pytest.fixture
def own(tmp_path) -> Repository:
    """Three pairs for mutual information and dependence, two widths for entropy."""
    own = Repository(tmp_path)
    own.rows["calibration"] = ["calibrated", "infonce", "decoder_mmse"]
    note(own, "calibration", shape="[1, 8, 8]")
    note(own, "provenance calibration", seed=0, device=DEVICE)
    for i, truth in enumerate(TRUTHS):
        pair = f"calibration mutual_information {i}"
        note(own, pair, rho=i / 3, truth_nats=truth)
        note(own, f"{pair} calibrated", mi_nats=min(0.9 * truth, 6.0), cap_nats=6.397, **MINE)
        note(own, f"{pair} infonce", mi_nats=min(0.95 * truth, 6.2), cap_nats=6.397, **MINE)
        note(own, f"{pair} decoder_mmse", mi_nats=truth, cap_nats=434.0, components=64, images=600)
    for i, squared in enumerate((0.0, 0.25, 0.81)):
        estimates = {"plain_dcor_squared": 0.3 + 0.7 * squared, "dcor_squared": squared}
        note(own, f"calibration dependence {i}", truth_dcor_squared=squared, **estimates)
    for i, (width, bits) in enumerate(((1.0, 2.1), (16.0, 6.05))):
        codes = {"coded_bits": bits + 0.01, "deflate_bits": bits + 0.4}
        note(own, f"calibration entropy {i}", width=width, truth_bits=bits, **codes)
    return own


def note(own: Repository, item: str, **values) -> None:
    """Lines of the part that stage calibrate_information leaves."""
    for key, value in values.items():
        text = isinstance(value, str)
        own.values["calibration"]["calibration", NO_SEED, item, key] = (None, value, "") if text else (value, "", "")


def named(axes, label: str) -> list[tuple[float, float]]:
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return list(zip(*line.get_data(), strict=True))


def test_every_estimate_stands_over_its_truth(own):
    information, entropy, dependence = drawn(own, "calibration").axes
    assert named(information, "MINE, calibrated") == [(0, 0), (1.2, pytest.approx(1.08)), (60, 6)]
    assert named(information, "decoder bound, best decoder") == [(t, t) for t in TRUTHS]
    assert named(entropy, "static entropy code") == [(w, pytest.approx(0.01)) for w in (1, 16)]
    assert named(entropy, "deflate") == [(w, pytest.approx(0.4)) for w in (1, 16)]
    assert named(dependence, "bias-corrected") == [(0, 0), (0.25, 0.25), (0.81, 0.81)]
    assert named(dependence, "plain")[0] == (0, 0.3)
    dotted = [line for line in information.lines if line.get_color() == "black" and line.get_label().startswith("_")]
    assert [list(line.get_xdata()) == list(line.get_ydata()) for line in dotted] == [True]


def test_a_cap_is_drawn_once_where_the_panel_reaches_it(own):
    information = drawn(own, "calibration").axes[0]
    assert [line.get_ydata()[0] for line in information.lines if line.get_color() == QUIET] == [6.4]
    assert [text.get_text() for text in information.texts] == ["at most 6.4 nats"]


def test_the_caption_tells_budget_and_origin(own):
    text = words(drawn(own, "calibration"))
    for part in (
        *("Scale demo; seed 0; CPU, 2 threads, float32.", "of shape 1 × 8 × 8"),
        "MINE, calibrated and InfoNCE: 2 epochs on 2,400 pairs, read on 600 others.",
    ):
        assert part in text


def test_rows_choose_the_estimators_and_their_order(own):
    own.rows["calibration"] = ["infonce"]
    information = drawn(own, "calibration").axes[0]
    assert [text.get_text() for text in information.get_legend().get_texts()] == ["InfoNCE"]


def test_an_absent_value_leaves_a_gap(own):
    note(own, "calibration mutual_information 1 infonce", mi_nats=None)
    note(own, "calibration entropy 0", deflate_bits=None)
    information, entropy, _ = drawn(own, "calibration").axes
    assert [x for x, _ in named(information, "InfoNCE")] == [0, 60]
    assert [x for x, _ in named(entropy, "deflate")] == [16]


@pytest.mark.parametrize("name", ["paper", "kraskov"])
def test_an_estimator_that_is_not_there_is_named(own, name):
    own.rows["calibration"].append(name)
    with pytest.raises(ParamsError, match=f"rows.calibration: '{name}' is no estimator here; known: "):
        drawn(own, "calibration")


def test_a_stage_that_has_not_run_is_named(own):
    params = own.params()
    own.paths.numbers("calibration").unlink()
    with pytest.raises(FileNotFoundError, match=r"calibration\.csv is missing: stage collect_numbers@calibration"):
        figures.draw("calibration", params, own.paths)


@pytest.mark.slow
def test_text_stays_apart_and_two_builds_give_the_same_bytes(own):
    assert_readable(drawn(own, "calibration"))
    assert_stable(own, "calibration", 100_000)
