"""Rank statistics of few cells: correlations with ties, at a fixed group, their intervals, and a fit left out.

Absent values are None or NaN; a statistic takes the cells that have all it needs and says how many. Cells are resampled
with a generator of their own for each interval, begun at the same seed, so that one statistic more does not shift the
others. Correlations agree with scipy's in the tests, which is no dependency: its statistics take a second to import.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd

from splitprobe.core.params import bounded

LEAST_SPREAD = 1e-6  # of squared ranks: half a rank apart gives more, rounding less
ORDERS = 10_000  # of a permutation test
LEAST_DEFINED = 0.9  # share of resamples in which a correlation must exist, for its interval to be given
SUPPORTED, CONTRADICTED, UNDECIDED, UNTESTED = "supported", "contradicted", "undecided", "not tested"

Series = Sequence[float | None]


@dataclass(frozen=True)
class Settings:
    """The section ``criterion``: how intervals are made, and how many cells a statistic needs."""

    resamples: int = bounded(100, 100_000)
    level: float = bounded(0.5, 0.999)
    seed: int = bounded(0)
    least: int = bounded(4, 1000)


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its interval; each is None where it does not exist, and ``reason`` says why.

    ``count``: cells used; ``degrees``: of freedom, ``count`` less one for each group and one for the slope; ``aside``:
    cells with both values that were left out because they are alone in their group; ``expected``: sign, 1 or -1.
    """

    rho: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0
    degrees: int = 0
    reason: str = ""
    aside: int = 0
    expected: int = 1

    @property
    def text(self) -> str:
        """The correlation with its interval, as far as they exist."""
        if self.rho is None:
            return "n/a"
        return f"{self.rho:.2f}" + ("" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]")

    @property
    def verdict(self) -> str:
        """What it says about the expected sign: its interval must lie on one side of zero."""
        if self.low is None or self.high is None:
            return UNTESTED
        if self.low <= 0 <= self.high:
            return UNDECIDED
        return SUPPORTED if (self.low > 0) == (self.expected > 0) else CONTRADICTED


def ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 1 of finite values (n,); ties share their mean rank."""
    return pd.Series(values, dtype=float).rank().to_numpy()


def correlate(
    x: Series, y: Series, settings: Settings, groups: Sequence[Hashable] | None = None, expected: int = 1
) -> Correlation:
    """Spearman's correlation of two series (n,), ties as mean ranks, with a percentile bootstrap interval over cells.

    With ``groups`` (n,) it is partial, at fixed group: both series are ranked over all cells, each rank less the mean
    of its group (a regression on one dummy per group), and what is left is correlated. Cells alone in their group say
    nothing then and are left out before ranking; resamples are drawn within groups.
    """
    x, y = np.array(x, float), np.array(y, float)
    kept = np.isfinite(x) & np.isfinite(y)
    paired, names = int(kept.sum()), pd.Series([0] * len(x) if groups is None else list(groups))
    among, within = ("", "") if groups is None else (" in groups of two or more", "within a group, ")
    if groups is not None:
        kept &= names.where(kept).duplicated(keep=False).to_numpy()
    codes, distinct = pd.factorize(names[kept])
    count, member = len(codes), np.eye(len(distinct))[codes]  # a column per group: 1 where a cell is in it
    degrees = max(0, count - len(distinct) - 1)
    place = {"count": count, "degrees": degrees, "aside": paired - count, "expected": expected}
    if count < settings.least:
        return Correlation(**place, reason=f"{count} cells{among} have both values, {settings.least} are needed")
    x, y = x[kept], y[kept]
    rho = float(_correlations(np.ones((1, count)), x, y, member)[0])
    if math.isnan(rho):
        return Correlation(**place, reason=f"{within}one of the two does not vary")
    resampled = _correlations(_resamples(member, settings), x, y, member)
    drawn = resampled[np.isfinite(resampled)]
    if len(drawn) < LEAST_DEFINED * settings.resamples:
        return Correlation(rho, **place, reason="in too many resamples one of the two does not vary")
    tail = (1 - settings.level) / 2
    return Correlation(rho, *map(float, np.quantile(drawn, (tail, 1 - tail))), **place)


def permutation(x: Sequence[float], y: Sequence[float], rises: bool) -> tuple[float, float]:
    """Spearman's correlation of two finite series (n,), n >= 2, and its one-sided p-value over orders of y.

    p is the share of orders whose correlation is at least as far on the side that ``rises`` names: all orders where
    these are no more than ORDERS, otherwise ORDERS random ones and the one at hand. NaN and 1 where a series does not
    vary.
    """
    left, right = (rank - rank.mean() for rank in (ranks(x), ranks(y)))
    root = math.sqrt((left**2).sum() * (right**2).sum())
    if root < LEAST_SPREAD:
        return math.nan, 1.0
    if math.factorial(len(right)) <= ORDERS:
        orders = np.array(list(permutations(right)))
    else:
        generator = np.random.default_rng(0)
        orders = np.vstack([right, generator.permuted(np.tile(right, (ORDERS, 1)), axis=1)])
    sign = 1 if rises else -1
    # two orders that tie may differ in their last digits
    return float(left @ right) / root, float(np.mean(sign * (orders @ left) >= sign * (left @ right) - LEAST_SPREAD))


def product(*factors: Series) -> np.ndarray:
    """The factors' product (n,), NaN where one is absent; a factor below zero, as an estimate may be, counts as zero.

    Our reading of the criterion (the paper's equation (8)) without H(x|z): its algebra is not in the available text.
    """
    return np.prod(np.maximum(np.array(factors, float), 0), axis=0)


def left_out(factors: Sequence[Series], outcome: Series, groups: Sequence[Hashable]) -> np.ndarray:
    """What a linear regression of the outcome's ranks on the factors' predicts for each group from all others: (n,).

    No cell is judged by a fit that has seen its group's outcomes. Factors are ranked over all cells that have all
    values, the outcome over the cells that are fitted on. NaN where a value is absent, or where the other groups have
    no more cells than the fit has coefficients.
    """
    known, y = np.array(factors, float), np.array(outcome, float)
    complete = np.isfinite(known).all(0) & np.isfinite(y)
    design = np.full((len(y), len(known) + 1), math.nan)
    design[complete] = np.stack([np.ones(complete.sum()), *(_shares(row[complete]) for row in known)], axis=1)
    predicted = np.full(len(y), math.nan)
    for group in dict.fromkeys(groups):
        own = np.array([name == group for name in groups], bool)
        fitted = complete & ~own
        if fitted.sum() > design.shape[1]:
            slopes = np.linalg.lstsq(design[fitted], _shares(y[fitted]), rcond=None)[0]
            predicted[own & complete] = design[own & complete] @ slopes
    return predicted


def _shares(values: np.ndarray) -> np.ndarray:
    """Ranks as shares in (0, 1), so that fits on different numbers of cells have one scale."""
    return (ranks(values) - 0.5) / len(values)


def _resamples(member: np.ndarray, settings: Settings) -> np.ndarray:
    """How often each resample has each cell (m, n): drawn with replacement within each group, of its own size."""
    generator = np.random.default_rng(settings.seed)
    weights = np.zeros((settings.resamples, len(member)))
    for column in member.T:
        own = np.flatnonzero(column)
        weights[:, own] = generator.multinomial(len(own), np.full(len(own), 1 / len(own)), settings.resamples)
    return weights


def _correlations(weights: np.ndarray, x: np.ndarray, y: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Correlation of both series' ranks less their groups' means, in samples with each cell ``weights`` (m, n) times.

    Returns (m,), NaN where none exists.
    """
    left = []
    for values in (x, y):
        below = (values[:, None] < values).astype(float)  # [j, i]: value j is below value i
        equal = (values[:, None] == values).astype(float)
        rank = weights @ below + (weights @ equal + 1) / 2  # mean ranks (m, n)
        # resamples are drawn within groups, so that none is empty
        left.append(rank - ((weights * rank) @ member / (weights @ member)) @ member.T)
    spread = [(weights * ranked**2).sum(1) for ranked in left]
    exists = np.minimum(*spread) > LEAST_SPREAD
    root = np.sqrt(np.where(exists, spread[0] * spread[1], 1))
    return np.where(exists, (weights * left[0] * left[1]).sum(1) / root, math.nan)
