"""Defenses at equal accuracy: how much leaks where a defense costs a given number of points of accuracy.

Each defense is a set of points (points of accuracy lost, PSNR of the strongest attack in dB): its own setting and those
of its sweep. In between, leakage is read off straight lines between neighbors in accuracy, through all points of one
knob: an envelope of the best ones would reward a defense for each further setting that was tried. Of several knobs the
defender takes the more private one. Accuracy is lost against the unprotected row, or against SiftFunnel's edge without
losses among the defenses on that edge: its own price would hide what each of them adds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from splitprobe.report.attacks import edge
from splitprobe.report.numbers import NO_REFERENCE, UNPROTECTED, Number, Numbers, accuracies, knob, references

READ, BOUND, MISSED, ABSENT = "read off", "upper bound", "not reached", "absent"
LOSSES = "loss."  # begins the knobs of SiftFunnel that leave its edge as it is
EXACT = 4  # decimals of points of accuracy; what lies below comes from float32


class Point(NamedTuple):
    """One setting of a defense: points of accuracy lost (negative: gained), PSNR in dB of its strongest attack."""

    lost: float
    psnr_db: float


@dataclass(frozen=True)
class Value:
    """What leaks at one loss of accuracy, by ``kind``.

    READ: PSNR, and how many points of accuracy ``apart`` the settings are that it lies between (0 right at one); BOUND:
    the lowest PSNR of settings that all lose less; MISSED: ``least``, the fewest points that one loses; ABSENT. PSNR is
    a mean over ``n`` seeds with standard deviation ``sd``.
    """

    kind: str
    psnr_db: float | None = None
    apart: float | None = None
    least: float | None = None
    sd: float | None = None
    n: int = 0

    @property
    def number(self) -> Number:
        """PSNR in dB with its spread."""
        return Number(self.psnr_db, self.sd, self.n)


def at(measured: Sequence[Point], lost: float, anchor: Point | None = None) -> Value:
    """What leaks when ``lost`` points may be lost; ``anchor``: the plain network, where every setting loses more."""
    if not measured:
        return Value(ABSENT)
    ends = [] if anchor is None or anchor.lost >= min(measured).lost else [anchor]
    # of settings with the same accuracy the defender takes the more private one
    line = {point.lost: point for point in sorted([*measured, *ends], reverse=True)}
    below = [point for point in line.values() if point.lost <= lost]
    above = [point for point in line.values() if point.lost >= lost]
    if not below:
        return Value(MISSED, least=min(line))
    if not above:
        return Value(BOUND, min(point.psnr_db for point in measured))
    left, right = max(below), min(above)
    apart = right.lost - left.lost
    share = (lost - left.lost) / apart if apart else 0.0
    return Value(READ, left.psnr_db + share * (right.psnr_db - left.psnr_db), apart)


def best(measured: Iterable[Point], lost: float) -> Point | None:
    """The most private setting among those that lose no more than ``lost`` points; None where each loses more."""
    return min((p for p in measured if p.lost <= lost), key=lambda p: (p.psnr_db, p.lost), default=None)


class Measured:
    """The settings of some cells as points, with accuracy lost against the cells in ``row``, by seed and over seeds.

    A seed that a sweep lacks has the mean of the others. A setting at chance accuracy is no point."""

    def __init__(self, numbers: Numbers, row: str = UNPROTECTED) -> None:
        self.numbers, self.row = numbers, row
        frame, place = numbers.frame, ["cell", "seed"]
        change = accuracies(frame, references(frame, numbers.cells, row))
        self._changes = change[change.quantity == "accuracy_change_points"].set_index(place).value
        psnr = frame[(frame.item == "strongest") & (frame.quantity == "psnr_db")].set_index(place).value
        runs = pd.DataFrame({"lost": -self._changes, "psnr_db": psnr})
        runs = runs.drop([cell for cell in runs.index.unique("cell") if numbers.at_chance(cell)], level="cell")
        # a mean, whose seed is None, exists where each seed has a value
        means = runs.groupby(level="cell").agg(lambda values: values.mean(skipna=False))
        points = [
            *runs.dropna().itertuples(),
            *(((cell, None), *point) for cell, *point in means.dropna().itertuples()),
        ]
        self._points = {key: Point(round(lost, EXACT), psnr_db) for key, lost, psnr_db in points}

    def compared(self, cell: str) -> list[int]:
        """The seeds of a cell that have a network of their own to compare with."""
        base = self.numbers.reference(cell, self.row)
        return [seed for seed in self.numbers.seeds(cell) if base and seed in self.numbers.seeds(base)]

    def change(self, cell: str) -> Number:
        """A cell's change of accuracy in points, each seed's against its own network."""
        own = self._changes[cell].reindex(self.compared(cell)).reindex(self.numbers.seeds(cell))
        return replace(Number.over([None if value != value else value for value in own]), reason=self.why(cell))

    def why(self, cell: str) -> str:
        """Why a cell has no point, where it has none."""
        needed = [self.numbers.number(cell, *place) for place in (("strongest", "psnr_db"), ("target", "accuracy"))]
        if self.numbers.at_chance(cell):
            return "at chance accuracy, so that it has no point and no rank"
        absent = NO_REFERENCE if self.row == UNPROTECTED else f"no row {self.row} to compare with"
        return next((number.reason for number in needed if number.value is None), absent)

    def plain(self, cell: str) -> str | None:
        """The network in ``row`` that a defense becomes as its knob goes to zero; None where its edge has other layers.

        Only the edge counts: a defense may add layers to the cloud, where z has been sent already.
        """
        base = self.numbers.reference(cell, self.row)
        return base if base not in (None, cell) and edge(self.numbers, base) == edge(self.numbers, cell) else None

    def own(self, cell: str, seed: int | None = None) -> list[Point]:
        """The point of a cell's own setting; none where a number is absent, or where a seed has no network."""
        known = seed is None or seed in self.compared(cell)
        return [self._points[cell, seed]] if known and (cell, seed) in self._points else []

    def knobs(self, cell: str, seed: int | None = None) -> dict[str, list[Point]]:
        """The points of a cell's sweep by the key of the knob; a seed that did not run has the mean of the others.

        Against SiftFunnel's edge only the knobs of its losses count: another width is another edge."""
        knobs: dict[str, list[Point]] = {}
        for setting in self.numbers.settings(cell):
            key, point = knob(setting), self._points.get((setting, seed), self._points.get((setting, None)))
            if point is not None and (self.row == UNPROTECTED or key.startswith(LOSSES)):
                knobs.setdefault(key, []).append(point)
        return knobs

    def settings(self, cell: str) -> list[Point]:
        """A cell's measured points: its own, where it has one, then those of its sweep."""
        return [*self.own(cell), *(point for points in self.knobs(cell).values() for point in points)]

    def value(self, cell: str, lost: float) -> Value:
        """What leaks where a cell loses so many points, by the knob that does best over the means.

        Better is a lower PSNR and, where none is within reach, to lose less. With several seeds it is that of each one,
        averaged, where every seed has one; otherwise that of the means, without a spread."""
        # a cell without a sweep has the line of its own setting
        lines = {key: self._on_line(cell, key, lost) for key in self.knobs(cell) or [""]}
        key = min(lines, key=lambda k: (lines[k].psnr_db is None, lines[k].psnr_db or lines[k].least or 0.0))
        each = [self._on_line(cell, key, lost, seed) for seed in self.numbers.seeds(cell)]
        kinds = {value.kind for value in each}
        if len(each) < 2 or not kinds <= {READ, BOUND}:
            return lines[key]
        psnr = Number.over([value.psnr_db for value in each])
        if BOUND in kinds:  # a bound where one of them is
            return Value(BOUND, psnr.value, sd=psnr.sd, n=psnr.n)
        return Value(READ, psnr.value, max(value.apart for value in each), sd=psnr.sd, n=psnr.n)

    def _on_line(self, cell: str, key: str, lost: float, seed: int | None = None) -> Value:
        """What leaks at one loss by the line of a knob, which goes through the cell's own setting."""
        base = self.plain(cell)
        anchor = next(iter(self.own(base, seed)), None) if base else None
        return at([*self.own(cell, seed), *self.knobs(cell, seed).get(key, [])], lost, anchor)
