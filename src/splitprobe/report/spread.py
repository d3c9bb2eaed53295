"""Results of several seeds as one: each number a mean that knows its spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

DIVERGED = "diverged_epoch"  # None where training did not; not a quantity that each seed has


class Mean(float):
    """A mean with the standard deviation ``sd`` (n - 1 in the denominator) over ``n`` seeds; a float in all else."""

    sd: float
    n: int

    def __new__(cls, values: Sequence[float]) -> Mean:
        """The mean of two or more numbers."""
        mean = super().__new__(cls, statistics.fmean(values))
        mean.sd, mean.n = statistics.stdev(values), len(values)
        return mean


def mean(values: Sequence[float | None]) -> float | None:
    """One number for a quantity that each seed has: the number itself where all agree; None where one has none."""
    if any(value is None for value in values):
        return None
    return values[0] if all(value == values[0] for value in values) else Mean(values)


def scaled(value: float, factor: float) -> float:
    """The number times a factor, its spread too."""
    if not isinstance(value, Mean):
        return factor * value
    other = float.__new__(Mean, factor * value)
    other.sd, other.n = factor * value.sd, value.n
    return other


def over(runs: Sequence[Any], quantity: Callable[[Any], float | None]) -> float | None:
    """The mean of a quantity computed for each seed on its own, as what is not linear in the results must be."""
    return mean([quantity(run) for run in runs])


def merged(records: Sequence[Any]) -> Any:
    """Records of the same shape as one: numbers by :func:`mean`, flags true if any is, other values of the first.

    A key that a record lacks counts as None there; where a mean is None, the first reason beside it stays. A seed that
    diverged is not hidden behind those that did not: the first such epoch stays.
    """
    first = records[0]
    if len(records) == 1:
        return first
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for record in records for key in record)
        found = {key: merged(values) for key in keys if (values := _column(records, key))}
        epochs = [record[DIVERGED] for record in records if record.get(DIVERGED) is not None]
        return found | ({DIVERGED: min(epochs)} if epochs else {})
    if any(isinstance(value, bool) for value in records):
        return any(records)
    if all(value is None or isinstance(value, int | float) for value in records):
        return mean(records)
    return first


def _column(records: Sequence[Mapping], key: str) -> list[Any]:
    """What the records have under a key; only those that have it where it is a text, such as a reason, or a record."""
    present = [record[key] for record in records if key in record and record[key] is not None]
    numbers = all(isinstance(value, int | float) for value in present)
    return [record.get(key) for record in records] if numbers else present
