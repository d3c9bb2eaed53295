"""Where rows of Tables II, III and IV do not reproduce the paper: a sentence for each reason, found by rules.

The digits cannot agree, since data and scale differ; what can is which side of the unprotected row a defense falls on,
whether an attack moved at all, and who is more private than SiftFunnel. ``RULES`` says it to readers.
"""

from splitprobe.report.markdown import bullets, labels, named, number
from splitprobe.report.numbers import UNPROTECTED, Numbers

SIFTFUNNEL = "siftfunnel"  # the row of the paper's own defense
DECIBELS, POINTS = 1.0, 1.0  # smaller differences from the unprotected row count as none
RULES = (
    f"Compared are the black-box decoder's PSNR (the paper's convention; more than {DECIBELS:g} dB below or above the "
    f"unprotected row, or equal) and the accuracy (more than {POINTS:g} point lost or gained, or kept). Also named are "
    "the paper's MLE values below a constant gray (the paper's convention, our images) and the rows that are more "
    "private than SiftFunnel here (by the strongest attack) but not there (by the highest PSNR of its decoders)."
)
SIDES = {-1: "lower than", 0: "equal to", 1: "higher than"}


def differences(numbers: Numbers) -> list[str]:
    """The block's lines: the rules, a bullet for each row that differs, then the rows that do not."""
    names = named(labels(numbers))
    printed = [cell for cell in numbers.cells if numbers.items(cell, who="paper")]
    compared = [cell for cell in printed if cell.partition("/")[2] != UNPROTECTED]
    found = {cell: [reason(numbers, cell) for reason in (_decoder, _accuracy, _mle, _rank)] for cell in compared}
    texts = {names[cell]: " ".join(filter(None, reasons)) for cell, reasons in found.items()}
    listed = [f"**{name}.** {text}" for name, text in texts.items() if text]
    chance = [names[cell] for cell in compared if numbers.at_chance(cell)]
    ends = {
        "Rows that reproduce all of this, as far as the paper prints it": (
            [name for name, text in texts.items() if not text and name not in chance] or ["none"]
        ),
        "Rows at chance accuracy here, which reproduce nothing by leaking little": chance,
        "Rows that the paper does not have": [names[cell] for cell in numbers.cells if cell not in printed],
        "There is no unprotected row to compare these with": [
            names[cell] for cell in compared if numbers.reference(cell) is None
        ],
    }
    end = " ".join(f"{text}: {'; '.join(rows)}." for text, rows in ends.items() if rows)
    return [RULES, "", *bullets(listed), *([""] if listed else []), end]


def side(value: float, base: float, margin: float) -> int:
    """-1 when a value is more than ``margin`` below a base, 1 when it is more than that above it, otherwise 0."""
    return (value > base + margin) - (value < base - margin)


def _decoder(numbers: Numbers, cell: str) -> str:
    """The black-box decoder against the unprotected row's, in the paper and here."""
    pair, place = (cell, numbers.reference(cell)), ("generator black_box", "psnr_db_paper")
    theirs, ours = ([row and numbers.value(row, *place, who) for row in pair] for who in ("paper", "ours"))
    if None in (*theirs, *ours) or side(*theirs, DECIBELS) == side(*ours, DECIBELS):
        return ""
    there, here = SIDES[side(*theirs, DECIBELS)], SIDES[side(*ours, DECIBELS)].split()[0]
    return (
        f"The decoder's PSNR is {there} unprotected in the paper ({theirs[0]:.2f} against {theirs[1]:.2f} dB), {here} "
        f"here ({ours[0]:.1f} against {ours[1]:.1f} dB)."
    )


def _accuracy(numbers: Numbers, cell: str) -> str:
    """The accuracy's change against the unprotected row, in the paper and here, in points."""
    theirs, ours = (numbers.value(cell, "network", "accuracy_change_points", who) for who in ("paper", "ours"))
    if None in (theirs, ours) or side(theirs, 0, POINTS) == side(ours, 0, POINTS):
        return ""

    def moved(change: float, decimals: int) -> str:
        verb = {-1: "loses", 0: "keeps", 1: "gains"}[side(change, 0, POINTS)]
        if verb == "keeps":
            return f"stays within {POINTS:g} point ({change:+.{decimals}f})"
        return f"{verb} {number(abs(change), decimals)} points"

    return f"Accuracy {moved(theirs, 2)} in the paper, {moved(ours, 1)} here."


def _mle(numbers: Numbers, cell: str) -> str:
    """The paper's MLE value where it lies below a constant gray: an attack that hardly left its start."""
    theirs = numbers.value(cell, "mle paper", "psnr_db_paper", "paper")
    gray = numbers.value(cell, "floor mle gray", "psnr_db_paper")
    if theirs is None or theirs >= gray:
        return ""
    start = numbers.value(cell, "mle paper", "start_psnr_db", missing="not run")
    near = "" if start is None else f" and {abs(theirs - start):.1f} dB from a random start ({start:.1f} dB here)"
    text = f"The paper's MLE value, {theirs:.2f} dB, is below the {gray:.1f} dB of a constant gray{near}: an attack "
    text += "that hardly moved"
    tuned, failed = (numbers.number(cell, "mle tuned", key, missing="not run") for key in ("psnr_db", "failed"))
    if tuned.value is None:
        return f"{text}."
    end = ", no better than gray or the mean image" if failed.highest else ""
    return f"{text}; the tuned attack reaches {tuned.value:.1f} dB here{end}."


def _rank(numbers: Numbers, cell: str) -> str:
    """Whether the row is more private than SiftFunnel here, while the paper has it the other way round."""
    funnel = numbers.reference(cell, SIFTFUNNEL)
    if funnel in (None, cell) or numbers.at_chance(cell):
        return ""
    ours = [numbers.value(row, "strongest", "psnr_db") for row in (cell, funnel)]
    theirs = []  # the highest PSNR that the paper prints for a decoder of what a row's edge sends
    for row in (cell, funnel):
        items = ("generator black_box", "generator gray_box")
        printed = [numbers.value(row, item, "psnr_db_paper", "paper", missing="not printed") for item in items]
        theirs.append(max((value for value in printed if value is not None), default=None))
    if None in (*ours, *theirs) or ours[0] >= ours[1] or theirs[0] <= theirs[1]:
        return ""
    return (
        f"It is more private than SiftFunnel here (strongest attack {ours[0]:.1f} against {ours[1]:.1f} dB), less in "
        f"the paper (best decoder {theirs[0]:.2f} against {theirs[1]:.2f} dB)."
    )
