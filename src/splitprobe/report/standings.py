"""Who stands where on the leaderboard: each row's points, what leaks at equal accuracy, and the order that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitprobe.params import Params, ParamsError, bounded
from splitprobe.report import matched
from splitprobe.report.matched import MISSED, Point, Value
from splitprobe.report.results import NO_REFERENCE, UNPROTECTED, Results
from splitprobe.report.scores import NO_ATTACK, accuracy, gain, strongest
from splitprobe.report.spread import mean

DECIMALS = 2  # of PSNR in dB for readers; rows that agree in them share a rank


@dataclass(frozen=True)
class Settings:
    """The section ``leaderboard``; all in points of accuracy."""

    losses: tuple[float, ...] = bounded(0.0, 100.0)
    rank_at: float = bounded(0.0, 100.0)
    apart: float = bounded(0.0, 100.0)

    @classmethod
    def from_params(cls, params: Params) -> "Settings":
        """The section, checked; raises ParamsError when ``rank_at`` is not among the losses."""
        settings = params.section("leaderboard", cls)
        if settings.rank_at not in settings.losses:
            known = ", ".join(f"{lost:g}" for lost in settings.losses)
            raise ParamsError(f"leaderboard.rank_at = {settings.rank_at:g}: choose one of leaderboard.losses: {known}")
        return settings


@dataclass(frozen=True)
class Entry:
    """A row: its measured settings, its network without the defense, and what leaks at each loss of accuracy.

    At its own setting: the ``change`` of accuracy in points against the unprotected row, and ``here`` against the row
    that its losses are counted from, whose name is ``row``; the ``strongest`` attack's PSNR in dB, and how many dB it
    is ``above`` the mean image's; each a mean over seeds, where several ran.
    """

    r: Results
    measured: Sequence[Point]
    row: str
    plain: Results | None
    values: Mapping[float, Value]
    change: float | None
    here: float | None
    strongest: float | None
    above: float | None

    @property
    def why(self) -> str:
        """Why the row has no point, where it has none."""
        if self.strongest is None:
            return NO_ATTACK
        absent = NO_REFERENCE if self.row == UNPROTECTED else f"no row {self.row} to compare with"
        return self.r["target"].get("accuracy_reason", absent)


Ranked = list[tuple[int | None, Entry]]


def entry(
    results: Sequence[Results],
    r: Results,
    points: Sequence[Results],
    losses: Sequence[float],
    row: str = UNPROTECTED,
) -> Entry:
    """A cell's entry; ``points``: those of all sweeps, ``losses``: points of accuracy, lost against ``row``."""
    seeds = matched.by_seed(results, r)
    return Entry(
        r,
        matched.settings(results, r, matched.swept(results, r, points, row), row),
        row,
        matched.plain(results, r, row),
        matched.values(results, r, points, losses, row),
        mean([accuracy(rows, s)["accuracy_change_points"] for rows, s in seeds]),
        mean([accuracy(rows, s, row)["accuracy_change_points"] for rows, s in seeds]),
        mean([strongest(s) for _, s in seeds]),
        mean([gain(s) for _, s in seeds]),
    )


def ranked(entries: Sequence[Entry], lost: float) -> Ranked:
    """Entries with their ranks, best first, by what leaks at a loss of accuracy; equal ones share a rank.

    Bounds rank as they stand. Behind them those that always lose more, by the fewest points that they lose; at the end
    and without a rank those without a point.
    """
    places = [_place(one.values[lost]) for one in entries]
    order = sorted(range(len(entries)), key=places.__getitem__)
    ahead = [sum(other < places[i] for other in places) for i in order]
    return [(None if places[i] == LAST else 1 + n, entries[i]) for n, i in zip(ahead, order, strict=True)]


LAST = (2, 0.0)


def _place(value: Value) -> tuple[int, float]:
    """What entries are sorted by, as far as readers see it."""
    if value.psnr_db is not None:
        return 0, round(value.psnr_db, DECIMALS)
    return (1, round(value.least, 1)) if value.kind == MISSED else LAST
