"""Rank statistics: against hand-computed ranks, scipy and slow forms; intervals cover; a confounder is taken out."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from splitprobe.core.params import ParamsError, typed
from splitprobe.report import statistics
from splitprobe.report.statistics import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    UNTESTED,
    Correlation,
    Settings,
    correlate,
    left_out,
    permutation,
    product,
    ranks,
)

SETTINGS = Settings(resamples=300, level=0.95, seed=1, least=4)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def normal(rng: np.random.Generator, n: int, r: float) -> tuple[np.ndarray, np.ndarray]:
    """Two normal series of correlation r."""
    x = rng.normal(size=n)
    return x, r * x + math.sqrt(1 - r * r) * rng.normal(size=n)


def test_ranks_by_hand():
    assert ranks([30, 10, 10, 20]).tolist() == [4, 1.5, 1.5, 3]
    assert ranks([7, 7, 7]).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("x", "y", "rho"),
    [
        ([1, 2, 3, 4], [10, 100, 1000, 10000], 1),
        ([1, 2, 3, 4], [4, 3, 1, 2], -0.8),  # 1 - 6 (9 + 1 + 4 + 4) / (4 * 15)
        ([1, 2, 3, 4], [5, 5, 5, 9], math.sqrt(0.6)),  # ranks 2, 2, 2, 4: 3 / sqrt(5 * 3)
    ],
)
def test_correlations_by_hand(x, y, rho):
    test = correlate(x, y, SETTINGS)
    assert test.rho == pytest.approx(rho)
    assert (test.count, test.degrees, test.aside) == (4, 2, 0)


def test_correlations_with_ties_are_scipys(rng):
    for _ in range(20):
        x, y = rng.integers(0, 6, (2, 15))
        assert correlate(x, y, SETTINGS).rho == pytest.approx(stats.spearmanr(x, y)[0])


def test_counted_resamples_are_resamples(rng):
    """A sample that has a cell twice has its rank twice: the matrix form against the samples written out."""
    x, y, groups = rng.integers(0, 9, 12), rng.normal(size=12), [0] * 7 + [1] * 5
    for names in ([0] * 12, groups):
        member = pd.get_dummies(names).to_numpy(float)
        weights = statistics._resamples(member, SETTINGS)
        assert (weights @ member == [names.count(name) for name in dict.fromkeys(names)]).all()
        fast = statistics._correlations(weights, x.astype(float), y, member)
        for row, value in zip(weights[:25], fast, strict=False):
            drawn = np.repeat(np.arange(12), row.astype(int))
            slow = slow_partial(x[drawn], y[drawn], np.array(names)[drawn])
            assert value == pytest.approx(slow)


def slow_partial(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """Residuals of both ranks after least squares on one dummy per group, and their correlation."""
    dummies = (groups[:, None] == np.unique(groups)).astype(float)
    left = []
    for values in (x, y):
        rank = stats.rankdata(values)
        left.append(rank - dummies @ np.linalg.lstsq(dummies, rank, rcond=None)[0])
    return float((left[0] * left[1]).sum() / math.sqrt((left[0] ** 2).sum() * (left[1] ** 2).sum()))


@pytest.mark.parametrize(("n", "r"), [(12, 0.6), (30, 0.0), (30, 0.8)])
def test_intervals_cover_as_often_as_they_say(rng, n, r):
    true = 6 / math.pi * math.asin(r / 2)  # Spearman's correlation of normal series
    tests = [correlate(*normal(rng, n, r), SETTINGS) for _ in range(200)]
    covered = np.mean([f.low <= true <= f.high for f in tests])
    assert 0.9 <= covered <= 0.995  # of 0.95; 200 draws have a standard error of 0.015


def test_intervals_at_fixed_group_cover_too(rng):
    groups = [0] * 16 + [1] * 12 + [2] * 2
    shift = 3.0 * np.array(groups)  # what groups differ in says nothing
    tests = []
    for _ in range(200):
        x, y = normal(rng, 30, 0.0)
        tests.append(correlate(x + shift, y + shift, SETTINGS, groups))
    assert 0.88 <= np.mean([f.low <= 0 <= f.high for f in tests]) <= 0.99
    assert abs(np.mean([f.rho for f in tests])) < 0.05
    assert {f.degrees for f in tests} == {30 - 3 - 1}


def test_a_confounder_is_taken_out_by_hand():
    """Simpson: within both groups more x means less y, but the second group has more of both."""
    x, y = [1, 2, 3, 4, 5, 6, 7, 8], [4, 3, 2, 1, 8, 7, 6, 5]
    groups = ["a"] * 4 + ["b"] * 4
    assert correlate(x, y, SETTINGS).rho == pytest.approx(1 - 6 * 40 / (8 * 63))
    partial = correlate(x, y, SETTINGS, groups)
    assert (partial.rho, partial.low, partial.high) == pytest.approx((-1, -1, -1))
    assert partial.degrees == 8 - 2 - 1


def test_partial_correlations_are_those_of_residuals(rng):
    groups = np.array([0] * 6 + [1] * 5 + [2] * 3)
    x, y = rng.integers(0, 8, 14) + groups, rng.normal(size=14) - groups
    assert correlate(x, y, SETTINGS, groups.tolist()).rho == pytest.approx(slow_partial(x, y, groups))


def test_cells_alone_in_their_group_are_left_aside():
    x, y = [1, 2, 3, 4, 99, 5], [2, 1, 4, 3, 7, None]
    test = correlate(x, y, SETTINGS, ["a", "a", "b", "b", "alone", "gone"])
    without = correlate(x[:4], y[:4], SETTINGS, ["a", "a", "b", "b"])
    assert (test.rho, test.count, test.degrees, test.aside) == (without.rho, 4, 1, 1)
    assert without.rho == pytest.approx(-1)


def test_absent_values_are_left_out_and_counted():
    test = correlate([1, None, 2, 3, 4, math.nan], [4, 9, 3, 1, 2, 9], SETTINGS)
    assert test.rho == pytest.approx(-0.8)
    assert test.count == 4


@pytest.mark.parametrize(
    ("x", "y", "groups", "reason"),
    [
        ([1, 2, 3, None], [1, 2, 3, 4], None, "3 cells have both values, 4 are needed"),
        ([None] * 4, [1, 2, 3, 4], None, "0 cells have both values, 4 are needed"),
        ([5, 5, 5, 5], [1, 2, 3, 4], None, "one of the two does not vary"),
        ([1, 1, 2, 2], [1, 2, 3, 4], [0, 0, 1, 1], "within a group, one of the two does not vary"),
        ([1, 2, 3, 4], [1, 2, 3, 4], [0, 1, 2, 3], "0 cells in groups of two or more have both values, 4 are needed"),
    ],
)
def test_what_cannot_be_said_has_a_reason(x, y, groups, reason):
    test = correlate(x, y, SETTINGS, groups)
    assert (test.rho, test.low, test.high, test.reason) == (None, None, None, reason)
    assert test.verdict == UNTESTED


def test_a_value_that_hardly_varies_has_no_interval():
    test = correlate([0] * 11 + [1], range(12), SETTINGS)  # 35 % of resamples miss the last cell
    assert test.rho == pytest.approx(stats.spearmanr([0] * 11 + [1], range(12))[0])
    assert test.low is None
    assert test.reason == "in too many resamples one of the two does not vary"


def test_seed_and_level_decide_the_interval(rng):
    x, y = normal(rng, 20, 0.5)
    first, again = correlate(x, y, SETTINGS), correlate(x, y, SETTINGS)
    other, half = (correlate(x, y, Settings(300, level, seed, 4)) for level, seed in ((0.95, 2), (0.5, 1)))
    assert first == again
    assert (other.low, other.high) != (first.low, first.high)
    assert first.low < half.low < half.high < first.high


@pytest.mark.parametrize(
    ("low", "high", "expected", "said"),
    [
        (0.1, 0.5, 1, SUPPORTED), (0.1, 0.5, -1, CONTRADICTED), (-0.5, -0.1, 1, CONTRADICTED),
        (-0.5, -0.1, -1, SUPPORTED), (-0.1, 0.5, 1, UNDECIDED), (0.0, 0.5, 1, UNDECIDED), (None, None, 1, UNTESTED),
    ],
)  # fmt: skip
def test_verdicts(low, high, expected, said):
    assert Correlation(0.3, low, high, 20, 18, expected=expected).verdict == said


@pytest.mark.parametrize(
    ("y", "rises", "rho", "p"),
    [
        ([4, 3, 2, 1], False, -1, 1 / 24),
        ([4, 3, 2, 1], True, -1, 1),
        ([1, 2, 4, 3], True, 0.8, 4 / 24),  # the order itself, and three that are one swap of neighbors away from it
        ([5, 5, 5, 9], True, math.sqrt(0.6), 1 / 4),  # where the one that differs stands
        ([7, 7, 7, 7], True, None, 1),
    ],
)
def test_permutations_by_hand(y, rises, rho, p):
    found = permutation([1, 2, 3, 4], y, rises)
    assert found[1] == pytest.approx(p)
    assert math.isnan(found[0]) if rho is None else found[0] == pytest.approx(rho)


def test_many_permutations_are_drawn(rng):
    x, y = normal(rng, 9, 0.6)
    other = [np.corrcoef(stats.rankdata(x), rng.permutation(stats.rankdata(y)))[0, 1] for _ in range(2000)]
    exact = np.mean(np.array(other) >= stats.spearmanr(x, y)[0])
    rho, p = permutation(x, y, True)
    assert rho == pytest.approx(stats.spearmanr(x, y)[0])
    assert p == pytest.approx(exact, abs=0.04)
    assert permutation(range(9), range(9), True)[1] == pytest.approx(1 / 10_001, abs=2e-4)


def test_a_random_order_passes_as_often_as_its_level_says(rng):
    passed = [permutation(range(9), rng.normal(size=9), True)[1] <= 0.05 for _ in range(100)]
    assert np.mean(passed) <= 0.12  # 100 draws have a standard error of 0.02


def test_products_take_negative_estimates_as_zero():
    assert product([2, -0.5, 3], [4, 4, None], [1, 1, 1]).tolist()[:2] == [8, 0]
    assert math.isnan(product([2, 3], [4, None])[1])


def test_a_fit_never_sees_the_outcomes_it_is_judged_on(rng):
    factors, groups = rng.normal(size=(2, 18)), ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    outcome = factors[0] + 0.5 * factors[1] + 0.1 * rng.normal(size=18)
    before = left_out(factors, outcome, groups)
    changed = outcome.copy()
    changed[:6] = changed[:6][::-1] + 100
    after = left_out(factors, changed, groups)
    assert after[:6] == pytest.approx(before[:6])
    assert after[6:] != pytest.approx(before[6:])


def test_a_fit_by_hand():
    """One factor, two groups of four, each in the order of the outcome: slopes of one rank per rank."""
    x, y = [1, 2, 3, 4, 5, 6, 7, 8], [10, 20, 30, 40, 50, 60, 70, 80]
    predicted = left_out([x], y, ["a"] * 4 + ["b"] * 4)
    # the second group's factor shares are 9/16 to 15/16, its outcome shares 1/8 to 7/8: a slope of 2, and through them
    # the first group's 1/16 to 7/16 give -7/8 to -1/8
    assert predicted == pytest.approx([-7 / 8, -5 / 8, -3 / 8, -1 / 8, 9 / 8, 11 / 8, 13 / 8, 15 / 8])


def test_a_fit_needs_other_groups_and_values():
    predicted = left_out([[1, 2, 3, None, 5, 6]], [1, 2, 3, 4, 5, 6], ["a"] * 2 + ["b"] * 4)
    # two cells of a cannot fit a slope and a constant for b; three complete cells of b can for a
    assert np.isfinite(predicted).tolist() == [True, True, False, False, False, False]
    assert np.isnan(left_out([[1, 2, 3]], [1, 2, 3], ["a"] * 3)).all()


def test_settings_are_bounded():
    good = {"resamples": 300, "level": 0.95, "seed": 1, "least": 4}
    assert typed(Settings, good, "criterion") == SETTINGS
    for key, value in (("resamples", 10), ("level", 1.0), ("seed", -1), ("least", 3)):
        with pytest.raises(ParamsError, match=rf"criterion\.{key} = {value}"):
            typed(Settings, {**good, key: value}, "criterion")
