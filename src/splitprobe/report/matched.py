"""Defenses at equal accuracy: how much leaks where a defense costs a given number of points of accuracy.

Rows of Table II stand at different accuracies, so their leakage alone does not compare them. Here each defense is a
set of points (points of accuracy lost, PSNR of the strongest attack in dB): its own setting and those of its sweep. In
between, leakage is read off straight lines between neighbors in accuracy, through all points of one knob: an envelope
of the best ones would reward a defense for each further setting that was tried. A defense with several knobs has a line
for each, and the defender takes the more private one. What the best setting that was tried leaks is given apart, by
:func:`best`.

Accuracy is lost against the unprotected row; among the defenses on SiftFunnel's edge against that edge without losses
(``row``), or the edge's own price would hide what each of them adds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from splitprobe.report.results import UNPROTECTED, Results, reference
from splitprobe.report.scores import SIFTFUNNEL, accuracy, edge, strongest
from splitprobe.report.spread import mean

READ, BOUND, MISSED, ABSENT = "read off", "upper bound", "not reached", "absent"
BUDGET = "budget/"  # begins the cells that run a defense on SiftFunnel's edge
ARCHITECTURE = f"{SIFTFUNNEL}_architecture"  # the row of that edge without a defense
LOSSES = "loss."  # begins the knobs of SiftFunnel that leave its edge as it is
EXACT = 4  # decimals of points of accuracy; what lies below comes from float32


class Point(NamedTuple):
    """One setting of a defense: points of accuracy lost (negative: gained), PSNR in dB of its strongest attack."""

    lost: float
    psnr_db: float


Knobs = dict[str, list[Point]]  # the points of a defense's sweep by the dotted key of the knob


@dataclass(frozen=True)
class Value:
    """What leaks at one loss of accuracy; ``kind`` tells which fields are there.

    ``READ``: PSNR in dB, and how many points of accuracy ``apart`` the two settings are that it lies between (0 where a
    setting lies right there). ``BOUND``: the lowest PSNR of settings that all lose less. ``MISSED``: ``least``, the
    fewest points that a setting loses. PSNR is a mean over seeds where every seed has a value.
    """

    kind: str
    psnr_db: float | None = None
    apart: float = 0.0
    least: float | None = None


def at(measured: Sequence[Point], lost: float, anchor: Point | None = None) -> Value:
    """What leaks when ``lost`` points of accuracy may be lost.

    ``anchor``: the network without the defense, another end of the line; it counts only where every setting loses more.
    """
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


def swept(results: Sequence[Results], r: Results, points: Iterable[Results], row: str = UNPROTECTED) -> Knobs:
    """A cell's settings among ``sweeps.points``, each lost against the networks of its own seeds in ``row``.

    Against SiftFunnel's edge only the knobs of its losses count: another width is another edge.
    """
    knobs: Knobs = {}
    for point in points:
        key = point["knob"]["key"]
        if point.cell != r.cell or (row != UNPROTECTED and not key.startswith(LOSSES)):
            continue
        found = own(results, point, row)
        if found is not None:
            knobs.setdefault(key, []).append(found)
    return knobs


def of_seed(point: Results, seed: int) -> Results:
    """A sweep's setting as one seed has it; as it is where that seed did not run."""
    return next((run for run in point.seeds if run.seed == seed), point)


def own(results: Sequence[Results], r: Results, row: str = UNPROTECTED) -> Point | None:
    """A cell's setting, or a sweep's; None when its accuracy, that of ``row`` or every attack's PSNR is absent."""
    change, psnr = accuracy(results, r, row)["accuracy_change_points"], strongest(r)
    return None if None in (change, psnr) else Point(round(-change, EXACT), float(psnr))


def plain(results: Sequence[Results], r: Results, row: str = UNPROTECTED) -> Results | None:
    """The network that a defense becomes as its knob goes to zero; None for a defense that changes the architecture.

    It is the one in ``row``, where its edge has the same layers. Only the edge counts: a defense may add layers to the
    cloud, where z has been sent already.
    """
    found = reference(results, r, row)
    return found if found is not None and found.cell != r.cell and edge(found) == edge(r) else None


def settings(results: Sequence[Results], r: Results, knobs: Knobs, row: str = UNPROTECTED) -> list[Point]:
    """A cell's measured points: its own, where it has one, then those of its sweep."""
    point = own(results, r, row)
    return [*([] if point is None else [point]), *(point for points in knobs.values() for point in points)]


def _lines(results: Sequence[Results], r: Results, knobs: Knobs, lost: float, row: str) -> dict[str, Value]:
    """What leaks at one loss, by the line of each knob, all of which go through the cell's own setting."""
    base = plain(results, r, row)
    anchor = None if base is None else own(results, base, row)
    # a cell without a sweep has the line of its own setting
    lines = knobs or {"": []}
    return {key: at(settings(results, r, {key: points}, row), lost, anchor) for key, points in lines.items()}


def _private(value: Value) -> tuple[bool, float]:
    """What the defender prefers: a lower PSNR; where none is within reach, to lose less."""
    return value.psnr_db is None, value.psnr_db or value.least or 0.0


def values(
    results: Sequence[Results],
    r: Results,
    points: Iterable[Results],
    losses: Iterable[float],
    row: str = UNPROTECTED,
) -> dict[float, Value]:
    """What leaks at each loss, over a cell's own setting and its sweep's among ``points``.

    The knob is the one that does best over the means. With several seeds its value is that of each seed on its own,
    averaged, where every seed has one; otherwise that of the means, without a spread.
    """
    points, found = [point for point in points if point.cell == r.cell], {}
    whole = swept(results, r, points, row)
    # each seed's points are still lost against all seeds' networks: a sweep may have fewer seeds than the cell
    seeds = [
        (rows, s, swept(results, r, [of_seed(point, s.seed) for point in points], row))
        for rows, s in by_seed(results, r)
    ]
    for lost in losses:
        lines = _lines(results, r, whole, lost, row)
        knob = min(lines, key=lambda key: _private(lines[key]))
        each = [_lines(rows, s, {knob: its.get(knob, [])}, lost, row)[knob] for rows, s, its in seeds]
        found[lost] = _averaged(lines[knob], each)
    return found


def by_seed(results: Sequence[Results], r: Results) -> list[tuple[list[Results], Results]]:
    """For each seed of a cell: the rows that ran with it, and the cell among them."""
    split = {other.cell: {s.seed: s for s in other.seeds} for other in results}
    return [([rows[seed] for rows in split.values() if seed in rows], s) for seed, s in split[r.cell].items()]


def _averaged(whole: Value, each: Sequence[Value]) -> Value:
    """The seeds' values as one: a bound where one of them is."""
    kinds = {value.kind for value in each}
    if len(each) < 2 or not kinds <= {READ, BOUND}:
        return whole
    kind = BOUND if BOUND in kinds else READ
    return Value(kind, mean([value.psnr_db for value in each]), max(value.apart for value in each))
