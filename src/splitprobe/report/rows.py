"""The rows of a table or figure, as params.yaml lists them, and the numbers of those that ran at this scale."""

import re
from collections.abc import Sequence

import pandas as pd

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.report import frame as frames
from splitprobe.report.numbers import Numbers

# a row is part of file names, so nothing that leads out of a folder may pass
NAME = re.compile(r"[\w-]+(/[\w-]+)*")


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
    kept = [cell for cell in listed if cell not in _without(table)]
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
