"""The numbers that a table or figure shows: which rows params.yaml lists, and what there is of each over its seeds.

Numbers that follow from others are further lines, computed for each seed on its own: item ``network`` has
``accuracy_percent`` and, in points, ``accuracy_change_points`` against the unprotected network of the same data and
model; ``strongest`` has ``psnr_db`` of the attack that gets most out of z (its item in ``text``) on the test images
that every attack was given, ``gain_db``, how far that is above the mean auxiliary image on these, and ``all_psnr_db``,
what the same attack has on all images that it was given.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev

import numpy as np
import pandas as pd

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.report import frame as frames

UNPROTECTED = "unprotected"  # the row without a defense
CLOUD_SIDE = "generator cloud_side"  # a decoder of what the cloud's first layer makes of z: no attack on z
NO_REFERENCE = "no unprotected row of this dataset and model to compare with"
SHARED = "shared_psnr_db"  # of a decoder, on the images that MLE is given too
NO_ATTACK = "no attack ended with a finite PSNR"
NEAR_CHANCE = 0.2  # share of what the unprotected network has above chance; with less, a network has stopped working
ACCURACY = ("network", "accuracy_percent")
STOPPED = "§"  # behind the name of such a row
AT_CHANCE = (
    f"At chance ({STOPPED}): a row that keeps less than {100 * NEAR_CHANCE:.0f} % of what its unprotected row has over "
    "chance, or whose z is zero for every image; of several seeds in at least one. Nobody would send its feature, so "
    "that it counts in no comparison of what leaks."
)

# a row is part of file names, so nothing that leads out of a folder may pass
NAME = re.compile(r"[\w-]+(/[\w-]+)*")


class NoLine(KeyError, ValueError):
    """A quantity that the table of numbers lacks: its name is misspelled, or a cell's file has lost lines."""

    def __str__(self) -> str:
        why, cell = self.args
        part = cell.partition("/")[0] if "/" in cell else "<part>"
        return f"{why}; `dvc repro collect_numbers@{part}` or `git restore metrics` brings the numbers back"


@dataclass(frozen=True)
class Number:
    """A quantity over the seeds of a cell.

    ``value``: its mean, None where a seed has none, and then ``reason`` says why; ``sd``: standard deviation over ``n``
    seeds, None where they agree; ``highest``: the largest of them, so that a flag is 1 where any seed has it.
    """

    value: float | None
    sd: float | None = None
    n: int = 0
    highest: float | None = None
    reason: str = frames.NO_REASON

    @classmethod
    def over(cls, values: Sequence[float | None]) -> "Number":
        """A quantity computed for each seed on its own, as what is not linear in the results must be."""
        if not values or None in values:
            return cls(None)
        if min(values) == max(values):
            return cls(values[0], n=len(values), highest=values[0])
        return cls(fmean(values), stdev(values), len(values), max(values))

    def times(self, factor: float) -> "Number":
        """The quantity in another unit, its spread too."""
        scaled = {key: getattr(self, key) for key in ("value", "sd", "highest")}
        return replace(self, **{key: None if value is None else factor * value for key, value in scaled.items()})


class Numbers:
    """The results of some cells in the order shown; ``frame`` has the lines of each seed, derived ones included.

    Asking for a quantity that no line has raises NoLine: a name that is misspelled is no absent value.
    """

    def __init__(self, frame: pd.DataFrame, cells: Sequence[str]) -> None:
        self.frame, self.cells = frame, list(cells)
        over = frames.summary(frame)
        known = over[["mean", "sd", "n", "max", "reason"]].astype(object).where(over.notna(), None)
        # by who, cell, item and quantity
        self._numbers = {
            line.Index: Number(*line[1:-1], line.reason or frames.NO_REASON) for line in known.itertuples()
        }
        self._texts: dict[tuple[str, str, str, str], str] = over.text.to_dict()
        self._stopped: dict[str, bool] = {}  # what at_chance has found
        self._items: dict[tuple[str, str], dict[str, list[str]]] = {}  # by who and cell: item to quantities
        for who, cell, item, quantity in self._numbers:
            self._items.setdefault((who, cell), {}).setdefault(item, []).append(quantity)
        self._quantities = {key[2:] for key in self._numbers}
        seeded = frame[frame.seed != frames.NO_SEED]
        self._seeds = {cell: sorted(seeds) for cell, seeds in seeded.groupby("cell").seed.unique().items()}

    @classmethod
    def of(cls, frame: pd.DataFrame, cells: Sequence[str]) -> "Numbers":
        """The results of some cells out of a table, with what follows from them."""
        own = frame[frame.cell.str.split("@").str[0].isin(cells)]
        derived = [accuracies(own, references(own, list(cells))), strongest(own)]
        return cls(pd.concat([own, *derived], ignore_index=True), cells)

    def number(self, cell: str, item: str, quantity: str, who: str = "ours", missing: str = "") -> Number:
        """A quantity of a cell; without a line of it an absent one, whose reason is ``missing``.

        Raises NoLine for an item and quantity that no cell has, unless ``missing`` is given.
        """
        known = self._numbers.get((who, cell, item, quantity))
        if known is None and not missing and (item, quantity) not in self._quantities:
            raise NoLine(f"no cell has {item}: {quantity}", cell)
        return known or Number(None, reason=missing or frames.NO_REASON)

    def value(self, cell: str, item: str, quantity: str, who: str = "ours", missing: str = "") -> float | None:
        """The mean of :meth:`number` alone."""
        return self.number(cell, item, quantity, who, missing).value

    def text(self, cell: str, item: str, quantity: str) -> str:
        """A text of a cell, of several seeds the first one's; raises NoLine where there is none."""
        known = self._texts.get(("ours", cell, item, quantity))
        if known is None:
            raise NoLine(f"{cell} has no {item}: {quantity}", cell)
        return known

    def network(self, cell: str) -> tuple[str, str]:
        """(dataset, model): cells that agree in it are compared with the same unprotected one."""
        return self.text(cell, "cell", "dataset"), self.text(cell, "cell", "model")

    def datasets(self) -> dict[str, str]:
        """The data sets in the order shown, each with its first cell."""
        first = {self.network(cell)[0]: cell for cell in reversed(self.cells)}
        return {dataset: first[dataset] for dataset in dict.fromkeys(self.network(cell)[0] for cell in self.cells)}

    def reference(self, cell: str, row: str = UNPROTECTED) -> str | None:
        """The cell that one is compared with: the first named ``<group>/<row>`` on the same data set and model."""
        kind = self.network(cell)
        return next((c for c in self.cells if c.partition("/")[2] == row and self.network(c) == kind), None)

    def at_chance(self, cell: str) -> bool:
        """Whether a cell's network has stopped working, of several seeds in at least one.

        Each seed is compared with the unprotected network of the same seed, or where there is none with their mean;
        False where accuracies are absent. A network whose z is dead has stopped whatever its accuracy: classes need not
        be equally frequent.
        """
        if cell not in self._stopped:
            base, classes = self.reference(cell), self.value(cell, "dataset", "classes", missing="unknown")
            plain = self.by_seed(base, *ACCURACY) if base else {}
            mean, own = (
                base and self.value(base, *ACCURACY, missing="not trained"),
                self.by_seed(cell, *ACCURACY).items(),
            )
            low = any(at_chance(value, plain.get(seed, mean), classes) for seed, value in own)
            self._stopped[cell] = low or self.is_dead(cell)
        return self._stopped[cell]

    def is_dead(self, cell: str) -> bool:
        """Whether every channel of a cell's z is zero for every image, of several seeds in at least one."""
        if "z_shape" not in self.quantities(cell, "target"):
            return False
        channels = json.loads(self.text(cell, "target", "z_shape"))[0]
        counts = (self.number(cell, item, "dead_channels", missing="not noted") for item in ("effective", "training"))
        return any((count.highest or 0) >= channels for count in counts)

    def items(self, cell: str, prefix: str = "", who: str = "ours") -> list[str]:
        """A cell's items that begin with a word, in the order of its results."""
        return [item for item in self._items.get((who, cell), ()) if prefix in ("", item.split()[0])]

    def quantities(self, cell: str, item: str) -> list[str]:
        """What there is of an item of a cell, in the order of its results; nothing where it has no such item."""
        return self._items.get(("ours", cell), {}).get(item, [])

    def settings(self, cell: str) -> list[str]:
        """The points of a cell's sweep, which are cells as well, in the order of their values."""
        own = [name for who, name in self._items if who == "ours" and name.startswith(f"{cell}@")]
        return sorted(own, key=lambda name: (knob(name), float(name.rpartition("=")[2])))

    def seeds(self, cell: str) -> list[int]:
        """The seeds that a cell ran with."""
        return self._seeds.get(cell, [])

    def by_seed(self, cell: str, item: str, quantity: str) -> dict[int, float | None]:
        """A quantity of each seed that has a line of it; None where it is absent there."""
        return dict(self._single.get((cell, item, quantity), {}))

    @cached_property
    def _single(self) -> dict[tuple[str, str, str], dict[int, float | None]]:
        """Our lines by cell, item and quantity: seed to value. To look through the table for each is slow."""
        found: dict[tuple[str, str, str], dict[int, float | None]] = {}
        own = self.frame[self.frame.who == "ours"]
        for cell, item, quantity, seed, value in _columns(own, "cell", "item", "quantity", "seed", "value"):
            found.setdefault((cell, item, quantity), {})[seed] = None if value != value else value
        return found

    def shown(self, quantity: str) -> list[tuple[str, float | str]]:
        """(item, value or text) of each line of a quantity, cell by cell in the order shown."""
        return self._shown.get(quantity, [])

    @cached_property
    def _shown(self) -> dict[str, list[tuple[str, float | str]]]:
        own = self.frame[(self.frame.who == "ours") & self.frame.cell.isin(self.cells)]
        own = own.sort_values("cell", key=lambda names: names.map(self.cells.index), kind="stable")
        found: dict[str, list[tuple[str, float | str]]] = {}
        for item, quantity, value, text in _columns(own, "item", "quantity", "value", "text"):
            found.setdefault(quantity, []).append((item, value if value == value else text))
        return found

    def of_seed(self, seed: int) -> "Numbers":
        """The results of one seed alone, of those cells that ran with it; what has no seed and derived lines stay."""
        own = self.frame[self.frame.seed.isin([seed, frames.NO_SEED])]
        ran = set(own.cell[own.seed == seed])
        return Numbers(own, [cell for cell in self.cells if cell in ran])

    def first(self) -> "Numbers":
        """The results of each cell's first seed alone, whose curves and pictures are shown; what has no seed stays."""
        seeded = self.frame.seed.where(self.frame.seed != frames.NO_SEED)
        first = seeded.groupby([self.frame.who, self.frame.cell]).transform("min")
        return Numbers(self.frame[seeded.isna() | (seeded == first)], self.cells)


def _columns(table: pd.DataFrame, *names: str) -> Iterator[tuple]:
    """Some columns of a table, line by line."""
    return zip(*(table[name].tolist() for name in names), strict=True)


def knob(setting: str) -> str:
    """The dotted key that a point of a sweep changes: ``loss.lambda_dcor`` of ``cnn/siftfunnel@loss.lambda_dcor=2``."""
    return setting.partition("@")[2].rpartition("=")[0]


def at_chance(percent: float | None, plain: float | None, classes: float | None) -> bool:
    """Whether an accuracy is that of a network that has stopped working; ``plain``: the unprotected one's, in percent.

    An unprotected one has where it is no better than chance. False where one of them is unknown.
    """
    if None in (percent, plain, classes):
        return False
    chance = 100 / classes
    return percent <= chance or percent - chance < NEAR_CHANCE * (plain - chance)


def references(frame: pd.DataFrame, cells: list[str], row: str = UNPROTECTED) -> dict[str, str | None]:
    """What each cell is compared with: the first of ``cells`` that is named ``<group>/<row>``, of its network."""
    facts = frame[(frame.item == "cell") & frame.quantity.isin(["dataset", "model"])]
    wide = facts.drop_duplicates(["cell", "quantity"]).pivot(index="cell", columns="quantity", values="text")
    kind = {cell: (dataset, model) for cell, dataset, model in wide[["dataset", "model"]].itertuples()}
    first = {kind[cell]: cell for cell in reversed(cells) if cell in kind and cell.partition("/")[2] == row}
    return {cell: first.get(network) for cell, network in kind.items()}


def accuracies(frame: pd.DataFrame, reference: dict[str, str | None]) -> pd.DataFrame:
    """Accuracy in percent and its change against the reference: the same seed's, or where it has none the mean."""
    ours = frame[(frame.who == "ours") & (frame.item == "target") & (frame.quantity == "accuracy")]
    percent = ours.assign(item="network", quantity="accuracy_percent", value=100 * ours.value)
    base, compared = percent.set_index(["cell", "seed"]).value, percent.cell.map(reference)
    same = base.reindex(list(zip(compared, percent.seed, strict=True))).to_numpy()
    # a mean exists where each seed has a value
    mean = base.groupby("cell").agg(lambda values: values.mean(skipna=False)).reindex(compared).to_numpy()
    change = percent.assign(quantity="accuracy_change_points")
    change["value"] = percent.value - np.where(np.isnan(same), mean, same)
    reason = np.where(percent.value.isna(), percent.reason, NO_REFERENCE)
    change["reason"] = np.where(change.value.notna(), "", reason)
    return pd.concat([percent, change], ignore_index=True)


def strongest(frame: pd.DataFrame) -> pd.DataFrame:
    """PSNR and gain of the strongest attack, seed by seed; of equally strong ones the first.

    Decoders are given more images than MLE. They are compared with it on those images that both had, where a score on
    these was noted.
    """
    attacks = frame.item.str.match(r"(generator|mle) \w+$") & (frame.item != CLOUD_SIDE)
    ours = frame[(frame.who == "ours") & attacks]
    key = ["cell", "seed", "item"]
    whole, shared = (ours[ours.quantity == name] for name in ("psnr_db", SHARED))
    psnr = pd.concat([shared, whole]).drop_duplicates(key)
    # in the order of the results, so that of equal ones the first is taken
    psnr = psnr.set_index(key).reindex(pd.MultiIndex.from_frame(whole[key])).reset_index()
    best = psnr.loc[psnr.value.fillna(-np.inf).groupby([psnr.cell, psnr.seed], sort=False).idxmax()]
    floor = frame[(frame.who == "ours") & (frame.quantity == "psnr_db")]
    floor = floor[floor.item.isin(["floor generator mean_image", "floor mle mean_image"])]
    floor = floor.set_index(["cell", "seed", floor.item.str.split().str[1]]).value
    family = best.item.str.split().str[0].mask(best.quantity == SHARED, "mle")
    under = floor.reindex(list(zip(best.cell, best.seed, family, strict=True))).to_numpy()
    own = whole.set_index(key).value.reindex(pd.MultiIndex.from_frame(best[key])).to_numpy()
    none = best.value.isna()
    best = best.assign(text=best.item.mask(none, ""), reason=np.where(none, NO_ATTACK, ""), item="strongest")
    found = {"psnr_db": best.value, "gain_db": best.value - under, "all_psnr_db": own}
    return pd.concat([best.assign(quantity=name, value=value) for name, value in found.items()], ignore_index=True)


class LeftOut(Exception):
    """Nothing to show: a table's or figure's rows are all left out at this scale."""


def rows(params: Params, name: str) -> list[str]:
    """The rows of a table or figure, in the order in which it shows them: ``rows.<name>`` of params.yaml.

    That is a list, or a text of names with spaces between them. Raises ParamsError when it has no names, or one that
    is no row's name or stands there twice.
    """
    key = f"rows.{name}"
    # this list alone, so that another table's rows do not rebuild this one
    params.read.add(key)
    listed = params.raw(key)
    names = listed.split() if isinstance(listed, str) else listed
    if not isinstance(names, list) or not names:
        raise ParamsError(f"{key} = {listed!r}: a list of at least one row is needed")
    for row in names:
        if not isinstance(row, str) or not NAME.fullmatch(row):
            raise ParamsError(f"{key}: {row!r} is no row; a name such as cnn/unprotected is needed")
        if names.count(row) > 1:
            raise ParamsError(f"{key}: {row!r} is listed twice")
    return names


def groups(cells: Sequence[str]) -> list[str]:
    """The groups of some cells, in order; a name without a group, such as a data set's, has none."""
    return list(dict.fromkeys(cell.partition("/")[0] for cell in cells if "/" in cell))


def left_out(params: Params, paths: Paths, name: str) -> list[str]:
    """The rows of ``rows.<name>`` that the scale does without, which is what their lines say."""
    listed = rows(params, name)
    without = set().union(*(_without(frames.read(paths.numbers(group))) for group in groups(listed)))
    return [row for row in listed if row in without]


def _without(table: pd.DataFrame) -> set[str]:
    """The cells of a table whose only line says that they are left out."""
    return set(table.cell[(table.who == "ours") & (table.quantity == "left_out")])


def open_numbers(params: Params, paths: Paths, name: str, extra: Sequence[str] = ()) -> Numbers:
    """The numbers of the cells of ``rows.<name>``, those left out at this scale not among them.

    ``extra``: parts to read beside the cells' groups, such as ``costs``. Raises LeftOut when no cell remains,
    ParamsError for a cell that its group's file does not have, FileNotFoundError for a file that is absent.
    """
    listed = rows(params, name)
    table = frames.load(paths, [*groups(listed), *extra])
    ran = set(table.cell[(table.who == "ours") & (table.item == "target")])
    without = _without(table)
    kept = [cell for cell in listed if cell not in without]
    if not kept:
        raise LeftOut(f"{name} is left out at scale {paths.scale}: it does without its rows")
    for cell in kept:
        if cell not in ran:
            group = cell.partition("/")[0]
            raise ParamsError(
                f"rows.{name}: {cell!r} has no line in {paths.numbers(group)}; stage collect_numbers@{group} writes "
                f"it (dvc repro collect_numbers@{group}), provided that dvc.yaml lists {cell}"
            )
    return Numbers.of(table, kept)
