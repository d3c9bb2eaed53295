"""Markdown pieces: tables, numbers, notes for the values that are absent, and the users' own words."""

import re
from collections.abc import Mapping, Sequence

from splitprobe.report.numbers import Number

DAGGER = "†"
NONE = "–"  # the paper has no such number
# what Markdown takes for more than text, where it does: "_" within a word and "[" without a link stay
SPECIAL = re.compile(r"[\\`*<|$~]|(?<!\w)_|_(?!\w)|\](?=\()|&(?=#?\w+;)")
FAILED = (
    f"{DAGGER} By MSE no better than answering gray or the mean image, of several seeds in at least one: a failed "
    "attack, not privacy. A stronger or better tuned attacker may still succeed there."
)


def words(text: str) -> str:
    """What a user wrote, such as a title, so that it is shown as it is, in one line."""
    return SPECIAL.sub(lambda found: f"\\{found[0]}", " ".join(text.split()))


class Notes:
    """Collects the reasons of absent values; each reason gets a number in order of first use."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def mark(self, reason: str) -> str:
        """The number of a reason, raised."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"<sup>{self.reasons.index(reason) + 1}</sup>"

    def absent(self, reason: str) -> str:
        """The entry for an absent value."""
        return f"n/a{self.mark(reason)}"

    def value(self, value: Number, decimals: int) -> str:
        """A quantity as :func:`number` writes it, or n/a with its reason."""
        return self.absent(value.reason) if value.value is None else number(value, decimals)

    def lines(self) -> list[str]:
        """The reasons, a paragraph each, for below the table."""
        return [line for i, reason in enumerate(self.reasons, 1) for line in (f"<sup>{i}</sup> {reason}", "")]


def number(value: Number | float, decimals: int) -> str:
    """A number for readers: thousands separated, fixed decimals, exponent form where those would show only zeros.

    A mean over seeds that differ comes with its standard deviation.
    """
    if isinstance(value, Number):
        return number(value.value, decimals) + spread(value, decimals)
    if isinstance(value, int) or decimals == 0:
        return f"{round(value):,}"
    if value and abs(value) < 0.5 * 10**-decimals:
        return f"{value:.1e}"
    return f"{value:,.{decimals}f}"


def spread(value: Number, decimals: int) -> str:
    """A standard deviation with its mean's decimals, or with one digit where those would show only zeros."""
    if value.sd is None:
        return ""
    return f" ± {value.sd:.1g}" if decimals and value.sd < 0.5 * 10**-decimals else f" ± {number(value.sd, decimals)}"


def printed(value: float | None, decimals: int) -> str:
    """A number of the paper for readers, or the mark for one that it does not have."""
    return NONE if value is None else number(value, decimals)


def signed(value: Number, decimals: int) -> str:
    """A change for readers, with its sign; a mean over seeds as in :func:`number`."""
    text = f"{value.value:+.{decimals}f}"
    return (text if float(text) else text[1:]) + spread(value, decimals)  # no -0.0


def grid(header: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """A Markdown table; the first ``left`` columns are aligned left, the others right."""
    rule = [":---" if i < left else "---:" for i in range(len(header))]
    return [f"| {' | '.join(line)} |" for line in (header, rule, *lines)]


def document(title: str, *blocks: Sequence[str]) -> str:
    """A page: the title, then blocks of lines with an empty line between them."""
    return "\n\n".join([f"# {title}", *("\n".join(block).rstrip() for block in blocks)]) + "\n"


def bullets(lines: Sequence[str]) -> list[str]:
    """A list."""
    return [f"- {line}" for line in lines]


def named(titles: Mapping[str, str]) -> dict[str, str]:
    """Cells with their titles as :func:`words` writes them."""
    return {cell: words(title) for cell, title in titles.items()}
