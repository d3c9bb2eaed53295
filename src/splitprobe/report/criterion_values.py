"""What the paper's criterion (its equation (8)) is tested on: its factors and an attack's gain, cell by cell.

The criterion says that an attack gets easier with I(x; z), with the entropy H(z) and, for decoders above all, with the
size of z. A gain is an attack's PSNR less that of the mean auxiliary image on the same images, in dB, since data sets
differ in what that floor scores.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitprobe.report import statistics
from splitprobe.report.entries import saturated
from splitprobe.report.results import UNPROTECTED, Results
from splitprobe.report.scores import decoders, edge, network
from splitprobe.report.spread import over
from splitprobe.report.statistics import Correlation, Settings, correlate, left_out, verdict

STAGES = ("target", "information", "generator", "mle")
ESTIMATORS = {
    "paper": "paper's MINE", "calibrated": "calibrated", "infonce": "InfoNCE", "decoder": "decoder bound",
}  # fmt: skip
ALL, FIXED = "all", "fixed"  # over all cells; at fixed architecture

Architecture = tuple[str, str, int, tuple]  # data set, model, cut, and the edge's layers


@dataclass(frozen=True)
class Factor:
    """A quantity of a cell; ``part``: what it stands for in the criterion, empty for none; ``expected``: its sign.

    ``estimate``: of ``information.mine``, the record behind it, so that values at its cap are known.
    """

    key: str
    title: str
    unit: str
    part: str
    read: Callable[[Results], float | None]
    expected: int = 1
    log: bool = False
    estimate: str = ""


def estimate(r: Results, name: str) -> Mapping[str, Any]:
    """A cell's record of an estimate of I(x; z); empty where an older result has none."""
    return r["information"]["mine"].get(name) or {}


def _mi(name: str) -> Callable[[Results], float | None]:
    def read(r: Results) -> float | None:
        found = estimate(r, name)
        # estimates at the cap differ by chance alone: they are one rank
        return found["cap_nats"] if saturated(found) else found.get("mi_nats")

    return read


def _probed(section: str, key: str) -> Callable[[Results], float | None]:
    """A value of the information stage; None where an older result has no such section."""
    return lambda r: (r["information"].get(section) or {}).get(key)


def _dead_share(r: Results) -> float | None:
    z = r["information"]["effective"]
    return None if z["dead_channels"] is None else z["dead_channels"] / z["channels"]


def _estimate(name: str, part: str = "I") -> Factor:
    return Factor(f"mi_{name}", f"MI ({ESTIMATORS[name]})", "nats", part, _mi(name), estimate=name)


# part: I, H and size are the criterion's factors; the others are shown beside them. So is the paper's estimate of I: it
# is capped below 1 nat, sees a corner of the image and gets few steps
FACTORS = (
    _estimate("paper", part=""),
    _estimate("calibrated"),
    _estimate("infonce"),
    Factor("entropy", "H(z)", "coded bits", "H", _probed("entropy", "coded_bits_per_image"), log=True),
    Factor("nonzero", "Non-zero entries of z", "", "size", _probed("effective", "nonzero_per_image"), log=True),
    Factor("entries", "Entries of z", "", "", _probed("effective", "capacity"), log=True),
    Factor("bytes", "z", "bytes", "", lambda r: r["target"]["z_bytes"], log=True),
    Factor("dependence", "Squared distance correlation", "", "", _probed("dependence", "dcor_squared")),
    Factor("dead_share", "Dead channels", "share", "", _dead_share, expected=-1),
    _estimate("decoder", part=""),
)
COMBINED = ("calibrated", "infonce")  # the estimates of I that combinations are made with


@dataclass(frozen=True)
class Attack:
    """An attack's record beside its floor's and the number of images both are scored on."""

    record: Mapping[str, Any]
    floor: Mapping[str, Any]
    images: int

    @property
    def gain(self) -> float | None:
        """PSNR over that of the mean auxiliary image, in dB; None when either is absent."""
        own, base = self.record["psnr_db"], self.floor["psnr_db"]
        return None if None in (own, base) else own - base


def attacks(r: Results, once: bool = False) -> list[Attack]:
    """All attacks on what the edge sends; with ``once`` those alone that see one release of an image."""
    found = []
    for stage, records in (("generator", decoders(r)), ("mle", r["mle"]["variants"])):
        seen = [record for record in records.values() if not once or record.get("queries", 1) == 1]
        found += [Attack(record, r[stage]["floors"]["mean_image"], r[stage]["images"]) for record in seen]
    return found


def strongest(r: Results, once: bool = False) -> Attack | None:
    """The attack with the highest PSNR, as in every table; None when no attack has a finite one."""
    known = [attack for attack in attacks(r, once) if attack.record["psnr_db"] is not None]
    return max(known, key=lambda attack: attack.record["psnr_db"], default=None)


def _named(stage: str, records: str, name: str) -> Callable[[Results], Attack | None]:
    def find(r: Results) -> Attack | None:
        record = r[stage][records].get(name)
        return None if record is None else Attack(record, r[stage]["floors"]["mean_image"], r[stage]["images"])

    return find


OUTCOMES: Mapping[str, tuple[str, Callable[[Results], Attack | None]]] = {
    "strongest": ("strongest attack", strongest),
    "generator": ("black-box generator", _named("generator", "decoders", "black_box")),
    "mle": ("tuned MLE", _named("mle", "variants", "tuned")),
    "strong": ("strong decoder", _named("generator", "decoders", "strong")),
    "hybrid": ("hybrid", _named("mle", "variants", "hybrid")),
}


@dataclass(frozen=True)
class Series:
    """A factor, or a combination of factors, over all cells; ``capped``: cells at the cap, None where there is none."""

    key: str
    title: str
    unit: str
    part: str
    values: np.ndarray
    expected: int = 1
    log: bool = False
    capped: int | None = None

    @property
    def label(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


def architecture(r: Results) -> Architecture:
    """What a cell shares with those of the same data, network, cut and edge.

    The edge counts: defenses that shrink z would else bring the size of z back in, which is one of the factors.
    """
    return (*r.network, r["target"]["cell"]["cut"], edge(r))


def architecture_title(of: Architecture, results: Sequence[Results]) -> str:
    """An architecture's name for readers."""
    cells = [r for r in results if architecture(r) == of]
    edges = {architecture(r) for r in results if architecture(r)[:3] == of[:3]}
    plain = len(edges) == 1 or any(r.row == UNPROTECTED for r in cells)
    return f"{of[0]}, {network(cells[0])}, cut {of[2]}" + ("" if plain else f", edge of {cells[0].title}")


def gains(results: Sequence[Results], outcome: str) -> np.ndarray:
    """An outcome's gain in dB over all cells (n,), NaN where there is none; the mean over seeds, each with its own."""

    def gain(run: Results) -> float | None:
        attack = OUTCOMES[outcome][1](run)
        return None if attack is None else attack.gain

    return statistics.numbers([over(r.seeds, gain) for r in results])


def failures(results: Sequence[Results], outcome: str) -> tuple[int, int]:
    """How many of an outcome's attacks failed (no better than gray or the mean image), and how many there are."""
    found = [attack for attack in (OUTCOMES[outcome][1](r) for r in results) if attack is not None]
    return sum(bool(attack.record["failed"]) for attack in found), len(found)


def at_cap(r: Results, key: str) -> bool:
    """Whether a factor's value is an estimate at the most that its estimator can reach."""
    name = next((f.estimate for f in FACTORS if f.key == key), "")
    return bool(name) and saturated(estimate(r, name))


def factors(results: Sequence[Results]) -> list[Series]:
    """FACTORS over all cells."""
    made = []
    for f in FACTORS:
        values = statistics.numbers([f.read(r) for r in results])
        capped = sum(at_cap(r, f.key) for r in results) if f.estimate else None
        made.append(Series(f.key, f.title, f.unit, f.part, values, f.expected, f.log, capped))
    return made


def products(single: Sequence[Series]) -> list[Series]:
    """The criterion's factors multiplied, which is our reading of it: without size for MLE, with it for decoders."""
    by, made = {series.key: series for series in single}, []
    for name in COMBINED:
        mi, h, size = (by[key].values for key in (f"mi_{name}", "entropy", "nonzero"))
        two, three = statistics.product(mi, h), statistics.product(mi, h, size)
        title = f"I ({ESTIMATORS[name]}) × H(z)"
        made.append(Series(f"product_{name}", title, "", "I, H", two, log=True))
        made.append(Series(f"product_size_{name}", f"{title} × size", "", "I, H, size", three, log=True))
    return made


def fitted(single: Sequence[Series], outcome: np.ndarray, results: Sequence[Results]) -> list[Series]:
    """What I, H(z) and size predict of an outcome by a fit on the other networks' cells, for each estimate of I."""
    by, made = {series.key: series for series in single}, []
    for name in COMBINED:
        used = [by[key].values for key in (f"mi_{name}", "entropy", "nonzero")]
        predicted = left_out(used, outcome, [r.network for r in results])
        made.append(Series(f"fit_{name}", f"Fit on other networks ({ESTIMATORS[name]})", "", "I, H, size", predicted))
    return made


@dataclass(frozen=True)
class Finding:
    """One test: a series against an outcome over a scope, which is ALL, FIXED or one architecture."""

    series: Series
    outcome: str
    scope: str | Architecture
    found: Correlation
    verdict: str


def examine(results: Sequence[Results], settings: Settings, outcomes: Sequence[str] = tuple(OUTCOMES)) -> list[Finding]:
    """All tests: every factor and combination against the outcomes, over all cells and at fixed architecture.

    For architectures with at least ``settings.least`` cells, also among their cells alone.
    """
    single, groups = factors(results), [architecture(r) for r in results]
    large = [group for group in dict.fromkeys(groups) if groups.count(group) >= settings.least]
    made: list[Finding] = []
    for outcome in outcomes:
        y = gains(results, outcome)
        for series in [*single, *products(single), *fitted(single, y, results)]:
            made += _tests(series, outcome, y, groups, large, settings)
    return made


def _tests(
    series: Series, outcome: str, y: np.ndarray, groups: Sequence[Architecture], large: Sequence[Architecture],
    settings: Settings,
) -> Iterator[Finding]:  # fmt: skip
    """A series against an outcome (n,), in every scope."""
    scopes: list[tuple[str | Architecture, Correlation]] = [
        (ALL, correlate(series.values, y, settings)),
        (FIXED, correlate(series.values, y, settings, groups)),
    ]
    for group in large:
        own = np.array([name == group for name in groups])
        scopes.append((group, correlate(series.values[own], y[own], settings)))
    for scope, found in scopes:
        yield Finding(series, outcome, scope, found, verdict(found, series.expected))


def conclusion(overall: str, fixed: str) -> str:
    """The verdicts over all cells and at fixed architecture in one phrase."""
    return overall if overall == fixed else f"{overall} over all cells, {fixed} at fixed architecture"
