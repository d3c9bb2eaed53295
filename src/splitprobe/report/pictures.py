"""The few arrays that figures show, kept beside the numbers: ``plots/<scale>/images/<group>.npz``.

They are written once from what the stages left of each cell's first seed and are part of the repository, so that every
figure can be drawn from a clone. Names are ``<row>/<array>``: ``x``, the first test images, uint8 (n, H, W, C), where
they differ from those of the row before; what an attack made of them, under its item in the table of numbers, such as
``generator black_box``; ``histograms``, the counts (channels, levels) of the quantized z.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from splitprobe.core.artifacts import Record, atomic, checked, damaged, read_npz
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.report import attacks, frame
from splitprobe.report.numbers import Numbers, groups, rows

IMAGES = {"figure1": 1, "figure2": 1, "figure3": 1, "figure4": 5, "figure5": 5}  # how many of a cell a figure shows
HISTOGRAMS = "histograms"  # the figure of these counts, and their name
OMITTED = "mle paper"  # this variant of MLE ends in noise for every row: a caption says its PSNR instead


def wanted(params: Params) -> dict[str, int]:
    """How many images figures show of each cell that the rows of IMAGES and HISTOGRAMS in params.yaml list."""
    most: dict[str, int] = {}
    for name in (*IMAGES, HISTOGRAMS):
        most |= {cell: max(IMAGES.get(name, 0), most.get(cell, 0)) for cell in rows(params, name)}
    return most


def shown(numbers: Numbers, cell: str) -> list[str]:
    """The attacks on a cell whose images are shown, as items.

    They are the paper's decoders and the one with most behind it, since more would be the same images again, then the
    variants of MLE without OMITTED.
    """
    last = attacks.decoders(numbers, cell)[-1:]
    variants = [item for item in attacks.variants(numbers, cell) if item != OMITTED]
    return list(dict.fromkeys([*attacks.mirroring(numbers, cell), *last, *variants]))


def pictures_file(paths: Paths, part: str) -> Path:
    """Where the arrays of a part of the study lie."""
    return paths.root / "plots" / paths.scale / "images" / f"{part}.npz"


def collect_pictures(params: Params, paths: Paths, part: str) -> None:
    """Write the file of a part from its results in data/<scale>; one without arrays where nothing of it is shown.

    The part's table of numbers must be there: it says which attacks there are.
    """
    table, images, counted = frame.read(paths.numbers(part)), wanted(params), rows(params, HISTOGRAMS)
    ran = set(table.cell[table.item == "target"])  # others are left out at this scale
    cells = [cell for cell in images if cell.partition("/")[0] == part and cell in ran]
    numbers, arrays, last = Numbers(table, cells), {}, None
    for cell in cells:
        own, row, kept = paths.probed(cell)[0], cell.partition("/")[2], slice(images[cell])
        if images[cell]:
            made = {stage: read_npz(own.result(cell, f"{stage}.npz")) for stage in attacks.STAGES}
            originals = checked(made["generator"], "x", np.uint8, None, None, None, None)[kept]
            if last is None or not np.array_equal(last, originals):
                last = arrays[f"{row}/x"] = originals
            for item in shown(numbers, cell):
                stage, name = item.split()
                arrays[f"{row}/{item}"] = checked(made[stage], name, np.uint8, None, *originals.shape[1:])[kept]
        if cell in counted:
            counts = checked(read_npz(own.result(cell, "information.npz")), "counts", np.integer, None, None)
            arrays[f"{row}/{HISTOGRAMS}"] = counts
    with atomic(pictures_file(paths, part), "wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_pictures(paths: Paths, cells: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of some cells by their names, each cell with its ``x``.

    Raises FileNotFoundError for a group's file that is absent, DamagedFile for one that holds something else,
    ParamsError for a cell that it does not have.
    """
    found: dict[str, Record] = {}
    for group in groups(cells):
        file, last = pictures_file(paths, group), None
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: stage collect_numbers@{group} writes it")
        arrays = read_npz(file)
        for key in arrays:
            row, _, name = key.partition("/")
            if name == HISTOGRAMS:
                array = checked(arrays, key, np.integer, None, None)
            elif name == "x":
                array = last = checked(arrays, key, np.uint8, None, None, None, None)
                if array.shape[1] != array.shape[2] or array.shape[3] not in (1, 3) or not array.size:
                    raise damaged(file, f"{key!r} measures {array.shape}: no square images of 1 or 3 channels")
            else:
                if last is None:
                    raise damaged(file, f"it has no x before {key!r}")
                array = checked(arrays, key, np.uint8, None, *last.shape[1:])
            found.setdefault(f"{group}/{row}", Record(file, {} if last is None else {"x": last}))[name] = array
        for cell in cells:
            if cell.partition("/")[0] == group and cell not in found:
                raise ParamsError(f"{file} has no picture of {cell}; stage collect_numbers@{group} writes it")
    return {cell: found[cell] for cell in cells}
