"""Leakage at equal accuracy: values worked out by hand, and what is said where there is none."""

import json

import pandas as pd
import pytest

from splitprobe.report.frame import COLUMNS
from splitprobe.report.matched import ABSENT, BOUND, MISSED, READ, Measured, Point, Value, at, best
from splitprobe.report.numbers import Numbers

LINE = [Point(6.0, 16.0), Point(2.0, 20.0), Point(4.0, 19.0)]  # in any order


@pytest.mark.parametrize(
    ("lost", "value"),
    [
        (2.0, Value(READ, 20.0, 0.0)),
        (3.0, Value(READ, 19.5, apart=2.0)),
        (5.0, Value(READ, 17.5, apart=2.0)),
        (5.5, Value(READ, 16.75, apart=2.0)),
        (6.0, Value(READ, 16.0, 0.0)),
        (1.0, Value(MISSED, least=2.0)),
        (7.0, Value(BOUND, 16.0)),
    ],
)
def test_values_lie_on_straight_lines_between_neighbors(lost, value):
    assert at(LINE, lost) == value


def test_the_line_goes_through_settings_that_are_worse_all_round():
    """No envelope: the setting at 4 points leaks more than the one at 2 and costs more."""
    line = [Point(2.0, 18.0), Point(4.0, 22.0), Point(6.0, 20.0)]
    assert at(line, 3.0).psnr_db == 20.0
    assert at(line, 7.0) == Value(BOUND, 18.0)  # the lowest of all, not of the last
    assert best(line, 5.0) == (2.0, 18.0)


def test_of_settings_with_the_same_accuracy_the_private_one_counts():
    line = [Point(2.0, 20.0), Point(4.0, 19.0), Point(4.0, 17.0), Point(8.0, 15.0)]
    assert at(line, 4.0) == Value(READ, 17.0, 0.0)
    assert at(line, 3.0).psnr_db == 18.5
    assert at(line, 6.0).psnr_db == 16.0


def test_a_single_setting_is_a_bound_or_out_of_reach():
    assert at([Point(3.0, 18.0)], 5.0) == Value(BOUND, 18.0)
    assert at([Point(3.0, 18.0)], 3.0) == Value(READ, 18.0, 0.0)
    assert at([Point(3.0, 18.0)], 1.0) == Value(MISSED, least=3.0)
    assert at([Point(-0.5, 18.0)], 0.0) == Value(BOUND, 18.0)  # it gains accuracy
    assert at([], 1.0, Point(0.0, 24.0)) == Value(ABSENT)


def test_the_plain_network_is_one_more_point():
    assert at([Point(4.0, 20.0)], 1.0, Point(0.0, 24.0)) == Value(READ, 23.0, apart=4.0)
    assert at(LINE, 1.0, Point(0.0, 24.0)).psnr_db == 22.0
    assert at([Point(4.0, 20.0)], 5.0, Point(0.0, 19.0)) == Value(BOUND, 20.0), "a bound is a measured setting"


def test_the_plain_network_counts_only_where_every_setting_loses_more():
    line = [Point(-0.5, 20.0), Point(1.5, 18.0)]
    assert at(line, 0.5, Point(0.0, 24.0)).psnr_db == 19.0
    assert at([Point(0.0, 20.0), Point(2.0, 18.0)], 1.0, Point(0.0, 24.0)).psnr_db == 19.0


def test_the_best_measured_setting_loses_no_more():
    assert best(LINE, 1.0) is None
    assert best(LINE, 4.5) == (4.0, 19.0)
    assert best(LINE, 6.0) == (6.0, 16.0)
    assert best([Point(2.0, 18.0), Point(1.0, 18.0)], 3.0).lost == 1.0


# ---------------------------------------------------------------- from the table of numbers

BARE = "siftfunnel_architecture"
DCOR = "cnn/siftfunnel@loss.lambda_dcor"


def run(cell: str, accuracy: float | None, psnr: float | None, seed: int = 1, norm="BatchNorm", size=100) -> list:
    """The lines of one seed: a decoder of the given PSNR and a weaker variant of MLE."""
    layers = (("edge", ["Conv2d 3→8, 3×3", norm]), ("cloud", ["Flatten", cell]))  # clouds may differ
    blocks = [{"half": half, "layers": names, "shape": [8, 4, 4]} for half, names in layers]
    values = {("target", "accuracy"): accuracy, ("target", "edge_parameters"): size}
    values |= {("generator black_box", "psnr_db"): psnr, ("mle tuned", "psnr_db"): None if psnr is None else psnr - 2}
    texts = {("cell", "dataset"): "objects", ("cell", "model"): "cnn", ("target", "blocks"): json.dumps(blocks)}
    lines = [("ours", cell, seed, *place, value, "", "") for place, value in values.items()]
    return lines + [("ours", cell, seed, *place, None, text, "") for place, text in texts.items()]


def seeded(cell: str, *runs: tuple[float, float], **more) -> list:
    """Seeds 1, 2, ..., each with its accuracy and PSNR."""
    return [line for seed, own in enumerate(runs, 1) for line in run(cell, *own, seed=seed, **more)]


def measured(*runs: list, row: str = "unprotected") -> Measured:
    frame = pd.DataFrame([line for lines in runs for line in lines], columns=[*COLUMNS]).astype({"value": float})
    return Measured(Numbers.of(frame, list(dict.fromkeys(cell for cell in frame.cell if "@" not in cell))), row)


PLAIN = run("cnn/unprotected", 0.75, 24.0)
TWO = seeded("cnn/unprotected", (0.75, 24.0), (0.77, 26.0))  # two seeds
SAME = seeded("cnn/unprotected", (0.75, 24.0), (0.75, 24.0))


def test_points_come_from_the_workspace_and_the_sweep():
    sweep = [run(f"cnn/nopeek@k={i}", *own) for i, own in enumerate(((0.74, 21.0), (0.67, 16.0)))]
    own = measured(PLAIN, run("cnn/nopeek", 0.71, 18.0), *sweep, run("cnn/vib@k=1", 0.70, 10.0))
    assert own.settings("cnn/nopeek") == [(4.0, 18.0), (1.0, 21.0), (8.0, 16.0)]
    assert [own.value("cnn/nopeek", lost).psnr_db for lost in (0.5, 3.0, 5.0)] == [22.5, 19.0, 17.5]


def test_accuracies_are_compared_without_the_noise_of_float32():
    own = measured(run("cnn/unprotected", 0.875, 24.0), run("cnn/vib", 0.8450000286102295, 20.0))
    assert own.value("cnn/vib", 3.0) == Value(READ, 20.0, 0.0)


def test_absent_numbers_give_no_point():
    for r in (run("cnn/ae", None, 20.0), run("cnn/ae", 0.7, None)):
        own = measured(PLAIN, r)
        assert own.own("cnn/ae") == []
        assert own.value("cnn/ae", 3.0).kind == ABSENT
    for rows in ([], [run("cnn/unprotected", None, 24.0)]):
        own = measured(*rows, run("cnn/ae", 0.7, 20.0), run("cnn/ae@k=1", 0.7, 20.0))
        assert own.value("cnn/ae", 3.0).kind == ABSENT
    for point in (run("cnn/ae@k=1", None, 20.0), run("cnn/ae@k=1", 0.72, None)):
        assert measured(PLAIN, run("cnn/ae", 0.7, 20.0), point).knobs("cnn/ae") == {}


def test_the_plain_network_has_the_same_edge():
    rows = [run("cnn/mid", 0.7, 20.0), run("cnn/groupnorm", 0.7, 20.0, norm="GroupNorm")]
    own = measured(PLAIN, *rows, run("cnn/ae", 0.7, 20.0, size=900))
    assert [own.plain(cell) for cell in own.numbers.cells] == [None, "cnn/unprotected", None, None]
    assert own.value("cnn/groupnorm", 3.0).kind == MISSED
    assert own.value("cnn/mid", 3.0).psnr_db == pytest.approx(21.6)
    own = measured(run("cnn/unprotected", 0.75, None), run("cnn/mid", 0.71, 18.0))  # no anchor without a score
    assert own.plain("cnn/mid") == "cnn/unprotected"
    assert own.value("cnn/mid", 3.0) == Value(MISSED, least=4.0)


def test_at_siftfunnels_edge_only_its_losses_count():
    funnel = [seeded(f"cnn/{BARE}", (0.74, 20.0), (0.70, 20.0)), seeded("cnn/siftfunnel", (0.70, 15.0), (0.66, 15.0))]
    sweep = [run(f"{DCOR}=1", 0.71, 14.0), seeded(f"{DCOR}=2", (0.69, 14.0), (0.67, 14.0))]
    sweep += [run(f"{DCOR}=4", 0.69, 14.0, seed=2), run("cnn/siftfunnel@defense.siftfunnel.channels=4", 0.72, 14.0)]
    own = measured(*funnel, *sweep, row=BARE)
    assert own.knobs("cnn/siftfunnel") == {"loss.lambda_dcor": [(3.0, 14.0), (4.0, 14.0), (1.0, 14.0)]}
    usual = measured(TWO, *funnel, *sweep).knobs("cnn/siftfunnel")
    assert usual["loss.lambda_dcor"] == [(4.0, 14.0), (8.0, 14.0), (8.0, 14.0)]
    assert usual["defense.siftfunnel.channels"] == [(3.0, 14.0)]
    assert measured(TWO, funnel[1], *sweep, row=BARE).knobs("cnn/siftfunnel") == {}


def test_each_knob_has_a_line_and_the_private_one_counts():
    settings = [(4.0, 19.0, "sigma"), (2.0, 23.0, "beta"), (20.0, 10.0, "beta")]
    sweep = [run(f"cnn/vib@{key}={i}", 0.75 - lost / 100, db) for i, (lost, db, key) in enumerate(settings)]
    own = measured(PLAIN, run("cnn/vib", 0.67, 20.0), *sweep)  # 8 points lost
    # sigma: from 24 at 0 to 19 at 4; beta: from 24 to 23 at 2, to 20 at 8, to 10 at 20
    assert own.value("cnn/vib", 2.0) == Value(READ, 21.5, 4.0)
    assert own.value("cnn/vib", 6.0) == Value(READ, 19.5, 4.0)
    assert own.value("cnn/vib", 14.0) == Value(READ, 15.0, 12.0)
    # all settings as one line would have gone from 23 at 2 to 19 at 4
    own = measured(PLAIN, run("cnn/vib", 0.67, 20.0, size=9), *sweep)
    assert own.value("cnn/vib", 1.0) == Value(MISSED, least=2.0)


def test_seeds_are_read_off_one_by_one_and_averaged():
    value = measured(TWO, seeded("cnn/nopeek", (0.71, 20.0), (0.71, 20.0))).value("cnn/nopeek", 3.0)
    assert value.psnr_db == pytest.approx((21.0 + 23.0) / 2)  # 24 - 3 / 4 * 4; 26 - 3 / 6 * 6
    assert (value.number.sd, value.n, value.apart) == (pytest.approx(2**0.5), 2, 6.0)
    # a sweep's setting that ran with one of the seeds counts for each, lost against the network of its own
    point = run("cnn/nopeek@k=1", 0.74, 22.0, seed=2)
    value = measured(TWO, seeded("cnn/nopeek", (0.71, 20.0), (0.71, 20.0)), point).value("cnn/nopeek", 3.0)
    assert (value.kind, value.psnr_db, value.sd, value.apart) == (READ, 22.0, None, 0.0)


def test_a_sweeps_points_have_a_spread_over_their_seeds():
    own = measured(
        TWO,
        seeded("cnn/ae", (0.71, 20.0), (0.71, 20.0), size=9),
        seeded("cnn/ae@k=1", (0.73, 22.0), (0.75, 23.0)),
    )
    value = own.value("cnn/ae", 3.0)
    # seed 1: from 22 at 2 points lost to 20 at 4; seed 2: from 23 at 2 to 20 at 6
    assert value.psnr_db == pytest.approx((21.0 + 22.25) / 2)
    assert value.sd == pytest.approx(1.25 / 2**0.5)
    assert own.knobs("cnn/ae") == {"k": [(2.0, 22.5)]}
    assert own.knobs("cnn/ae", 2) == {"k": [(2.0, 23.0)]}
    assert own.knobs("cnn/ae", 3) == {"k": [(2.0, 22.5)]}


def test_a_sweep_of_one_seed_counts_for_each_of_the_cells():
    funnel = [seeded(f"cnn/{BARE}", (0.74, 20.0), (0.70, 20.0)), seeded("cnn/siftfunnel", (0.72, 15.0), (0.68, 15.0))]
    rows = [TWO, *funnel, run(f"{DCOR}=1", 0.70, 13.0)]
    # at 4 points lost against that edge's first seed, at 5 against the unprotected network's
    assert measured(*rows, row=BARE).value("cnn/siftfunnel", 3.0).psnr_db == 14.0
    assert measured(*rows).value("cnn/siftfunnel", 5.0).psnr_db == 13.0


@pytest.mark.parametrize(
    ("lost", "kind", "psnr", "sd"),
    # seed 1 loses 2 points, seed 2 loses 4: a bound and a value read off, a bound and out of reach, out of reach twice
    [(5.0, BOUND, 19.5, 0.5**0.5), (3.0, READ, 19.5, None), (1.0, MISSED, None, None)],
)
def test_seeds_of_different_kinds(lost, kind, psnr, sd):
    value = measured(SAME, seeded("cnn/ae", (0.73, 20.0), (0.71, 19.0), size=9)).value("cnn/ae", lost)
    assert (value.kind, value.psnr_db, value.least) == (kind, psnr, 3.0 if kind == MISSED else None)
    assert value.sd == (sd if sd is None else pytest.approx(sd))


def test_a_value_is_a_bound_where_one_seeds_is():
    value = measured(SAME, seeded("cnn/nopeek", (0.71, 20.0), (0.73, 18.0))).value("cnn/nopeek", 3.0)
    # 24 - 3 / 4 * 4 read off; 18, since it loses 2 alone
    assert (value.kind, value.psnr_db) == (BOUND, pytest.approx((21.0 + 18.0) / 2))


def test_the_knob_is_chosen_once_and_not_seed_by_seed():
    sweep = [
        seeded("cnn/vib@sigma=1", (0.72, 19.0), (0.72, 23.0)),
        seeded("cnn/vib@beta=1", (0.72, 24.0), (0.72, 19.0)),
    ]
    value = measured(SAME, seeded("cnn/vib", (0.55, 10.0), (0.55, 10.0)), *sweep).value("cnn/vib", 3.0)
    assert value.psnr_db == 21.0  # not 19, the better of the two in each seed


def test_a_seed_without_its_unprotected_network_takes_the_spread_away():
    own = measured(PLAIN, seeded("cnn/nopeek", (0.71, 20.0), (0.71, 18.0)))
    assert own.value("cnn/nopeek", 5.0) == Value(BOUND, 19.0)
    change = own.change("cnn/nopeek")
    assert change.value is None
    assert change.reason == "no unprotected row of this dataset and model to compare with"


def test_settings_are_in_the_order_of_their_values():
    points = [run(f"cnn/ae@defense.l1={value}", 0.7, 20.0) for value in ("10", "2", "1e-05")]
    assert measured(PLAIN, run("cnn/ae", 0.7, 20.0), *points).numbers.settings("cnn/ae") == [
        f"cnn/ae@defense.l1={value}" for value in ("1e-05", "2", "10")
    ]
