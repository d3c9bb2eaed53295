"""The paper's criterion: hand-made cells with known ranks, Fano's bound by hand, a fabricated study, its figure."""

import math
import re

import pytest
from fabricated import FLOOR, Repository, scores
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from test_figures import assert_inside_and_apart, rebuilt
from test_tables import block, build

from splitprobe.params import ParamsError
from splitprobe.report import criterion_figure, fano
from splitprobe.report.criterion_values import (
    ALL,
    FACTORS,
    FIXED,
    OUTCOMES,
    STAGES,
    architecture,
    architecture_title,
    conclusion,
    examine,
    strongest,
)
from splitprobe.report.results import collect
from splitprobe.report.statistics import CONTRADICTED, SUPPORTED, UNDECIDED, UNTESTED, Settings
from splitprobe.report.style import styled

NEW = ("entropy", "dependence")  # sections of the information stage that older results lack


@pytest.fixture
def ten(tmp_path) -> Repository:
    """Ten cells of one architecture: from each to the next the decoder, MLE and MI gain, non-zero entries fall."""
    made = Repository(tmp_path)
    names = [f"cnn/row{i}" for i in range(10)]
    for i, name in enumerate(names):
        row = (f"Row {i}", "nls", 0.7, {"black_box": 13.0 + i}, (6.0, 12.5 + 0.5 * i), 0.5 + 0.3 * i, 0.1 + 0.05 * i)
        made.cell(name, row)
        made.edit(name, "information", lambda record, i=i: record["effective"].update(nonzero_per_image=900.0 - i))
    made.rows["criterion"] = names
    return made


def results_of(made: Repository) -> list:
    return collect(made.params(), made.paths, "criterion", STAGES)


def judged(made: Repository) -> dict:
    """(factor, outcome, scope) to finding."""
    found = examine(results_of(made), made.params().section("criterion", Settings))
    return {(f.series.key, f.outcome, f.scope): f for f in found}


def without_new_fields(made: Repository) -> None:
    """As results were before these fields existed."""
    for cell in made.rows["criterion"]:
        made.edit(cell, "information", lambda record: [record.pop(key) for key in NEW])
        made.edit(cell, "information", lambda record: [record["mine"].pop(key) for key in ("infonce", "decoder")])
        made.edit(cell, "generator", lambda record: [d.pop("identified") for d in record["decoders"].values()])
        made.edit(cell, "mle", lambda record: [v.pop("identified") for v in record["variants"].values()])


def test_rows_in_order_support_and_rows_in_reverse_contradict(ten):
    tests = judged(ten)
    for outcome in ("strongest", "generator", "mle"):
        for key in ("mi_calibrated", "mi_infonce", "mi_paper", "entropy", "dependence", "product_infonce"):
            found = tests[key, outcome, ALL]
            assert (found.found.rho, found.verdict) == (pytest.approx(1), SUPPORTED)
        assert tests["nonzero", outcome, FIXED].verdict == CONTRADICTED
        assert tests["nonzero", outcome, ALL].found.rho == pytest.approx(-1)
        # the size falls by a hundredth, I and H(z) grow by more
        assert tests["product_size_calibrated", outcome, ALL].verdict == SUPPORTED
        assert tests["bytes", outcome, ALL].found.reason == "one of the two does not vary"
        assert tests["fit_infonce", outcome, ALL].verdict == UNTESTED  # there is no other network to fit on
    assert tests["mi_calibrated", "hybrid", ALL].verdict == UNTESTED  # it ran on none of these cells
    assert ("mi_calibrated", "strongest", architecture(results_of(ten)[0])) in tests
    assert tests["mi_calibrated", "mle", ALL].found.count == 10


def test_dead_channels_are_expected_to_fall(ten):
    for i, cell in enumerate(ten.rows["criterion"]):
        ten.edit(cell, "information", lambda record, i=i: record["effective"].update(dead_channels=20 - i))
    found = judged(ten)["dead_share", "strongest", ALL]
    assert (found.found.rho, found.verdict) == (pytest.approx(-1), SUPPORTED)


def test_saturated_estimates_are_ties_and_counted(ten):
    for i, cell in enumerate(ten.rows["criterion"][7:]):
        change = {"mi_nats": 0.984 - 0.03 * i}  # in reverse, but all within 0.1 of the cap
        ten.edit(cell, "information", lambda record, c=change: record["mine"]["paper"].update(c))
    found = judged(ten)["mi_paper", "strongest", ALL]
    assert found.series.capped == 3
    # ranks 8, 9, 10 are 9 each: the variance of one series falls from 82.5 to 80.5, the covariance too
    assert found.found.rho == pytest.approx(80.5 / math.sqrt(82.5 * 80.5))
    table = block(build(ten, "criterion")[0], "## Rank correlation with the gain of the strongest attack")
    assert table[2][:5] == ["MI (paper's MINE), nats", "–", "+", "10", "3"]


def test_the_gain_is_over_the_floor_of_the_same_images(ten):
    ten.edit("cnn/row9", "mle", lambda record: record["floors"].update(mean_image=scores(2.0)))
    last = results_of(ten)[9]
    attack = strongest(last)
    assert attack.gain == pytest.approx(22 - FLOOR)  # not MLE's 17 - 2 dB: tables name the attack of the highest PSNR
    ten.edit("cnn/row9", "generator", lambda record: record["decoders"]["black_box"].update(psnr_db=None))
    attack = strongest(results_of(ten)[9])
    assert (attack.record["access"], attack.images) == ("white-box", 64)
    assert attack.gain == pytest.approx(15)
    ten.edit("cnn/row9", "mle", lambda record: record["variants"]["tuned"].update(psnr_db=None))
    ten.edit("cnn/row9", "generator", lambda record: record["decoders"]["black_box"].update(psnr_db=22.0))
    tests = judged(ten)
    assert tests["mi_calibrated", "mle", ALL].found.count == 9
    assert tests["mi_calibrated", "strongest", ALL].found.count == 10


def test_failed_attacks_stay_and_are_counted(ten):
    page, _, _ = build(ten, "criterion")
    assert "strongest attack 0 of 10; black-box generator 0 of 10; tuned MLE 0 of 10" in page
    ten.edit("cnn/row0", "generator", lambda record: record["decoders"]["black_box"].update(scores(9.0), failed=True))
    page, _, _ = build(ten, "criterion")
    assert "strongest attack 0 of 10; black-box generator 1 of 10" in page
    assert judged(ten)["entropy", "generator", ALL].found.count == 10


def test_fixed_architecture_takes_differences_between_architectures_out(ten):
    """Another network with more of both, but in reverse: supported over all cells, undone at fixed architecture."""
    for i in range(10):
        row = (f"Other {i}", "nls", 0.7, {"black_box": 30.0 - i}, (6.0, 12.5), 9.0 + 0.3 * i, 0.1)
        ten.cell(f"resnet18/row{i}", row, model="resnet18", cut=3)
        ten.rows["criterion"].append(f"resnet18/row{i}")
    tests = judged(ten)
    assert tests["mi_calibrated", "generator", ALL].verdict == SUPPORTED
    fixed = tests["mi_calibrated", "generator", FIXED]
    assert fixed.found.rho == pytest.approx(0)
    assert (fixed.verdict, fixed.found.degrees) == (UNDECIDED, 20 - 2 - 1)
    other = architecture(results_of(ten)[-1])
    assert other[:3] == ("objects", "resnet18", 3)
    assert tests["mi_calibrated", "generator", other].verdict == CONTRADICTED
    page, _, _ = build(ten, "criterion")
    head = block(page, "## Within one architecture, strongest attack")[0]
    assert head[2:] == ["objects, CNN, cut 2: 10 cells", "objects, ResNet-18, cut 3: 10 cells"]
    assert "**supported over all cells, undecided at fixed architecture** with MI (calibrated)" in page


def test_another_edge_is_another_architecture(ten):
    """Five of ten send fewer entries and leak less; within each edge, more entries go with less: size is undone."""
    for i in range(10):
        small = i < 5
        row = (f"Row {i}", "nls", 0.7, {"black_box": (13.0 if small else 30.0) - i}, (6.0, 12.5), 1.0, 0.1)
        ten.cell(f"cnn/row{i}", row)
        entries = (100.0 if small else 900.0) + i
        ten.edit(f"cnn/row{i}", "information", lambda r, n=entries: r["effective"].update(nonzero_per_image=n))
        if small:
            ten.edit(f"cnn/row{i}", "target", lambda r: r["blocks"][0]["layers"].append("CBAM"))
    tests = judged(ten)
    assert tests["nonzero", "generator", ALL].found.rho > 0
    assert tests["nonzero", "generator", FIXED].found.rho == pytest.approx(-1)
    assert tests["nonzero", "generator", FIXED].verdict == CONTRADICTED
    results = results_of(ten)
    titles = [architecture_title(architecture(r), results) for r in (results[0], results[-1])]
    assert titles == ["objects, CNN, cut 2, edge of Row 0", "objects, CNN, cut 2, edge of Row 5"]


@pytest.mark.parametrize(
    ("overall", "fixed", "said"),
    [
        (SUPPORTED, SUPPORTED, "supported"),
        (SUPPORTED, CONTRADICTED, "supported over all cells, contradicted at fixed architecture"),
        (UNTESTED, UNTESTED, "not tested"),
    ],
)
def test_conclusions(overall, fixed, said):
    assert conclusion(overall, fixed) == said


# ---------------------------------------------------------------- Fano


def test_fanos_bound_by_hand():
    # of 8 images, log 8 = 3 log 2: with I = log 2 at least 1 - 2/3 of the answers are wrong
    assert fano.least_error(math.log(2), 8) == pytest.approx(1 / 3)
    assert fano.least_error(2 * math.log(2), 8) == pytest.approx(0)
    assert fano.least_information(0, 8) == pytest.approx(2 * math.log(2))
    assert fano.least_information(1 / 3, 8) == pytest.approx(math.log(2))
    assert fano.least_information(0.9, 8) == 0  # 0.3 log 2 - log 2


@pytest.mark.parametrize(
    ("identified", "information", "status"),
    [(0.5, 1.0, fano.HOLDS), (0.7, 1.0, fano.VIOLATED), (0.7, 2.0, fano.VACUOUS), (0.7, -1.0, fano.VIOLATED)],
)
def test_a_bound_holds_is_violated_or_says_nothing(ten, identified, information, status):
    """Of 8 images; I in units of log 2, so that the least error is (2 - I) / 3."""
    change = {"mi_nats": information * math.log(2)}
    ten.edit("cnn/row9", "generator", lambda record: record.update(images=8))
    ten.edit("cnn/row9", "generator", lambda record: record["decoders"]["black_box"].update(identified=identified))
    ten.edit("cnn/row9", "information", lambda record: record["mine"]["infonce"].update(change))
    one = fano.identification(results_of(ten)[9])
    assert one.bounds["infonce"] == pytest.approx((2 - max(0, information)) / 3)
    assert one.error == pytest.approx(1 - identified)
    assert one.status("infonce") == status


def test_the_attack_that_names_sees_one_release(repository):
    """Several releases of an image may say more than I of one."""
    repository.rows["criterion"] = ["cnn/gaussian_noise"]
    (r,) = results_of(repository)
    assert strongest(r).record["queries"] == 16
    one = fano.identification(r)
    assert (one.access, one.images) == ("black-box", (800,))
    assert one.error == pytest.approx(1 - (19.65 - 10) / 15)


def test_fano_on_the_page_and_in_the_files(ten):
    page, lines, rows = build(ten, "criterion")
    table = block(page, "## Fano's bound on naming the image")
    share, n = 12 / 15, math.log(800)
    least = [1 - (mi + math.log(2)) / n for mi in (0.9 * 3.2, 3.2)]
    assert table[11] == [
        *("cnn/row9", "black-box", "800", "0.200", f"{least[0]:.3f}", "violated", f"{least[1]:.3f}", "violated"),
        f"{share * n - math.log(2):.2f}",
    ]
    counts = [line[5] for line in table[2:]]
    assert rows["fano"]["infonce_violated"] == counts.count("violated") > 0
    assert f"**holds** in {counts.count('holds')}, **vacuous** in 0, **violated** in {counts.count('violated')}" in page
    assert "For pixels the paper's bound (7) cannot be computed" in page
    cell = next(line for line in lines if line["row"] == "cnn/row9")
    assert float(cell["naming_error"]) == pytest.approx(0.2)
    assert cell["bound_infonce"] == "violated"


def test_a_record_without_the_share_says_so(ten):
    ten.edit("cnn/row3", "generator", lambda record: record["decoders"]["black_box"].pop("identified"))
    page, _, rows = build(ten, "criterion")
    table = block(page, "## Fano's bound on naming the image")
    assert table[5] == ["cnn/row3", "black-box", "800", "n/a<sup>1</sup>", *["–"] * 5]
    assert "<sup>1</sup> this attack's record has no share of images identified" in page
    assert sum(rows["fano"][f"infonce_{kind}"] for kind in ("holds", "vacuous", "violated")) == 9


# ---------------------------------------------------------------- the page


def test_the_sentences_follow_from_the_verdicts(ten):
    page, lines, rows = build(ten, "criterion")
    assert "- More I(x; z), an easier attack: **supported** with MI (calibrated), MI (InfoNCE)." in page
    assert "- More H(z), an easier attack: **supported** with H(z)." in page
    assert "- A larger z (in non-zero entries), an easier attack: **contradicted** with Non-zero entries of z." in page
    assert "**not tested** with Fit on other networks (calibrated), Fit on other networks (InfoNCE)." in page
    supported = ("mi_calibrated", "mi_infonce", "entropy")
    supported += tuple(f"product{size}_{name}" for size in ("", "_size") for name in ("calibrated", "infonce"))
    assert "Of 10 forms of the criterion's factors, supported with the strongest attack" in page
    assert f"at fixed architecture: {len(supported)}; contradicted in both: 1.**" in page
    for key in supported:
        assert rows[key]["strongest_all_verdict"] == rows[key]["strongest_fixed_verdict"] == SUPPORTED
    assert rows["nonzero"]["mle_all_rho"] == -1
    tests = [line for line in lines if line["line"] == "test"]
    assert len(tests) == 16 * len(OUTCOMES) * 3  # factors, outcomes, and all cells, fixed and the one architecture
    assert len([line for line in lines if line["line"] == "cell"]) == 10
    assert {line["scope"] for line in tests} == {ALL, FIXED, "objects, CNN, cut 2"}


def alone(made: Repository) -> int:
    """Cells whose data, network, cut and size of edge no other cell has."""
    places = []
    for r in results_of(made):
        cell = r["target"]["cell"]
        places.append((cell["dataset"], cell["model"], cell["cut"], r["target"]["edge_parameters"]))
    return sum(places.count(place) == 1 for place in places)


def test_a_whole_study(whole):
    page, lines, _ = build(whole, "criterion")
    assert "63 cells, 23 architectures" in page  # two of the thirteen cuts are unprotected rows
    assert f"{alone(whole)} cells alone in their architecture are left out" in page
    fit = next(
        line for line in lines if (line["factor"], line["outcome"], line["scope"]) == ("fit_infonce", "strongest", ALL)
    )
    assert float(fit["rho"]) > 0.5
    table = block(page, "## Rank correlation with the gain of the strongest attack")
    assert len(table) == len(FACTORS) + 6 + 2
    assert all(re.fullmatch(r"-?\d\.\d\d \[-?\d\.\d\d, -?\d\.\d\d\]|n/a<sup>\d+</sup>", line[5]) for line in table[2:])


def test_older_results_are_not_tested_and_named(ten):
    without_new_fields(ten)
    page, _, rows = build(ten, "criterion")
    assert "- More H(z), an easier attack: **not tested** with H(z)." in page
    assert "<sup>1</sup> 0 cells have both values, 8 are needed" in page
    assert "with I by InfoNCE no cell has its terms" in page
    assert rows["mi_calibrated"]["strongest_all_verdict"] == SUPPORTED
    assert rows["entropy"] == {f"{o}_{scope}_verdict": UNTESTED for o in OUTCOMES for scope in (ALL, FIXED)}
    titles = [axes.get_title(loc="left") for axes in drawn(ten).axes]
    assert "MI (calibrated), nats" in titles
    assert not any("InfoNCE" in title or "H(z)" in title for title in titles)
    caption = text(drawn(ten))
    assert "No cell has: MI (InfoNCE), H(z), Squared distance correlation, MI (decoder bound)" in caption


def test_few_cells_are_enough_for_a_page_and_a_figure(ten):
    ten.rows["criterion"] = ten.rows["criterion"][:1]
    page, _, _ = build(ten, "criterion")
    assert "1 cells have both values, 8 are needed" in page
    assert "No architecture has enough cells." in page
    assert "all: n/a" in text(drawn(ten))


def test_missing_results_name_the_stage(ten):
    ten.paths.result("cnn/row4", "mle.json").unlink()
    with pytest.raises(
        ParamsError, match=r"rows\.criterion: 'cnn/row4' has no .*mle\.json; stage probe_target@cnn/row4"
    ):
        build(ten, "criterion")


# ---------------------------------------------------------------- the figure


def drawn(made: Repository):
    with styled():
        return criterion_figure.draw(made.params(), made.paths)


def text(figure) -> str:
    own = [one.get_text() for one in (*figure.texts, *(one for axes in figure.axes for one in axes.texts))]
    return " ".join(own).replace("\n", " ")


def panel(figure, title: str):
    """The axes of a factor."""
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def dots(axes) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None)]
    return sorted(point for line in lines for point in zip(*line.get_data(), strict=True))


def test_a_panel_has_every_cell_and_its_tests(ten):
    axes = panel(drawn(ten), "MI (calibrated), nats")
    for i, dot in enumerate(dots(axes)):
        assert dot == pytest.approx((0.5 + 0.3 * i, 13.0 + i - FLOOR))
    assert i == 9
    assert axes.texts[0].get_text() == (
        "all: rho 1.00 [1.00, 1.00], n 10\nfixed architecture: rho 1.00 [1.00, 1.00], n 10"
    )
    assert panel(drawn(ten), "H(z), coded bits").get_xscale() == "log"


def test_values_at_zero_stand_at_the_left_end_of_a_logarithmic_axis(ten):
    ten.edit("cnn/row0", "information", lambda record: record["effective"].update(nonzero_per_image=0))
    axes = panel(drawn(ten), "Non-zero entries of z")
    assert dots(axes)[0] == pytest.approx((891 / 3, 13 - FLOOR))
    assert "left end: 1 at 0" in [one.get_text() for one in axes.texts]


def test_estimates_at_the_cap_are_hollow_and_other_cuts_small(whole):
    whole.edit("cnn/ae", "information", lambda record: record["mine"]["infonce"].update(mi_nats=5.7682))
    lines = panel(drawn(whole), "MI (InfoNCE), nats").lines
    hollow = [line for line in lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [1]
    small = [line for line in lines if line.get_markersize() == criterion_figure.SMALL]
    assert sum(len(line.get_xdata()) for line in small) == 11


def test_nothing_collides_and_everything_fits(whole):
    figure = drawn(whole)
    with styled():
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [one.get_window_extent(renderer) for one in (*figure.texts, *figure.legends)]
        for axes in figure.axes:
            if axes.axison:
                words = [one for one in axes.get_children() if isinstance(one, Text) and one.get_text()]
                boxes += [one.get_window_extent(renderer) for one in (axes, *words)]
    assert_inside_and_apart(figure, boxes)


def test_two_builds_give_the_same_few_bytes(ten):
    first = rebuilt(ten, "criterion")
    assert first == rebuilt(ten, "criterion")
    assert len(first[0]) < 150_000
