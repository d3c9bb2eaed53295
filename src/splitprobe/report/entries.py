"""Single entries that several tables have: a score, an accuracy with its change, an estimate; with their marks."""

from collections.abc import Sequence

from splitprobe.report.attacks import floors
from splitprobe.report.frame import NO_REASON
from splitprobe.report.markdown import DAGGER, NONE, Notes, number, printed, signed
from splitprobe.report.numbers import UNPROTECTED, Numbers

# estimates of mutual information, items ``mi <name>``, and what readers call them
ESTIMATES = {"calibrated": "calibrated", "infonce": "InfoNCE", "decoder": "decoder's", "paper": "paper's estimator"}
# an estimate this close to the most its estimator can reach is saturated: estimates bend well before it (see the figure
# on known answers) and differ there by their own noise
NEAR_CAP = 0.1  # nats
SATURATED, RISING, EMPTY = "‡", "↑", "∅"
MARKS = {
    SATURATED: f"Within {NEAR_CAP} nats of the most this estimator can reach: saturated, so it ranks nothing.",
    RISING: "Still rising when its steps were spent, of several seeds in at least one: more would bring more.",
    EMPTY: "Not above what the estimator says of shuffled pairs (each image beside the feature of another), or not "
    "above zero, by more than chance brings it (one-sided 5 %): it says nothing.",
}
CHANCE = 1.645  # deviations that chance exceeds one time in twenty
STANDARD = (("psnr_db", 2), ("ssim", 3), ("mse", 4))  # score and decimals
PAPER = (("mse_paper", 4), ("psnr_db_paper", 2), ("ssim_paper", 3))


def saturated(numbers: Numbers, cell: str, name: str) -> bool:
    """Whether a cell's estimate sits at the most that its estimator can reach; ``name``: one of ESTIMATES."""
    value, cap = (numbers.value(cell, f"mi {name}", key, missing="none") for key in ("mi_nats", "cap_nats"))
    return None not in (value, cap) and value > cap - NEAR_CAP


def empty(numbers: Numbers, cell: str, name: str) -> bool:
    """Whether a cell's estimate cannot be told from its null: from what its estimator says of shuffled pairs.

    A null below zero counts as zero, since a bound below zero says nothing either. False where there is no null, as in
    older results.
    """
    keys = ("mi_nats", "null_nats", "null_nats_std")
    value, null, deviation = (numbers.value(cell, f"mi {name}", key, missing="none") for key in keys)
    return None not in (value, null, deviation) and value <= max(null, 0) + CHANCE * deviation


def distinguished(numbers: Numbers, cell: str, name: str) -> float | None:
    """A cell's estimate in nats for rankings.

    Estimates at the cap differ by chance alone, so they are the cap. Those that cannot be told from their null are 0.
    """
    if empty(numbers, cell, name):
        return 0.0
    key = "cap_nats" if saturated(numbers, cell, name) else "mi_nats"
    return numbers.value(cell, f"mi {name}", key, missing="none")


class Entries:
    """Writes the entries of one table; ``notes`` collects why some are absent."""

    def __init__(self, numbers: Numbers) -> None:
        self.numbers, self.notes = numbers, Notes()

    def value(self, cell: str, item: str, key: str, decimals: int, missing: str = "") -> str:
        """A quantity of a cell; ``missing``: why it is absent where there is no line of it."""
        return self.notes.value(self.numbers.number(cell, item, key, missing=missing), decimals)

    def scores(self, cell: str, item: str, keys: Sequence[tuple[str, int]]) -> list[str]:
        """Scores (each with its decimals) of an attack, marked when it failed."""
        missing = f"no {item.split()[-1]} variant was run"
        failed = self.numbers.number(cell, item, "failed", missing=missing).highest
        return [self.value(cell, item, key, d, missing) + (DAGGER if failed else "") for key, d in keys]

    def floors(self, columns: Sequence[tuple[str, str, int]], after: int) -> list[list[str]]:
        """A line for each floor, ``after`` empty entries at its end; ``columns``: stage, score and decimals."""
        return [
            [
                *(f"*Floor: {label}*", "", "", ""),
                *(self.value(cell, f"floor {stage} {name}", key, decimals) for stage, key, decimals in columns),
                *[""] * after,
            ]
            for label, cell, name in floors(self.numbers)
        ]

    def share(self, cell: str, item: str, key: str) -> str:
        """A share of one as percent."""
        return self.notes.value(self.numbers.number(cell, item, key, missing=NO_REASON).times(100), 1)

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
        return [
            self.beside(cell, "mi paper", "mi_nats", 4, nats),
            self.beside(cell, "effective", "nonzero_per_image", 0),
        ]


def explained(lines: Sequence[Sequence[str]]) -> list[str]:
    """A paragraph for each of MARKS that a table's lines have."""
    entries = [entry for line in lines for entry in line]
    return [
        part
        for mark, text in MARKS.items()
        if any(mark in entry for entry in entries)
        for part in (f"{mark} {text}", "")
    ]
