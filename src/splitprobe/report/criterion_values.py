"""What the paper's criterion (its equation (8)) is tested on: its factors and an attack's gain, cell by cell.

The criterion says that an attack gets easier with I(x; z), with the entropy H(z) and, for decoders above all, with the
size of z. A gain is an attack's PSNR less that of the mean auxiliary image on the same images, in dB, since data sets
differ in what that floor scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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


def architectures(numbers: Numbers) -> list[str]:
    """What each cell shares with those of the same data, network, cut and edge, by its name for readers.

    The edge counts: defenses that shrink z would else bring the size of z back in, which is one of the factors."""
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


def collected(numbers: Numbers) -> pd.DataFrame:
    """What the tests and the bound are computed from, a line for each cell; NaN where it, or an older result, has none.

    ``architecture``; FACTORS but for the fits, of which the estimates of I have ``capped_<factor>``, whether they are
    at the most that their estimator can reach; of each outcome ``<outcome>_gain_db``, the mean over seeds, each with
    its own, ``<outcome>_access`` and ``<outcome>_failed`` (no better than gray or the mean image), None without attack.
    """
    lines = []
    for cell, architecture in zip(numbers.cells, architectures(numbers), strict=True):
        line = {"architecture": architecture}
        for key, factor in FACTORS.items():
            if factor.item.startswith("mi "):
                line[key] = distinguished(numbers, cell, factor.item.split()[1])
                line[f"capped_{key}"] = saturated(numbers, cell, factor.item.split()[1])
            elif factor.item:
                line[key] = numbers.value(cell, factor.item, factor.quantity, missing="not measured")
        if line["dead_share"] is not None:
            line["dead_share"] /= numbers.value(cell, "effective", "channels")
        for outcome, (_, item) in OUTCOMES.items():
            places = ((item, "gain_db"),)
            if item != "strongest":
                places = ((item, "psnr_db"), (f"floor {item.split()[0]} mean_image", "psnr_db"))
            parts = [numbers.value(cell, *place, missing="not run") for place in places]
            line[f"{outcome}_gain_db"] = None if None in parts else parts[0] - sum(parts[1:])
            own = best(numbers, cell) if item == "strongest" else item if item in numbers.items(cell) else None
            line[f"{outcome}_access"] = own and numbers.text(cell, own, "access")
            line[f"{outcome}_failed"] = own and bool(numbers.number(cell, own, "failed").highest)
        lines.append(line)
    table = pd.DataFrame(lines, numbers.cells, dtype=object)
    measured = [*(key for key, factor in FACTORS.items() if factor.item), *(f"{o}_gain_db" for o in OUTCOMES)]
    table = table.astype(dict.fromkeys(measured, float))
    # our reading of the criterion: without size for MLE, with it for decoders
    for name in COMBINED:
        table[f"product_{name}"] = product(table[f"mi_{name}"], table.entropy)
        table[f"product_size_{name}"] = product(table[f"mi_{name}"], table.entropy, table.nonzero)
    return table


def examine(
    numbers: Numbers, table: pd.DataFrame, settings: Settings, outcomes: Sequence[str] = tuple(OUTCOMES)
) -> dict[Key, Correlation]:
    """All tests: every factor and combination against the outcomes, over all cells and at fixed architecture.

    For architectures with at least ``settings.least`` cells, also among their cells alone. A fit predicts an outcome
    for each data set and network from I, H(z) and size on the cells of all others. ``table``: as by ``collected``.
    """
    groups, networks = table.architecture, [numbers.network(cell) for cell in numbers.cells]
    scopes = {ALL: (groups.notna(), None), FIXED: (groups.notna(), groups.to_numpy())}
    own = {group: groups == group for group in groups.unique()}
    scopes |= {group: (cells, None) for group, cells in own.items() if cells.sum() >= settings.least}
    tests = {}
    for outcome in outcomes:
        y, columns = table[f"{outcome}_gain_db"], table.to_dict("series")
        for name in COMBINED:
            parts = table[[f"mi_{name}", "entropy", "nonzero"]].T.values
            columns[f"fit_{name}"] = pd.Series(left_out(parts, y, networks), table.index)
        for key, factor in FACTORS.items():
            for scope, (cells, within) in scopes.items():
                pair = columns[key][cells], y[cells]
                tests[key, outcome, scope] = correlate(*pair, settings, within, factor.expected)
    return tests
