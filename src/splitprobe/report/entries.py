"""The entries that Tables II to VI share, with their marks, and their blocks with a line for each decoder."""

from collections.abc import Callable, Iterable, Sequence

from splitprobe.report.attacks import NEAR_CAP, empty, floors, saturated
from splitprobe.report.frame import NO_REASON
from splitprobe.report.markdown import DAGGER, NONE, Notes, number, printed, signed
from splitprobe.report.numbers import CLOUD_SIDE, UNPROTECTED, Numbers

SATURATED, RISING, EMPTY = "‡", "↑", "∅"
MARKS = {
    SATURATED: f"Within {NEAR_CAP} nats of the most this estimator can reach: saturated, so it ranks nothing.",
    RISING: "Still rising when its steps were spent, of several seeds in at least one: more would bring more.",
    EMPTY: "Not above what the estimator says of shuffled pairs (each image beside the feature of another), or not "
    "above zero, by more than chance brings it (one-sided 5 %): it says nothing.",
}
STANDARD = (("psnr_db", 2), ("ssim", 3), ("mse", 4))  # score and decimals
PAPER = (("mse_paper", 4), ("psnr_db_paper", 2), ("ssim_paper", 3))
ACCURATE = ["Accuracy, %", "Change, points"]


class Entries:
    """Writes the entries of one block; ``notes`` collects why some are absent."""

    def __init__(self, numbers: Numbers) -> None:
        self.numbers, self.notes = numbers, Notes()

    def block(self, header: Sequence[str], lines: Sequence[Sequence[str]], *more: str, left: int = 1) -> list[str]:
        """A table, ``more`` paragraphs, what its marks mean and why values are absent."""
        entries = [entry for line in lines for entry in line]
        marks = [f"{mark} {text}" for mark, text in MARKS.items() if any(mark in entry for entry in entries)]
        return self.notes.table(header, lines, *more, *marks, left=left)

    def by_decoder(
        self, listed: Iterable[tuple[str, str, str]], header: Sequence[str], head: Callable, scores: Callable,
        tail: Callable, floored: Sequence[tuple[str, str, int]], *more: str,
    ) -> list[str]:  # fmt: skip
        """A block with a line for each (name, cell, decoder as an item), then one for each floor.

        Behind the access stand the entries ``head(cell)``, ``scores(cell, item)`` and ``tail(cell, item)``; those of
        the cell only in its first line. ``floored``: stage, score and decimals of each entry of a floor.
        """
        lines, last = [], None
        for name, cell, item in listed:
            first, front, back = cell != last, head(cell), tail(cell, item)
            front = front if first else [""] * len(front)
            back = back if first or item == CLOUD_SIDE else [""] * len(back)
            access = self.numbers.text(cell, item, "access")
            lines.append([name if first or item == CLOUD_SIDE else "", access, *front, *scores(cell, item), *back])
            last = cell
        for label, cell, name in floors(self.numbers) if floored else ():
            own = [self.value(cell, f"floor {stage} {name}", *score) for stage, *score in floored]
            lines.append([f"*Floor: {label}*", "", "", "", *own, *[""] * (len(header) - 4 - len(own))])
        return self.block(header, lines, *more, left=2)

    def value(self, cell: str, item: str, key: str, decimals: int, missing: str = "") -> str:
        """A quantity of a cell; ``missing``: why it is absent where there is no line of it."""
        return self.notes.value(self.numbers.number(cell, item, key, missing=missing), decimals)

    def scores(self, cell: str, item: str, keys: Sequence[tuple[str, int]]) -> list[str]:
        """Scores (each with its decimals) of an attack, marked when it failed."""
        missing = f"no {item.split()[-1]} variant was run"
        failed = self.numbers.number(cell, item, "failed", missing=missing).highest
        return [self.value(cell, item, key, d, missing) + (DAGGER if failed else "") for key, d in keys]

    def accurate(self, cell: str) -> list[str]:
        """Accuracy, and its change with a sign, since a defense may gain some; the unprotected row has no change."""
        change = self.numbers.number(cell, "network", "accuracy_change_points")
        text = self.notes.absent(change.reason) if change.value is None else signed(change, 1)
        percent = self.value(cell, "network", "accuracy_percent", 1)
        return [percent, NONE if cell.partition("/")[2] == UNPROTECTED else text]

    def estimated(self, cell: str, name: str) -> str:
        """Mutual information ± its spread over seeds or else over the last epochs, with those of MARKS that it has."""
        value = self.numbers.number(cell, f"mi {name}", "mi_nats", missing=NO_REASON)
        spread = self.numbers.value(cell, f"mi {name}", "mi_nats_std", missing=NO_REASON)
        text = self.notes.value(value, 3)
        if None not in (value.value, spread) and value.sd is None:
            text += f" ± {number(spread, 3)}"
        rising = self.numbers.number(cell, f"mi {name}", "still_rising", missing="not noted").highest
        marks = {SATURATED: saturated(self.numbers, cell, name), RISING: rising, EMPTY: empty(self.numbers, cell, name)}
        return text + "".join(mark for mark, own in marks.items() if own)

    def beside(self, cell: str, item: str, key: str, decimals: int, ours: str = "", printed_as: str = "") -> str:
        """A quantity of a cell, written as ``ours`` or else plainly, with the paper's number in parentheses.

        ``printed_as``: the item that the paper's number is of, where that is another.
        """
        theirs = self.numbers.value(cell, printed_as or item, key, "paper", missing=NONE)
        return f"{ours or self.value(cell, item, key, decimals)} ({printed(theirs, decimals)})"

    def scores_beside(self, cell: str, item: str, printed_as: str = "") -> list[str]:
        """An attack's three scores in the paper's conventions, each beside the paper's; as in :meth:`beside`."""
        ours = self.scores(cell, item, PAPER)
        return [self.beside(cell, item, *score, text, printed_as) for score, text in zip(PAPER, ours, strict=True)]

    def accurate_beside(self, cell: str) -> list[str]:
        """Accuracy and its change, each beside the paper's."""
        percent, change = self.accurate(cell)
        theirs = self.numbers.value(cell, "network", "accuracy_change_points", "paper", missing=NONE)
        percent = self.beside(cell, "network", "accuracy_percent", 2, percent)
        return [percent, change if theirs is None else f"{change} ({theirs:+.2f})"]

    def information_beside(self, cell: str) -> list[str]:
        """Mutual information by the paper's estimator and non-zero entries of z, each beside the paper's."""
        # the calibrated estimator measures on another scale
        nats = self.value(cell, "mi paper", "mi_nats", 4) + EMPTY * empty(self.numbers, cell, "paper")
        nonzero = self.beside(cell, "effective", "nonzero_per_image", 0)
        return [self.beside(cell, "mi paper", "mi_nats", 4, nats), nonzero]
