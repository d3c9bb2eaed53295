"""What the paper's criterion (its equation (8)) is tested on: its factors and an attack's gain, cell by cell.

The criterion says that an attack gets easier with I(x; z), with the entropy H(z) and, for decoders above all, with the
size of z. A gain is an attack's PSNR less that of the mean auxiliary image on the same images, in dB, since data sets
differ in what that floor scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from splitprobe.report.attacks import best, distinguished, edge, network, saturated
from splitprobe.report.numbers import UNPROTECTED, Numbers
from splitprobe.report.statistics import Correlation, Settings, correlate, left_out, product

ALL, FIXED = "all", "fixed"  # over all cells; at fixed architecture
COMBINED = ("calibrated", "infonce")  # the estimates of I that combinations are made with
# an outcome's title and its attack as an item; the strongest one differs from cell to cell
OUTCOMES = {
    "strongest": ("strongest attack", "strongest"),
    "generator": ("black-box generator", "generator black_box"),
    "mle": ("tuned MLE", "mle tuned"),
    "strong": ("strong decoder", "generator strong"),
    "hybrid": ("hybrid", "mle hybrid"),
}


@dataclass(frozen=True)
class Factor:
    """A quantity of a cell, or several combined, which have no item.

    ``part``: what it stands for in the criterion, empty for none; ``expected``: the sign of its correlation; ``log``:
    whether an axis of it is logarithmic.
    """

    title: str
    unit: str = ""
    part: str = ""
    item: str = ""
    quantity: str = ""
    expected: int = 1
    log: bool = False

    @property
    def label(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


# part: I, H and size are the criterion's factors; the others are shown beside them. So is the paper's estimate of I: it
# is capped below 1 nat, sees a corner of the image and gets few steps
FACTORS = {
    "mi_paper": Factor("MI (paper's MINE)", "nats", "", "mi paper"),
    "mi_calibrated": Factor("MI (calibrated)", "nats", "I", "mi calibrated"),
    "mi_infonce": Factor("MI (InfoNCE)", "nats", "I", "mi infonce"),
    "entropy": Factor("H(z)", "coded bits", "H", "entropy", "coded_bits_per_image", log=True),
    "nonzero": Factor("Non-zero entries of z", "", "size", "effective", "nonzero_per_image", log=True),
    "entries": Factor("Entries of z", "", "", "effective", "capacity", log=True),
    "dependence": Factor("Squared distance correlation", "", "", "dependence", "dcor_squared"),
    "dead_share": Factor("Dead channels", "share", "", "effective", "dead_channels", expected=-1),
    "mi_decoder": Factor("MI (decoder bound)", "nats", "", "mi decoder"),
    "product_calibrated": Factor("I (calibrated) × H(z)", part="I, H", log=True),
    "product_size_calibrated": Factor("I (calibrated) × H(z) × size", part="I, H, size", log=True),
    "product_infonce": Factor("I (InfoNCE) × H(z)", part="I, H", log=True),
    "product_size_infonce": Factor("I (InfoNCE) × H(z) × size", part="I, H, size", log=True),
    "fit_calibrated": Factor("Fit on other networks (calibrated)", part="I, H, size"),
    "fit_infonce": Factor("Fit on other networks (InfoNCE)", part="I, H, size"),
}
Key = tuple[str, str, str]  # of a test: factor, outcome, and scope: ALL, FIXED or the title of an architecture


def values(numbers: Numbers) -> pd.DataFrame:
    """FACTORS but for the fits by cell, NaN where a cell, or an older result, has none.

    Products are our reading of the criterion: without size for MLE, with it for decoders.
    """

    def value(factor: Factor, cell: str) -> float | None:
        if factor.item.startswith("mi "):
            return distinguished(numbers, cell, factor.item.split()[1])
        number = numbers.value(cell, factor.item, factor.quantity, missing="not measured")
        share = number is not None and factor.quantity == "dead_channels"
        return number / numbers.value(cell, factor.item, "channels") if share else number

    columns = {key: [value(f, cell) for cell in numbers.cells] for key, f in FACTORS.items() if f.item}
    table = pd.DataFrame(columns, numbers.cells, dtype=float)
    for name in COMBINED:
        table[f"product_{name}"] = product(table[f"mi_{name}"], table.entropy)
        table[f"product_size_{name}"] = product(table[f"mi_{name}"], table.entropy, table.nonzero)
    return table


def at_cap(numbers: Numbers) -> pd.DataFrame:
    """Which cells' estimates are at the most that their estimator can reach: a column for each factor that is one."""
    names = {key: factor.item.split()[1] for key, factor in FACTORS.items() if factor.item.startswith("mi ")}
    found = {key: [saturated(numbers, cell, name) for cell in numbers.cells] for key, name in names.items()}
    return pd.DataFrame(found, numbers.cells)


def architectures(numbers: Numbers) -> list[str]:
    """What each cell shares with those of the same data, network, cut and edge, by its name for readers.

    The edge counts: defenses that shrink z would else bring the size of z back in, which is one of the factors.
    """
    places = [(*numbers.network(c), numbers.value(c, "cell", "cut"), edge(numbers, c)) for c in numbers.cells]
    titles: dict[tuple, str] = {}
    for place in dict.fromkeys(places):
        cells = [cell for cell, other in zip(numbers.cells, places, strict=True) if other == place]
        others = {other for other in places if other[:3] == place[:3]} - {place}
        title = f"{place[0]}, {network(numbers, cells[0])}, cut {place[2]:.0f}"
        if others and not any(cell.partition("/")[2] == UNPROTECTED for cell in cells):
            title += f", edge of {numbers.text(cells[0], 'target', 'title')}"
        titles[place] = title if title not in titles.values() else f"{title} ({cells[0]})"
    return [titles[place] for place in places]


def attack(numbers: Numbers, cell: str, outcome: str) -> str | None:
    """A cell's attack that an outcome is about, as an item; None where it has none."""
    item = OUTCOMES[outcome][1]
    return best(numbers, cell) if item == "strongest" else item if item in numbers.items(cell) else None


def gains(numbers: Numbers, outcome: str) -> np.ndarray:
    """An outcome's gain in dB over all cells (n,), NaN where there is none; the mean over seeds, each with its own."""
    item = OUTCOMES[outcome][1]
    if item == "strongest":
        return np.array([numbers.value(cell, item, "gain_db") for cell in numbers.cells], float)
    items = (item, f"floor {item.split()[0]} mean_image")
    psnr = [[numbers.value(cell, i, "psnr_db", missing="not run") for cell in numbers.cells] for i in items]
    return np.subtract(*np.array(psnr, float))


def failures(numbers: Numbers, outcome: str) -> tuple[int, int]:
    """How many of an outcome's attacks failed (no better than gray or the mean image), and how many there are."""
    items = {cell: attack(numbers, cell, outcome) for cell in numbers.cells}
    failed = [bool(numbers.number(cell, item, "failed").highest) for cell, item in items.items() if item]
    return sum(failed), len(failed)


def examine(numbers: Numbers, settings: Settings, outcomes: Sequence[str] = tuple(OUTCOMES)) -> dict[Key, Correlation]:
    """All tests: every factor and combination against the outcomes, over all cells and at fixed architecture.

    For architectures with at least ``settings.least`` cells, also among their cells alone. A fit predicts an outcome
    for each data set and network from I, H(z) and size on the cells of all others.
    """
    table, groups = values(numbers), np.array(architectures(numbers))
    networks = [numbers.network(cell) for cell in numbers.cells]
    every, own = np.ones(len(groups), bool), {group: groups == group for group in dict.fromkeys(groups.tolist())}
    scopes = {ALL: (every, None), FIXED: (every, groups)}
    scopes |= {group: (cells, None) for group, cells in own.items() if cells.sum() >= settings.least}
    tests = {}
    for outcome in outcomes:
        y = gains(numbers, outcome)
        for name in COMBINED:
            table[f"fit_{name}"] = left_out(table[[f"mi_{name}", "entropy", "nonzero"]].T.values, y, networks)
        for key, factor in FACTORS.items():
            x = table[key].to_numpy()
            for scope, (cells, within) in scopes.items():
                tests[key, outcome, scope] = correlate(x[cells], y[cells], settings, within, factor.expected)
    return tests


def conclusion(overall: str, fixed: str) -> str:
    """The verdicts over all cells and at fixed architecture in one phrase."""
    return overall if overall == fixed else f"{overall} over all cells, {fixed} at fixed architecture"
