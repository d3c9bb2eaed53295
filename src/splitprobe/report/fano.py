"""Fano's bound (the paper's equations (6) and (7)) where its terms are known: naming the image among those attacked.

Among n images, each equally likely, whoever names one from z errs with probability P_e >= 1 - (I + log 2) / log n, I in
nats. An attack names the image that is nearest to its reconstruction; the information I(i; z) about which of the n it
was is, on average over sets of n images, at most I(x; z), and never more than log n.
"""

import math
from collections.abc import Mapping

from splitprobe.report.attacks import best
from splitprobe.report.markdown import NONE, Notes, grid
from splitprobe.report.numbers import Number, Numbers
from splitprobe.report.tables import Flat

HOLDS, VACUOUS, VIOLATED = KINDS = ("holds", "vacuous", "violated")
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


def identifications(numbers: Numbers) -> dict[str, Flat]:
    """How often a cell's strongest attack that sees one release of z names the image, as its columns of the CSV.

    ``naming_error`` among ``named_images`` and ``proven_nats`` are means over seeds, absent with the reason
    ``naming_absent``. For each of ESTIMATES the ``least_error_`` it allows and whether the error keeps it, ``bound_``;
    both None where the estimate is absent."""
    own = {seed: numbers.of_seed(seed) for seed in {seed for cell in numbers.cells for seed in numbers.seeds(cell)}}
    named = {}
    for cell in numbers.cells:
        runs = [_of_seed(own[seed], cell) for seed in numbers.seeds(cell)]
        line = next((run for run in runs if run["naming_absent"]), None) or {
            key: " / ".join(dict.fromkeys(values)) if isinstance(values[0], str) else Number.over(values).value
            for key, values in ((key, [run[key] for run in runs]) for key in runs[0])
        }
        for name in ESTIMATES:
            bound, error = line[f"least_error_{name}"], line["naming_error"]
            kind = None if None in (bound, error) else VACUOUS if bound <= 0 else HOLDS if error >= bound else VIOLATED
            line[f"bound_{name}"] = kind
        named[cell] = line
    return named


def least_error(information: float, images: int) -> float:
    """The paper's bound (7) for ``images`` equally likely images and I in nats; zero or less says nothing."""
    return 1 - (information + math.log(2)) / math.log(images)


def least_information(error: float, images: int) -> float:
    """The same bound the other way: the nats that an attack must have had to err no more often, at least zero."""
    return max(0.0, (1 - error) * math.log(images) - math.log(2))


def _of_seed(numbers: Numbers, cell: str) -> Flat:
    """The numbers of one seed. Several releases of an image may say more than I(x; z) of one, so they are left out."""
    item = best(numbers, cell, once=True)
    line: Flat = {"named_by": "", "named_images": "", "naming_error": None}
    line |= dict.fromkeys([*(f"least_error_{name}" for name in ESTIMATES), "proven_nats"])
    if item is None:
        return line | {"naming_absent": NO_ATTACK}
    images = int(numbers.value(cell, item.split()[0], "images"))
    share = numbers.number(cell, item, "identified", missing=NO_SHARE)
    line |= {"named_by": numbers.text(cell, item, "access"), "named_images": str(images)}
    if share.value is None or images < LEAST:
        return line | {"naming_absent": share.reason if share.value is None else f"{images} images are too few"}
    error = 1 - share.value
    for name in ESTIMATES:
        nats = numbers.value(cell, f"mi {name}", "mi_nats", missing="not estimated")
        # an estimate below zero counts as zero
        line[f"least_error_{name}"] = None if nats is None else least_error(max(0.0, nats), images)
    return line | {"naming_error": error, "proven_nats": least_information(error, images), "naming_absent": ""}


def claim(named: Mapping[str, Flat]) -> str:
    """What became of the bound, counted."""
    parts = []
    for name, label in ESTIMATES.items():
        counts = {kind: row(named)[f"{name}_{kind}"] for kind in KINDS}
        kinds = ", ".join(f"**{kind}** in {count}" for kind, count in counts.items())
        known = f"of {sum(counts.values())} cells {kinds}" if any(counts.values()) else "no cell has its terms"
        parts.append(f"with I by {label} {known}")
    return f"Fano's bound on naming the image: {'; '.join(parts)}."


def row(named: Mapping[str, Flat]) -> Flat:
    """How many cells keep the bound, by estimate."""
    bounds = {name: [line[f"bound_{name}"] for line in named.values()] for name in ESTIMATES}
    return {f"{name}_{kind}": own.count(kind) for name, own in bounds.items() for kind in KINDS}


def page(named: Mapping[str, Flat]) -> list[str]:
    """One line per cell, below what the bound says and does not say."""
    notes, lines = Notes(), []
    header = ["Cell", "Attack", "Images", "Error in naming"]
    header += [text for label in ESTIMATES.values() for text in (f"Least error, I by {label}", "Verdict")]
    for cell, line in named.items():
        images = " / ".join(f"{int(count):,}" for count in line["named_images"].split(" / ") if count)
        shown = [cell, line["named_by"] or NONE, images or NONE]
        if line["naming_absent"]:
            lines.append([*shown, notes.absent(line["naming_absent"]), *[NONE] * (2 * len(ESTIMATES) + 1)])
            continue
        shown.append(f"{line['naming_error']:.3f}")
        for name, label in ESTIMATES.items():
            bound = line[f"least_error_{name}"]
            absent = f"no estimate by {label} in this cell's results"
            shown += [notes.absent(absent) if bound is None else f"{bound:.3f}", line[f"bound_{name}"] or NONE]
        lines.append([*shown, f"{line['proven_nats']:.2f}"])
    return [*TEXT, *grid([*header, "I that the attack proves, nats"], lines, left=2), "", *notes.lines()]
