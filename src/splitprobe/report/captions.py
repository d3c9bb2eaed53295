"""What captions say of some cells: their names, their data, and the seeds and devices behind their numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from splitprobe.report.numbers import STOPPED, Numbers


def labels(numbers: Numbers, cells: Sequence[str] | None = None) -> dict[str, str]:
    """Cell to title; titles that several cells share are told apart by the cell's name. Marked where at chance."""
    titles = {cell: numbers.text(cell, "target", "title") for cell in cells or numbers.cells}
    listed = list(titles.values())
    named = {cell: title if listed.count(title) == 1 else f"{title} ({cell})" for cell, title in titles.items()}
    return {cell: name + stopped(numbers, cell) for cell, name in named.items()}


def stopped(numbers: Numbers, cell: str) -> str:
    """The mark behind the name of a cell whose network has stopped working; empty for others."""
    return STOPPED if numbers.at_chance(cell) else ""


def explained(numbers: Numbers) -> str:
    """What this mark says, and of which cells; empty where none has it."""
    cells = [cell for cell in numbers.cells if numbers.at_chance(cell)]
    if not cells:
        return ""
    why = "the network is at chance or its z is dead, so that what leaks there says nothing of privacy"
    return f" {STOPPED} {', '.join(cells)}: {why}."


def marked(numbers: Numbers, names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Names of cells, usually their labels, with the number of seeds in brackets where others have more."""
    counts = {cell: len(numbers.seeds(cell)) for cell in numbers.cells}
    most = max(counts.values(), default=1)
    shown = labels(numbers) if names is None else names
    return {cell: name if counts[cell] == most else f"{name} [{counts[cell]}]" for cell, name in shown.items()}


def distinct(values: Iterable[Any]) -> str:
    """Values for a caption: one if all agree, a range of numbers, or a list in order of appearance."""
    seen = list(dict.fromkeys(values))
    if len(seen) > 1 and all(isinstance(value, int | float) for value in seen):
        return f"{plain(min(seen))} to {plain(max(seen))}"
    return " / ".join(map(plain, seen))


def plain(value: Any) -> str:
    """A value as short as it can be: whole numbers with their thousands separated."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return {int: "{:,}", float: "{:g}"}.get(type(value), "{}").format(value)


def devices(numbers: Numbers) -> str:
    """The devices on which the results were made."""
    frame = numbers.frame
    own = frame[(frame.quantity == "device") & frame.item.str.startswith("provenance")]
    return distinct(own.text)


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
