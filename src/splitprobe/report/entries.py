"""Texts of single entries that several tables have: a score, an accuracy with its change, an estimate; with marks."""

from collections.abc import Mapping, Sequence

from splitprobe.report.markdown import DAGGER, NONE, Notes, beside, number, signed
from splitprobe.report.results import Results
from splitprobe.report.scores import accuracy
from splitprobe.report.spread import Mean, scaled

# an estimate this close to the most its estimator can reach is saturated: estimates bend well before it (see the figure
# on known answers) and differ there by their own noise
NEAR_CAP = 0.1  # nats
SATURATED = "‡"
CAPPED = f"{SATURATED} Within {NEAR_CAP} nats of the most this estimator can reach: saturated, so it ranks nothing."
STANDARD = (("psnr_db", 2), ("ssim", 3), ("mse", 4))  # score and decimals
PAPER = (("mse_paper", 4), ("psnr_db_paper", 2), ("ssim_paper", 3))


def scored(notes: Notes, attack: Mapping, key: str, decimals: int) -> str:
    """A score of an attack, marked when the attack failed."""
    return notes.value(attack, key, decimals) + (DAGGER if attack.get("failed") else "")


def share(notes: Notes, record: Mapping, key: str) -> str:
    """A share of one as percent, with its spread over seeds."""
    value = record.get(key)
    return notes.value(record, key, 1) if value is None else number(scaled(value, 100), 1)


def accurate(notes: Notes, results: Sequence[Results], r: Results) -> tuple[str, str]:
    """Accuracy, and its change with a sign; the unprotected row itself has no change."""
    record = accuracy(results, r)
    # with its sign: a defense may also gain accuracy
    change = record["accuracy_change_points"]
    text = signed(change, 1) if change is not None else notes.value(record, "accuracy_change_points", 1)
    return notes.value(record, "accuracy_percent", 1), NONE if r.row == "unprotected" else text


def estimated(notes: Notes, estimate: Mapping) -> str:
    """Mutual information ± its spread over seeds or else over the last epochs, marked when it sits at the cap."""
    value, spread = estimate.get("mi_nats"), estimate.get("mi_nats_std")
    text = notes.value(estimate, "mi_nats", 3)
    if None not in (value, spread) and not isinstance(value, Mean):
        text += f" ± {number(spread, 3)}"
    return text + (SATURATED if saturated(estimate) else "")


def saturated(estimate: Mapping) -> bool:
    """Whether mutual information sits at the most that its estimator can reach."""
    value, cap = estimate.get("mi_nats"), estimate.get("cap_nats")
    return None not in (value, cap) and value > cap - NEAR_CAP


def capped(lines: Sequence[Sequence[str]]) -> list[str]:
    """The paragraph that explains the mark of a saturated estimate, where a table's lines have one."""
    return [CAPPED, ""] if any(SATURATED in cell for line in lines for cell in line) else []


def compared(notes: Notes, prefix: str, attack: Mapping, theirs: Mapping) -> list[str]:
    """An attack's three scores in the paper's conventions, each beside the paper's."""
    return [beside(scored(notes, attack, key, d), theirs.get(f"{prefix}_{key}"), d) for key, d in PAPER]


def accurate_beside(notes: Notes, results: Sequence[Results], r: Results, theirs: Mapping) -> list[str]:
    """Accuracy and its change, each beside the paper's."""
    percent, change = accurate(notes, results, r)
    their_change = theirs.get("accuracy_change_points")
    if their_change is not None:
        change += f" ({their_change:+.2f})"
    return [beside(percent, theirs.get("accuracy_percent"), 2), change]


def information_beside(notes: Notes, r: Results, theirs: Mapping) -> list[str]:
    """Mutual information by the paper's estimator and non-zero entries of z, each beside the paper's."""
    # the calibrated estimator measures on another scale
    mi, z = r["information"]["mine"]["paper"], r["information"]["effective"]
    return [
        beside(notes.value(mi, "mi_nats", 4), theirs.get("mi_nats"), 4),
        beside(notes.value(z, "nonzero_per_image", 0), theirs.get("nonzero_per_image"), 0),
    ]
