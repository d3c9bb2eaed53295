"""What pages and captions are made of: tables, numbers, notes on absent values, and what some cells are and rest on."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from splitprobe.report.numbers import STOPPED, Number, Numbers

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

    def table(self, header: Sequence[str], lines: Sequence[Sequence[str]], *more: str, left: int = 1) -> list[str]:
        """A table as by :func:`grid`; below it paragraphs: ``more``, then each reason of an absent value."""
        below = [*more, *(f"<sup>{i}</sup> {reason}" for i, reason in enumerate(self.reasons, 1))]
        return [*grid(header, lines, left), "", *(line for text in below for line in (text, ""))]


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


def labels(numbers: Numbers, cells: Sequence[str] | None = None) -> dict[str, str]:
    """Cell to title; titles that several cells share are told apart by the cell's name. Marked where at chance."""
    titles = {cell: numbers.text(cell, "target", "title") for cell in cells or numbers.cells}
    listed = list(titles.values())
    told = {cell: title if listed.count(title) == 1 else f"{title} ({cell})" for cell, title in titles.items()}
    return {cell: name + stopped(numbers, cell) for cell, name in told.items()}


def stopped(numbers: Numbers, cell: str) -> str:
    """The mark behind the name of a cell whose network has stopped working; empty for others."""
    return STOPPED if numbers.at_chance(cell) else ""


def explained(numbers: Numbers) -> str:
    """What this mark says, and of which cells; empty where none has it."""
    cells = [cell for cell in numbers.cells if numbers.at_chance(cell)]
    why = "the network is at chance or its z is dead, so that what leaks there says nothing of privacy"
    return f" {STOPPED} {', '.join(cells)}: {why}." if cells else ""


def marked(numbers: Numbers, names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Names of cells, usually their labels, with the number of seeds in brackets where others have more."""
    counts = {cell: len(numbers.seeds(cell)) for cell in numbers.cells}
    shown, most = labels(numbers) if names is None else names, max(counts.values(), default=1)
    return {cell: name if counts[cell] == most else f"{name} [{counts[cell]}]" for cell, name in shown.items()}


def distinct(values: Iterable[Any]) -> str:
    """Values for a caption: one if all agree, a range of numbers, or a list in order of appearance."""
    seen = list(dict.fromkeys(values))
    if len(seen) > 1 and all(isinstance(value, int | float) for value in seen):
        return f"{distinct([min(seen)])} to {distinct([max(seen)])}"
    whole = (int(value) if isinstance(value, float) and value.is_integer() else value for value in seen)
    return " / ".join({int: "{:,}", float: "{:g}"}.get(type(value), "{}").format(value) for value in whole)


def devices(numbers: Numbers) -> str:
    """The devices on which the results were made."""
    made = numbers.frame.item.str.startswith("provenance") & (numbers.frame.quantity == "device")
    return distinct(numbers.frame.text[made])


def origin(numbers: Numbers, shown: str = "", spreads: bool = True) -> str:
    """Seeds and devices behind some results, for a caption.

    ``shown``: what is there of each row's first seed alone; ``spreads``: whether means stand beside their spread.
    """
    ran = {cell: numbers.seeds(cell) for cell in numbers.cells}
    seeds = sorted({seed for own in ran.values() for seed in own})
    most = max(map(len, ran.values()), default=1)
    text = f"Seed {seeds[0]}" if len(seeds) == 1 else f"Seeds {', '.join(map(str, seeds))}"
    if most > 1:
        fewer = [cell for cell, own in ran.items() if len(own) < most]
        text += f": mean ± standard deviation over {most} seeds" if spreads else ": means"
        text += f"; {len(fewer)} of {len(ran)} rows have fewer{', as marked' if spreads else ' seeds'}" if fewer else ""
        text += f"; {shown} of seed {distinct(own[0] for own in ran.values())}" if shown else ""
    return f"{text}; {devices(numbers)}" + (f".{explained(numbers)}"[:-1] if explained(numbers) else "")


def data(numbers: Numbers) -> str:
    """Title, image size and number of images of the data behind some results, for a caption."""
    parts = []
    for cell in numbers.datasets().values():
        keys = ("side", "channels", "classes", "train", "validation", "test", "auxiliary")
        facts = {key: int(numbers.value(cell, "dataset", key) or 0) for key in keys}
        color = "color" if facts["channels"] == 3 else "gray"
        text = "{}, {side} × {side} {}, {classes} classes, {train:,} training, {validation:,} validation, {test:,} "
        text += "test and {auxiliary:,} auxiliary images"
        parts.append(text.format(numbers.text(cell, "dataset", "title"), color, **facts))
    return "; ".join(parts)
