"""Fano's bound (the paper's equations (6) and (7)) where its terms are known: naming the image among those attacked.

Among n images, each equally likely, whoever names one from z errs with probability P_e >= 1 - (I + log 2) / log n, I in
nats. An attack names the image that is nearest to its reconstruction; the information I(i; z) about which of the n it
was is, on average over sets of n images, at most I(x; z), and never more than log n.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitprobe.report.criterion_values import estimate, strongest
from splitprobe.report.markdown import NONE, Notes, grid
from splitprobe.report.results import Results
from splitprobe.report.spread import mean
from splitprobe.report.table import Flat

HOLDS, VACUOUS, VIOLATED = "holds", "vacuous", "violated"
ESTIMATES = {"infonce": "InfoNCE", "calibrated": "the calibrated estimator"}  # of I
LEAST = 3  # images: of two, log(n - 1) is zero
NO_SHARE = "this attack's record has no share of images identified"
NO_ATTACK = "no attack that sees one release of an image ended with a finite PSNR"
TEXT = (
    "x is taken as one of the n attacked test images, each equally likely, so that H(x) = log n: whoever names it from "
    "z errs with probability of at least 1 - (I + log 2) / log n. Measured: how often the original nearest to the "
    "reconstruction is not its own, for the strongest attack that sees one release of z. A bound of zero or less is "
    "vacuous.",
    "",
    "The estimates are lower bounds of I, so that what is computed from them is only an upper estimate of the true "
    "bound: it is violated where I is underestimated, and then the last column, (1 - error) log n - log 2, says how "
    "much information the attack itself proves (on average over sets of n images). An edge that is deterministic and "
    "maps the n images to different z carries all of log n: its true bound is vacuous, and a computed one that holds "
    "there speaks of the estimator's and the attack's limits; it guarantees nothing.",
    "",
    "For pixels the paper's bound (7) cannot be computed, since neither H(x) nor the number of possible images is "
    "known.",
    "",
)


@dataclass(frozen=True)
class Identification:
    """How often a cell's strongest attack that sees one release of z names the image, among ``images`` of them.

    Of several seeds these may be several numbers, where the strongest attacks are not the same one.

    ``error`` and ``proven``, in nats, are None with a ``reason``. ``bounds``: estimate to the least error it allows,
    None where the estimate is absent.
    """

    access: str
    images: tuple[int, ...]
    error: float | None
    proven: float | None
    bounds: Mapping[str, float | None]
    reason: str = ""

    def status(self, name: str) -> str | None:
        """Whether the error keeps the bound that an estimate of I gives; None when one of them is absent."""
        bound = self.bounds.get(name)
        if bound is None or self.error is None:
            return None
        if bound <= 0:
            return VACUOUS
        return HOLDS if self.error >= bound else VIOLATED


def least_error(information: float, images: int) -> float:
    """The paper's bound (7) for ``images`` equally likely images and I in nats; zero or less says nothing."""
    return 1 - (information + math.log(2)) / math.log(images)


def least_information(error: float, images: int) -> float:
    """The same bound the other way: the nats that an attack must have had to err no more often, at least zero."""
    return max(0.0, (1 - error) * math.log(images) - math.log(2))


def identification(r: Results) -> Identification:
    """A cell's measured error beside the bounds, means over its seeds where each has them."""
    runs = [_identification(run) for run in r.seeds]
    absent = next((one for one in runs if one.error is None), None)
    if absent or len(runs) == 1:
        return absent or runs[0]
    access = " / ".join(dict.fromkeys(one.access for one in runs))
    bounds = {name: mean([one.bounds[name] for one in runs]) for name in ESTIMATES}
    images = tuple(dict.fromkeys(count for one in runs for count in one.images))
    error, proven = mean([one.error for one in runs]), mean([one.proven for one in runs])
    return Identification(access, images, error, proven, bounds)


def _identification(r: Results) -> Identification:
    """The same for one seed. Several releases of an image may say more than I(x; z) of one, so they are left out."""
    attack = strongest(r, once=True)
    if attack is None:
        return Identification("", (), None, None, {}, NO_ATTACK)
    access, images, share = attack.record["access"], attack.images, attack.record.get("identified")
    if share is None or images < LEAST:
        why = attack.record.get("identified_reason", NO_SHARE) if share is None else f"{images} images are too few"
        return Identification(access, (images,), None, None, {}, why)
    bounds = {name: _bound(estimate(r, name), images) for name in ESTIMATES}
    return Identification(access, (images,), 1 - share, least_information(1 - share, images), bounds)


def _bound(record: Mapping[str, Any], images: int) -> float | None:
    """The least error that an estimate allows; an estimate below zero counts as zero."""
    value = record.get("mi_nats")
    return None if value is None else least_error(max(0.0, value), images)


def claim(named: Sequence[Identification]) -> str:
    """What became of the bound, counted."""
    parts = []
    for name, label in ESTIMATES.items():
        counts = Counter(status for status in (one.status(name) for one in named) if status)
        kinds = ", ".join(f"**{kind}** in {counts[kind]}" for kind in (HOLDS, VACUOUS, VIOLATED))
        known = sum(counts.values())
        parts.append(f"with I by {label} " + (f"of {known} cells {kinds}" if known else "no cell has its terms"))
    return f"Fano's bound on naming the image: {'; '.join(parts)}."


def row(named: Sequence[Identification]) -> Flat:
    """How many cells keep the bound, by estimate."""
    kinds = (HOLDS, VACUOUS, VIOLATED)
    return {f"{name}_{kind}": sum(one.status(name) == kind for one in named) for name in ESTIMATES for kind in kinds}


def page(results: Sequence[Results], named: Sequence[Identification]) -> list[str]:
    """One line per cell, below what the bound says and does not say."""
    notes, lines = Notes(), []
    header = ["Cell", "Attack", "Images", "Error in naming"]
    header += [text for label in ESTIMATES.values() for text in (f"Least error, I by {label}", "Verdict")]
    for r, one in zip(results, named, strict=True):
        line = [r.cell, one.access or NONE, " / ".join(f"{count:,}" for count in one.images) or NONE]
        if one.error is None or one.proven is None:
            lines.append([*line, notes.absent(one.reason), *[NONE] * (2 * len(ESTIMATES) + 1)])
            continue
        line.append(f"{one.error:.3f}")
        for name, label in ESTIMATES.items():
            bound = one.bounds[name]
            absent = f"no estimate by {label} in this cell's results"
            line += [notes.absent(absent) if bound is None else f"{bound:.3f}", one.status(name) or NONE]
        lines.append([*line, f"{one.proven:.2f}"])
    return [*TEXT, *grid([*header, "I that the attack proves, nats"], lines, left=2), "", *notes.lines()]


def columns(one: Identification) -> Flat:
    """A cell's part of a CSV line."""
    line: Flat = {"named_by": one.access, "named_images": " / ".join(map(str, one.images)), "naming_error": one.error}
    for name in ESTIMATES:
        line |= {f"least_error_{name}": one.bounds.get(name), f"bound_{name}": one.status(name)}
    return line | {"proven_nats": one.proven, "naming_absent": one.reason}
