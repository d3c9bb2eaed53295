"""Leakage at equal accuracy: values worked out by hand, and what is said where there is none."""

from dataclasses import replace

import pytest

from splitprobe.report import matched
from splitprobe.report.matched import ABSENT, BOUND, MISSED, READ, Point, Value, at, best
from splitprobe.report.results import Results, combined
from splitprobe.report.scores import strongest
from splitprobe.report.spread import Mean

LINE = [Point(6.0, 16.0), Point(2.0, 20.0), Point(4.0, 19.0)]  # in any order


@pytest.mark.parametrize(
    ("lost", "value"),
    [
        (2.0, Value(READ, 20.0)),
        (3.0, Value(READ, 19.5, apart=2.0)),
        (5.0, Value(READ, 17.5, apart=2.0)),
        (5.5, Value(READ, 16.75, apart=2.0)),
        (6.0, Value(READ, 16.0)),
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
    assert at(line, 4.0) == Value(READ, 17.0)
    assert at(line, 3.0).psnr_db == 18.5
    assert at(line, 6.0).psnr_db == 16.0


def test_a_single_setting_is_a_bound_or_out_of_reach():
    assert at([Point(3.0, 18.0)], 5.0) == Value(BOUND, 18.0)
    assert at([Point(3.0, 18.0)], 3.0) == Value(READ, 18.0)
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


# ---------------------------------------------------------------- from results


def cell(name: str, accuracy: float | None, psnr: float | None, seed: int = 1, norm: str = "BatchNorm", size=100):
    """Results with one decoder of the given PSNR and one weaker MLE variant."""
    place = {"dataset": "objects", "model": "cnn"}
    blocks = [
        {"half": "edge", "layers": ["Conv2d 3→8, 3×3", norm], "shape": [8, 4, 4]},
        {"half": "cloud", "layers": ["Flatten", name], "shape": [10]},
    ]
    target = {"cell": place, "accuracy": accuracy, "edge_parameters": size, "blocks": blocks}
    decoders = {"black_box": {"psnr_db": psnr, "queries": 1, "failed": False}}
    variants = {"tuned": {"psnr_db": None if psnr is None else psnr - 2, "failed": False}}
    records = {"target": {**target, "provenance": {"seed": seed}}}
    return Results(
        "rows.leaderboard", name, None, records | {"generator": {"decoders": decoders}, "mle": {"variants": variants}}
    )


def seeded(name: str, *runs: tuple[float, float], **more) -> Results:
    """The means over seeds 1, 2, ..., each with its accuracy and PSNR."""
    mean = [sum(numbers) / len(runs) for numbers in zip(*runs, strict=True)]
    r = cell(name, *mean, **more)
    object.__setattr__(r, "runs", tuple(cell(name, *run, seed=i, **more) for i, run in enumerate(runs, 1)))
    return r


def swept(name: str, *runs: tuple[float, float], key: str = "k", seeds: tuple[int, ...] = (1, 2)) -> Results:
    """A setting of a sweep: its accuracy and PSNR, for each of several seeds."""
    made = [cell(name, *run, seed=seed) for run, seed in zip(runs, seeds, strict=False)]
    for run in made:
        run.records["knob"] = {"key": key, "value": 1.0}
    return combined(made)


def test_points_come_from_the_workspace_and_the_sweep():
    plain, r = cell("cnn/unprotected", 0.75, 24.0), cell("cnn/nopeek", 0.71, 18.0)
    rows = [plain, r]
    tried = [
        swept("cnn/nopeek", (0.74, 21.0)), swept("cnn/vib", (0.70, 10.0)), swept("cnn/nopeek", (0.67, 16.0)),
    ]  # fmt: skip
    others = matched.swept(rows, r, tried)
    assert matched.settings(rows, r, others) == [(4.0, 18.0), (1.0, 21.0), (8.0, 16.0)]
    found = matched.values(rows, r, tried, (0.5, 3.0, 5.0))
    assert [found[lost].psnr_db for lost in (0.5, 3.0, 5.0)] == [22.5, 19.0, 17.5]


def test_accuracies_are_compared_without_the_noise_of_float32():
    rows = [cell("cnn/unprotected", 0.875, 24.0), cell("cnn/vib", 0.8450000286102295, 20.0)]
    assert matched.values(rows, rows[1], [], [3.0])[3.0] == Value(READ, 20.0)


def test_absent_numbers_give_no_point():
    plain = cell("cnn/unprotected", 0.75, 24.0)
    for r in (cell("cnn/ae", None, 20.0), cell("cnn/ae", 0.7, None)):
        assert matched.own([plain, r], r) is None
        assert matched.values([plain, r], r, [], [3.0])[3.0].kind == ABSENT
    r = cell("cnn/ae", 0.7, 20.0)
    for rows in ([r], [cell("cnn/unprotected", None, 24.0), r]):
        assert matched.values(rows, r, [swept("cnn/ae", (0.7, 20.0))], [3.0])[3.0].kind == ABSENT
    for tried in (swept("cnn/ae", (None, 20.0)), swept("cnn/ae", (0.72, None))):
        assert matched.swept([plain, r], r, [tried]) == {}


def test_an_unprotected_row_without_a_score_is_no_anchor():
    rows = [cell("cnn/unprotected", 0.75, None), cell("cnn/nopeek", 0.71, 18.0)]
    assert matched.plain(rows, rows[1]) is rows[0]
    assert matched.values(rows, rows[1], [], [3.0])[3.0] == Value(MISSED, least=4.0)


def test_the_plain_network_has_the_same_edge():
    plain, same = cell("cnn/unprotected", 0.75, 24.0), cell("cnn/mid", 0.7, 20.0)
    group, larger = cell("cnn/groupnorm", 0.7, 20.0, norm="GroupNorm"), cell("cnn/ae", 0.7, 20.0, size=900)
    rows = [plain, same, group, larger]
    assert [matched.plain(rows, r) for r in rows] == [None, plain, None, None]  # the cloud may differ
    assert matched.values(rows, group, [], [3.0])[3.0].kind == MISSED
    assert matched.values(rows, same, [], [3.0])[3.0].psnr_db == pytest.approx(21.6)
    assert matched.plain([same], same) is None


def test_results_without_layers_are_compared_by_the_number_of_parameters():
    rows = [cell("cnn/unprotected", 0.75, 24.0), cell("cnn/nls", 0.7, 20.0), cell("cnn/ae", 0.7, 20.0, size=900)]
    for r in rows:
        del r.records["target"]["blocks"]
    assert [matched.plain(rows, r) for r in rows] == [None, rows[0], None]


def test_on_siftfunnels_edge_its_architecture_is_the_plain_network():
    plain, small = cell("cnn/unprotected", 0.75, 24.0), {"size": 60, "norm": "SiLU"}
    funnel, bare = cell("cnn/siftfunnel", 0.70, 15.0, **small), cell("cnn/siftfunnel_architecture", 0.74, 20.0, **small)
    budget = cell("budget/nopeek", 0.70, 17.0, **small)
    rows = [plain, bare, funnel, budget]
    assert [matched.plain(rows, r) for r in rows] == [None] * 4
    assert [matched.plain(rows, r, matched.ARCHITECTURE) for r in rows] == [None, None, bare, bare]
    assert matched.values(rows, budget, [], [3.0])[3.0] == Value(MISSED, least=5.0)
    # against that edge itself: 4 points from 20 to 17 dB, and SiftFunnel with 5 more points at 15
    found = matched.values(rows, budget, [], (0.0, 2.0, 6.0), matched.ARCHITECTURE)
    assert [found[lost].psnr_db for lost in (0.0, 2.0, 6.0)] == [20.0, pytest.approx(18.5), 17.0]
    assert found[6.0].kind == BOUND
    assert matched.own(rows, funnel, matched.ARCHITECTURE) == Point(4.0, 15.0)
    assert matched.own(rows, bare, matched.ARCHITECTURE) == Point(0.0, 20.0)


def test_on_siftfunnels_edge_a_sweep_counts_from_its_own_seeds_and_with_its_losses_alone():
    bare = seeded("cnn/siftfunnel_architecture", (0.74, 20.0), (0.70, 20.0))
    funnel = seeded("cnn/siftfunnel", (0.70, 15.0), (0.66, 15.0))
    tried = [
        swept("cnn/siftfunnel", (0.71, 14.0), key="loss.lambda_dcor"),
        swept("cnn/siftfunnel", (0.69, 14.0), (0.67, 14.0), key="loss.lambda_dcor"),
        swept("cnn/siftfunnel", (0.69, 14.0), key="loss.lambda_dcor", seeds=(2,)),
        swept("cnn/siftfunnel", (0.72, 14.0), key="defense.siftfunnel.channels"),  # another edge
    ]
    found = matched.swept([bare, funnel], funnel, tried, matched.ARCHITECTURE)
    assert found == {"loss.lambda_dcor": [(3.0, 14.0), (4.0, 14.0), (1.0, 14.0)]}
    plain = seeded("cnn/unprotected", (0.75, 24.0), (0.77, 26.0))
    found = matched.swept([plain, funnel], funnel, tried)
    assert found == {
        "loss.lambda_dcor": [(4.0, 14.0), (8.0, 14.0), (8.0, 14.0)],
        tried[3]["knob"]["key"]: [(3.0, 14.0)],
    }
    assert matched.swept([plain, funnel], funnel, tried, matched.ARCHITECTURE) == {}


def test_each_knob_has_a_line_and_the_private_one_counts():
    rows = [cell("cnn/unprotected", 0.75, 24.0), cell("cnn/vib", 0.67, 20.0)]  # 8 points lost
    settings = [(4.0, 19.0, "sigma"), (2.0, 23.0, "beta"), (20.0, 10.0, "beta")]
    knobs = [swept("cnn/vib", (0.75 - lost / 100, psnr), key=key) for lost, psnr, key in settings]
    # sigma: from 24 at 0 to 19 at 4; beta: from 24 to 23 at 2, to 20 at 8, to 10 at 20
    found = matched.values(rows, rows[1], knobs, (2.0, 6.0, 14.0))
    assert found[2.0] == Value(READ, 21.5, 4.0)
    assert found[6.0] == Value(READ, 19.5, 4.0)
    assert found[14.0] == Value(READ, 15.0, 12.0)
    # all settings as one line would have gone from 23 at 2 to 19 at 4
    rows = [cell("cnn/unprotected", 0.75, 24.0), cell("cnn/ae", 0.67, 20.0, size=9)]
    knobs = [replace(point, cell="cnn/ae") for point in knobs]
    assert matched.values(rows, rows[1], knobs, [1.0])[1.0] == Value(MISSED, least=2.0)


def test_seeds_are_read_off_one_by_one_and_averaged():
    rows = [seeded("cnn/unprotected", (0.75, 24.0), (0.77, 26.0)), seeded("cnn/nopeek", (0.71, 20.0), (0.71, 20.0))]
    value = matched.values(rows, rows[1], [], [3.0])[3.0]
    assert value.psnr_db == pytest.approx((21.0 + 23.0) / 2)  # 24 - 3 / 4 * 4; 26 - 3 / 6 * 6
    assert (value.psnr_db.sd, value.psnr_db.n) == (pytest.approx(2**0.5), 2)
    assert value.apart == 6.0
    # a sweep's setting that ran with one of the seeds counts for each, lost against the network of its own
    one = swept("cnn/nopeek", (0.74, 22.0), seeds=(2,))
    assert matched.values(rows, rows[1], [one], [3.0])[3.0] == Value(READ, 22.0, 0.0)


def test_a_sweeps_points_have_a_spread_over_their_seeds():
    rows = [seeded("cnn/unprotected", (0.75, 24.0), (0.77, 26.0)), seeded("cnn/ae", (0.71, 20.0), (0.71, 20.0), size=9)]
    point = swept("cnn/ae", (0.73, 22.0), (0.75, 23.0))
    value = matched.values(rows, rows[1], [point], [3.0])[3.0]
    # seed 1: from 22 at 2 points lost to 20 at 4; seed 2: from 23 at 2 to 20 at 6
    assert value.psnr_db == pytest.approx((21.0 + 22.25) / 2)
    assert value.psnr_db.sd == pytest.approx(1.25 / 2**0.5)
    assert strongest(matched.of_seed(point, 2)) == 23.0
    assert matched.of_seed(point, 3) is point
    assert matched.swept(rows, rows[1], [point]) == {"k": [(2.0, 22.5)]}


def test_a_sweep_of_one_seed_counts_for_each_of_the_cells():
    bare = seeded("cnn/siftfunnel_architecture", (0.74, 20.0), (0.70, 20.0))
    funnel = seeded("cnn/siftfunnel", (0.72, 15.0), (0.68, 15.0))
    rows = [seeded("cnn/unprotected", (0.75, 24.0), (0.77, 26.0)), bare, funnel]
    point = swept("cnn/siftfunnel", (0.70, 13.0), key="loss.lambda_dcor")
    # at 4 points lost against that edge's first seed, at 5 against the unprotected network's
    assert matched.values(rows, funnel, [point], [3.0], matched.ARCHITECTURE)[3.0].psnr_db == 14.0
    assert matched.values(rows, funnel, [point], [5.0])[5.0] == Value(READ, 13.0)


def test_a_value_is_a_bound_where_one_seeds_is():
    rows = [seeded("cnn/unprotected", (0.75, 24.0), (0.75, 24.0)), seeded("cnn/nopeek", (0.71, 20.0), (0.73, 18.0))]
    value = matched.values(rows, rows[1], [], [3.0])[3.0]  # 24 - 3 / 4 * 4 read off; 18, since it loses 2 alone
    assert (value.kind, value.psnr_db) == (BOUND, pytest.approx((21.0 + 18.0) / 2))


def test_the_knob_is_chosen_once_and_not_seed_by_seed():
    rows = [seeded("cnn/unprotected", (0.75, 24.0), (0.75, 24.0)), seeded("cnn/vib", (0.55, 10.0), (0.55, 10.0))]
    knobs = [
        swept("cnn/vib", (0.72, 19.0), (0.72, 23.0), key="sigma"),
        swept("cnn/vib", (0.72, 24.0), (0.72, 19.0), key="beta"),
    ]
    value = matched.values(rows, rows[1], knobs, [3.0])
    assert value[3.0].psnr_db == 21.0  # not 19, the better of the two in each seed


def test_seeds_of_different_kinds_have_a_value_without_a_spread():
    rows = [seeded("cnn/unprotected", (0.75, 24.0), (0.75, 24.0)), seeded("cnn/ae", (0.73, 20.0), (0.71, 19.0), size=9)]
    value = matched.values(rows, rows[1], [], [3.0])[3.0]  # seed 1: a bound, seed 2: out of reach
    assert value == Value(READ, 19.5)
    assert not isinstance(value.psnr_db, Mean)
    value = matched.values(rows, rows[1], [], [5.0])[5.0]
    assert value == Value(BOUND, 19.5)
    assert value.psnr_db.sd == pytest.approx(0.5**0.5)
    assert matched.values(rows, rows[1], [], [1.0])[1.0] == Value(MISSED, least=3.0)


def test_a_seed_without_its_unprotected_network_takes_the_spread_away():
    rows = [cell("cnn/unprotected", 0.75, 24.0), seeded("cnn/nopeek", (0.71, 20.0), (0.71, 18.0))]
    assert matched.values(rows, rows[1], [], [5.0])[5.0] == Value(BOUND, 19.0)
