"""The paper's criterion: hand-study cells with known ranks, Fano's bound by hand, a fabricated study, its figure."""

import json
import math
import re

import pytest
from drawing import assert_inside_and_apart, assert_stable, drawn, words
from fabricated import FLOOR, Repository, scores
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from test_tables import block, build

from splitprobe.core.params import ParamsError
from splitprobe.report import criterion, criterion_figure
from splitprobe.report.criterion_values import ALL, FACTORS, FIXED, OUTCOMES, architectures, collected, examine
from splitprobe.report.statistics import CONTRADICTED, SUPPORTED, UNDECIDED, UNTESTED, Settings
from splitprobe.report.style import styled

GAINED = "## Rank correlation with the gain of the strongest attack"
SHARE = "identified"
pytestmark = pytest.mark.slow  # bootstraps, permutations and figures of whole studies


@pytest.fixture
def ten(tmp_path) -> Repository:
    """Ten cells of one architecture: from each to the next the decoder, MLE and MI gain, non-zero entries fall."""
    study = Repository(tmp_path)
    study.rows["criterion"] = [f"cnn/row{i}" for i in range(10)]
    for i, name in enumerate(study.rows["criterion"]):
        row = (f"Row {i}", "nls", 0.7, {"black_box": 13.0 + i}, (6.0, 12.5 + 0.5 * i), 0.5 + 0.3 * i, 0.1 + 0.05 * i)
        study.cell(name, row)
        study.set(name, "effective", nonzero_per_image=900.0 - i)
    return study


def judged(study: Repository) -> dict:
    """(factor, outcome, scope) to test."""
    numbers = study.numbers("criterion")
    return examine(numbers, collected(numbers), study.params().section("criterion", Settings))


def test_rows_in_order_support_and_rows_in_reverse_contradict(ten):
    tests = judged(ten)
    for outcome in ("strongest", "generator", "mle"):
        for key in ("mi_calibrated", "mi_infonce", "mi_paper", "entropy", "dependence", "product_infonce"):
            test = tests[key, outcome, ALL]
            assert (test.rho, test.verdict) == (pytest.approx(1), SUPPORTED)
        assert tests["nonzero", outcome, FIXED].verdict == CONTRADICTED
        assert tests["nonzero", outcome, ALL].rho == pytest.approx(-1)
        # the size falls by a hundredth, I and H(z) grow by more
        assert tests["product_size_calibrated", outcome, ALL].verdict == SUPPORTED
        assert tests["entries", outcome, ALL].reason == "one of the two does not vary"
        assert tests["fit_infonce", outcome, ALL].verdict == UNTESTED  # there is no other network to fit on
    assert tests["mi_calibrated", "hybrid", ALL].verdict == UNTESTED  # it ran on none of these cells
    assert tests["mi_calibrated", "strongest", "objects, CNN, cut 2"].verdict == SUPPORTED
    assert tests["mi_calibrated", "mle", ALL].count == 10


def test_dead_channels_are_expected_to_fall(ten):
    for i, cell in enumerate(ten.rows["criterion"]):
        ten.set(cell, "effective", dead_channels=20 - i)
    test = judged(ten)["dead_share", "strongest", ALL]
    assert (test.rho, test.verdict) == (pytest.approx(-1), SUPPORTED)


def test_saturated_estimates_are_ties_and_counted(ten):
    for i, cell in enumerate(ten.rows["criterion"][7:]):
        ten.set(cell, "mi paper", mi_nats=0.984 - 0.03 * i)  # in reverse, but all within 0.1 of the cap
    assert collected(ten.numbers("criterion")).capped_mi_paper.tolist() == [False] * 7 + [True] * 3
    # ranks 8, 9, 10 are 9 each: the variance of one series falls from 82.5 to 80.5, the covariance too
    rho = judged(ten)["mi_paper", "strongest", ALL].rho
    assert rho == pytest.approx(80.5 / math.sqrt(82.5 * 80.5))
    table = block(build(ten, "criterion")[0], GAINED)
    assert table[2][:5] == ["MI (paper's MINE), nats", "–", "+", "10", "3"]


def test_the_gain_is_over_the_floor_of_the_same_images(ten):
    def last() -> tuple:
        line = next(line for line in build(ten, "criterion")[1] if line["row"] == "cnn/row9")
        return line["strongest_access"], line["strongest_gain_db"], line["mle_gain_db"]

    ten.set("cnn/row9", "floor mle mean_image", **scores(2.0))
    # not MLE's 17 - 2 dB: tables name the attack of the highest PSNR
    assert last() == ("black-box", "9.8", "15")  # 22 - FLOOR
    ten.set("cnn/row9", "generator black_box", psnr_db=None)
    assert last() == ("white-box", "15", "15")
    ten.set("cnn/row9", "mle tuned", psnr_db=None)
    ten.set("cnn/row9", "generator black_box", psnr_db=22.0)
    tests = judged(ten)
    assert tests["mi_calibrated", "mle", ALL].count == 9
    assert tests["mi_calibrated", "strongest", ALL].count == 10


def test_failed_attacks_stay_and_are_counted(ten):
    assert "strongest attack 0 of 10; black-box generator 0 of 10; tuned MLE 0 of 10" in build(ten, "criterion")[0]
    ten.set("cnn/row0", "generator black_box", **scores(9.0), failed=True)
    assert "strongest attack 0 of 10; black-box generator 1 of 10" in build(ten, "criterion")[0]
    assert judged(ten)["entropy", "generator", ALL].count == 10


def test_fixed_architecture_takes_differences_between_architectures_out(ten):
    """Another network with more of both, but in reverse: supported over all cells, undone at fixed architecture."""
    for i in range(10):
        row = (f"Other {i}", "nls", 0.7, {"black_box": 30.0 - i}, (6.0, 12.5), 9.0 + 0.3 * i, 0.1)
        ten.cell(f"resnet18/row{i}", row, model="resnet18", cut=3)
        ten.rows["criterion"].append(f"resnet18/row{i}")
    tests = judged(ten)
    assert tests["mi_calibrated", "generator", ALL].verdict == SUPPORTED
    test = tests["mi_calibrated", "generator", FIXED]
    assert test.rho == pytest.approx(0)
    assert (test.verdict, test.degrees) == (UNDECIDED, 20 - 2 - 1)
    assert tests["mi_calibrated", "generator", "objects, ResNet-18, cut 3"].verdict == CONTRADICTED
    page, _, _ = build(ten, "criterion")
    head = block(page, "## Within one architecture, strongest attack")[0]
    assert head[2:] == ["objects, CNN, cut 2: 10 cells", "objects, ResNet-18, cut 3: 10 cells"]
    assert "**supported over all cells, undecided at fixed architecture** with MI (calibrated)" in page


def test_another_edge_is_another_architecture(ten):
    """Five of ten send fewer entries and leak less; within each edge, more entries go with less: size is undone."""
    for i in range(10):
        small = i < 5
        ten.set(f"cnn/row{i}", "generator black_box", **scores((13.0 if small else 30.0) - i))
        ten.set(f"cnn/row{i}", "effective", nonzero_per_image=(100.0 if small else 900.0) + i)
        if small:
            blocks = [{"half": "edge", "layers": ["CBAM"], "shape": [16, 8, 8]}]
            ten.set(f"cnn/row{i}", "target", blocks=json.dumps(blocks))
    tests = judged(ten)
    assert tests["nonzero", "generator", ALL].rho > 0
    assert tests["nonzero", "generator", FIXED].rho == pytest.approx(-1)
    assert tests["nonzero", "generator", FIXED].verdict == CONTRADICTED
    titles = architectures(ten.numbers("criterion"))
    assert titles == ["objects, CNN, cut 2, edge of Row 0"] * 5 + ["objects, CNN, cut 2, edge of Row 5"] * 5


# ---------------------------------------------------------------- Fano


def test_fanos_bound_by_hand():
    # of 8 images, log 8 = 3 log 2: with I = log 2 at least 1 - 2/3 of the answers are wrong
    assert criterion.least_error(math.log(2), 8) == pytest.approx(1 / 3)
    assert criterion.least_error(2 * math.log(2), 8) == pytest.approx(0)
    assert criterion.least_information(0, 8) == pytest.approx(2 * math.log(2))
    assert criterion.least_information(1 / 3, 8) == pytest.approx(math.log(2))
    assert criterion.least_information(0.9, 8) == 0  # 0.3 log 2 - log 2


@pytest.mark.parametrize(
    ("identified", "information", "status"),
    [
        (0.5, 1.0, criterion.HOLDS),
        (0.7, 1.0, criterion.VIOLATED),
        (0.7, 2.5, criterion.VACUOUS),
        (0.7, -1.0, criterion.VIOLATED),
    ],
)
def test_a_bound_holds_is_violated_or_says_nothing(ten, identified, information, status):
    """Of 8 images; I in units of log 2, so that the least error is (2 - I) / 3."""
    ten.set("cnn/row9", "generator", images=8)
    ten.set("cnn/row9", "generator black_box", identified=identified)
    ten.set("cnn/row9", "mi infonce", mi_nats=information * math.log(2))
    line = criterion.identifications(ten.numbers("criterion"))["cnn/row9"]
    assert line["least_error_infonce"] == pytest.approx((2 - max(0, information)) / 3)
    assert line["naming_error"] == pytest.approx(1 - identified)
    assert line["bound_infonce"] == status


def test_the_attack_that_names_sees_one_release(repository):
    """Several releases of an image may say more than I of one."""
    repository.rows["criterion"] = ["cnn/gaussian_noise"]
    line = criterion.identifications(repository.numbers("criterion"))["cnn/gaussian_noise"]
    assert (line["named_by"], line["named_images"]) == ("black-box", "800")
    assert line["naming_error"] == pytest.approx(1 - (19.65 - 10) / 15)


def test_naming_is_a_mean_over_seeds_each_with_its_own_attack(ten):
    ten.reseed("cnn/row9", 0, 1)
    ten.set("cnn/row9", "generator black_box", seed=1, psnr_db=10.0)  # MLE's 17 dB, 7 / 15 of 64 images
    ten.set("cnn/row9", "mi calibrated", seed=1, mi_nats=2.2)
    line = criterion.identifications(ten.numbers("criterion"))["cnn/row9"]
    assert (line["named_by"], line["named_images"]) == ("black-box / white-box", "800 / 64")
    assert line["naming_error"] == pytest.approx(1 - (12 / 15 + 7 / 15) / 2)
    least = [criterion.least_error(3.2, 800), criterion.least_error(2.2, 64)]
    assert line["least_error_calibrated"] == pytest.approx(sum(least) / 2)
    ten.set("cnn/row9", "mle tuned", seed=1, identified=(None, "lost"))
    line = criterion.identifications(ten.numbers("criterion"))["cnn/row9"]
    assert (line["naming_error"], line["bound_calibrated"], line["naming_absent"]) == (None, None, "lost")


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
    ten.drop("cnn/row3", "generator black_box", SHARE)
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
    assert len(tests) == 15 * len(OUTCOMES) * 3  # factors, outcomes, and all cells, fixed and the one architecture
    assert len([line for line in lines if line["line"] == "cell"]) == 10
    assert {line["scope"] for line in tests} == {ALL, FIXED, "objects, CNN, cut 2"}


def test_a_whole_study(whole):
    page, lines, _ = build(whole, "criterion")
    assert "63 cells, 23 architectures" in page  # two of the thirteen cuts are unprotected rows
    titles = architectures(whole.numbers("criterion"))
    assert f"{sum(titles.count(t) == 1 for t in titles)} cells alone in their architecture are left out" in page
    place = ("fit_infonce", "strongest", ALL)
    fit = next(line for line in lines if (line["factor"], line["outcome"], line["scope"]) == place)
    assert float(fit["rho"]) > 0.5
    table = block(page, GAINED)
    assert len(table) == len(FACTORS) + 2
    assert all(re.fullmatch(r"-?\d\.\d\d \[-?\d\.\d\d, -?\d\.\d\d\]|n/a<sup>\d+</sup>", line[5]) for line in table[2:])


def test_older_results_are_not_tested_and_named(ten):
    for cell in ten.rows["criterion"]:
        for item in ("entropy", "dependence", "mi infonce", "mi decoder"):
            ten.drop(cell, item)
        for item in ("generator black_box", "mle paper", "mle tuned"):
            ten.drop(cell, item, SHARE)
    page, _, rows = build(ten, "criterion")
    assert "- More H(z), an easier attack: **not tested** with H(z)." in page
    assert "<sup>1</sup> 0 cells have both values, 8 are needed" in page
    assert "with I by InfoNCE no cell has its terms" in page
    assert rows["mi_calibrated"]["strongest_all_verdict"] == SUPPORTED
    assert rows["entropy"] == {f"{o}_{scope}_verdict": UNTESTED for o in OUTCOMES for scope in (ALL, FIXED)}
    figure = drawn(ten, "criterion")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "MI (calibrated), nats" in titles
    assert not any("InfoNCE" in title or "H(z)" in title for title in titles)
    absent = "No cell has: H(z), I (calibrated) × H(z) × size, Squared distance correlation, MI (decoder bound)"
    assert absent in words(figure)


def test_few_cells_are_enough_for_a_page_and_a_figure(ten):
    ten.rows["criterion"] = ten.rows["criterion"][:1]
    page, _, _ = build(ten, "criterion")
    assert "1 cells have both values, 8 are needed" in page
    assert "No architecture has enough cells." in page
    assert "all: n/a" in words(drawn(ten, "criterion"))


def test_missing_results_name_the_stage(ten):
    ten.rows["criterion"].append("cnn/row10")
    with pytest.raises(ParamsError, match=r"rows\.criterion: 'cnn/row10' has no line in .*cnn\.csv; stage collect_n"):
        build(ten, "criterion")


# ---------------------------------------------------------------- the figure


def panel(figure, title: str):
    """The axes of a factor."""
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def dots(axes) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None)]
    return sorted(point for line in lines for point in zip(*line.get_data(), strict=True))


def test_a_panel_has_every_cell_and_its_tests(ten):
    axes = panel(drawn(ten, "criterion"), "MI (calibrated), nats")
    for i, dot in enumerate(dots(axes)):
        assert dot == pytest.approx((0.5 + 0.3 * i, 13.0 + i - FLOOR))
    assert i == 9
    assert axes.texts[0].get_text() == (
        "all: rho 1.00 [1.00, 1.00], n 10\nfixed architecture: rho 1.00 [1.00, 1.00], n 10"
    )
    assert panel(drawn(ten, "criterion"), "H(z), coded bits").get_xscale() == "log"


def test_values_at_zero_stand_at_the_left_end_of_a_logarithmic_axis(ten):
    ten.set("cnn/row0", "effective", nonzero_per_image=0)
    axes = panel(drawn(ten, "criterion"), "Non-zero entries of z")
    assert dots(axes)[0] == pytest.approx((891 / 3, 13 - FLOOR))
    assert "left end: 1 at 0" in [text.get_text() for text in axes.texts]


def test_estimates_at_the_cap_are_hollow_and_other_cuts_small(whole):
    assert "hollow" not in words(drawn(whole, "criterion"))  # none is at its cap: these have none
    whole.set("cnn/ae", "mi calibrated", mi_nats=5.7682, cap_nats=5.8)
    figure = drawn(whole, "criterion")
    assert "hollow: at the estimator's cap" in words(figure)
    lines = panel(figure, "MI (calibrated), nats").lines
    hollow = [line for line in lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [1]
    small = [line for line in lines if line.get_markersize() == criterion_figure.SMALL]
    assert sum(len(line.get_xdata()) for line in small) == 11


def test_nothing_collides_and_everything_fits(whole):
    figure = drawn(whole, "criterion")
    with styled():
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [artist.get_window_extent(renderer) for artist in (*figure.texts, *figure.legends)]
        for axes in figure.axes:
            if axes.axison:
                labels = [text for text in axes.get_children() if isinstance(text, Text) and text.get_text()]
                boxes += [artist.get_window_extent(renderer) for artist in (axes, *labels)]
    assert_inside_and_apart(figure, boxes)


@pytest.mark.slow
def test_two_builds_give_the_same_few_bytes(ten):
    assert_stable(ten, "criterion", 150_000)
