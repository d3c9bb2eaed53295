"""Where rows of Tables II, III and IV do not reproduce the paper: a sentence for each reason, found by rules.

The digits cannot agree, since data and scale differ; what can is which side of the unprotected row a defense falls on,
whether an attack moved at all, and who is more private than SiftFunnel. ``RULES`` says it to readers.
"""

from collections.abc import Sequence

from splitprobe.report.markdown import bullets, number
from splitprobe.report.results import Results, labels, reference
from splitprobe.report.scores import SIFTFUNNEL, printed, strongest

DECIBELS, POINTS = 1.0, 1.0  # smaller differences from the unprotected row count as none
RULES = (
    f"Compared are the black-box decoder's PSNR (the paper's convention; more than {DECIBELS:g} dB below or above the "
    f"unprotected row, or equal) and the accuracy (more than {POINTS:g} point lost or gained, or kept). Also named are "
    "the paper's MLE values below a constant gray (the paper's convention, our images) and the rows that are more "
    "private than SiftFunnel here (by the strongest attack) but not there (by the highest PSNR of its decoders)."
)
SIDES = {-1: "lower than", 0: "equal to", 1: "higher than"}


def differences(results: Sequence[Results]) -> list[str]:
    """The block's lines: the rules, a bullet for each row that differs, then the rows that do not."""
    names, found = labels(results), {}
    compared = [r for r in results if printed(r) and r.row != "unprotected"]
    for r in compared:
        reasons = (_decoder(results, r), _accuracy(results, r), _mle(r), _rank(results, r))
        found[r.cell] = " ".join(reason for reason in reasons if reason)
    listed = [f"**{names[cell]}.** {text}" for cell, text in found.items() if text]
    same = [names[cell] for cell, text in found.items() if not text]
    alone = [names[r.cell] for r in results if not printed(r)]
    end = [f"Rows that reproduce all of this, as far as the paper prints it: {'; '.join(same) or 'none'}."]
    end += [f"Rows that the paper does not have: {'; '.join(alone)}."] if alone else []
    lonely = [names[r.cell] for r in compared if reference(results, r) is None]
    end += [f"There is no unprotected row to compare these with: {'; '.join(lonely)}."] if lonely else []
    return [RULES, "", *bullets(listed), *([""] if listed else []), " ".join(end)]


def side(value: float, base: float, margin: float) -> int:
    """-1 when a value is more than ``margin`` below a base, 1 when it is more than that above it, otherwise 0."""
    return (value > base + margin) - (value < base - margin)


def _decoder(results: Sequence[Results], r: Results) -> str:
    """The black-box decoder against the unprotected row's, in the paper and here."""
    base = reference(results, r)
    if base is None:
        return ""
    key = "generator_psnr_db_paper"
    theirs = [printed(row, "black-box").get(key) for row in (r, base)]
    ours = [row["generator"]["decoders"].get("black_box", {}).get("psnr_db_paper") for row in (r, base)]
    if None in (*theirs, *ours) or side(*theirs, DECIBELS) == side(*ours, DECIBELS):
        return ""
    there, here = SIDES[side(*theirs, DECIBELS)], SIDES[side(*ours, DECIBELS)].split()[0]
    return (
        f"The decoder's PSNR is {there} unprotected in the paper ({theirs[0]:.2f} against {theirs[1]:.2f} dB), {here} "
        f"here ({ours[0]:.1f} against {ours[1]:.1f} dB)."
    )


def _accuracy(results: Sequence[Results], r: Results) -> str:
    """The accuracy's change against the unprotected row, in the paper and here, in points."""
    base, theirs = reference(results, r), printed(r).get("accuracy_change_points")
    if base is None or None in (theirs, r["target"]["accuracy"], base["target"]["accuracy"]):
        return ""
    ours = 100 * (r["target"]["accuracy"] - base["target"]["accuracy"])
    if side(theirs, 0, POINTS) == side(ours, 0, POINTS):
        return ""
    return f"Accuracy {_moved(theirs, 2)} in the paper, {_moved(ours, 1)} here."


def _moved(change: float, decimals: int) -> str:
    verb = {-1: "loses", 0: "keeps", 1: "gains"}[side(change, 0, POINTS)]
    if verb == "keeps":
        return f"stays within {POINTS:g} point ({change:+.{decimals}f})"
    return f"{verb} {number(abs(change), decimals)} points"


def _mle(r: Results) -> str:
    """The paper's MLE value where it lies below a constant gray: an attack that hardly left its start."""
    theirs, gray = printed(r).get("mle_psnr_db_paper"), r["mle"]["floors"]["gray"]["psnr_db_paper"]
    if theirs is None or theirs >= gray:
        return ""
    start = r["mle"]["variants"].get("paper", {}).get("start_psnr_db")
    near = "" if start is None else f" and {abs(theirs - start):.1f} dB from a random start ({start:.1f} dB here)"
    text = f"The paper's MLE value, {theirs:.2f} dB, is below the {gray:.1f} dB of a constant gray{near}: an attack "
    text += "that hardly moved"
    tuned = r["mle"]["variants"].get("tuned", {})
    if tuned.get("psnr_db") is None:
        return f"{text}."
    failed = ", no better than gray or the mean image" if tuned["failed"] else ""
    return f"{text}; the tuned attack reaches {tuned['psnr_db']:.1f} dB here{failed}."


def _rank(results: Sequence[Results], r: Results) -> str:
    """Whether the row is more private than SiftFunnel here, while the paper has it the other way round."""
    funnel = next((other for other in results if other.row == SIFTFUNNEL and other.network == r.network), None)
    if funnel is None or r.row == SIFTFUNNEL:
        return ""
    ours, theirs = [[measure(row) for row in (r, funnel)] for measure in (strongest, _worst)]
    if None in (*ours, *theirs) or ours[0] >= ours[1] or theirs[0] <= theirs[1]:
        return ""
    return (
        f"It is more private than SiftFunnel here (strongest attack {ours[0]:.1f} against {ours[1]:.1f} dB), less in "
        f"the paper (best decoder {theirs[0]:.2f} against {theirs[1]:.2f} dB)."
    )


def _worst(r: Results) -> float | None:
    """The highest PSNR that the paper prints for a decoder of this row, over its accesses."""
    lines = [printed(r, access) for access in ("black-box", "gray-box")]
    values = [line.get("generator_psnr_db_paper") for line in lines]
    return max((value for value in values if value is not None), default=None)
