"""Any folder or .zip of class folders, wherever they lie in it.

:mod:`~splitprobe.datasets.layout` says which names are classes and official halves, and
:mod:`~splitprobe.datasets.manifest` how a ``MANIFEST.csv`` keeps each patient within one role. Any other file in a
class folder is listed as rejected.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from splitprobe.datasets import images
from splitprobe.datasets.archive import Tree, open_tree
from splitprobe.datasets.base import DataError, Dataset, Rejected
from splitprobe.datasets.guide import census, few, missing
from splitprobe.datasets.layout import SUFFIXES, Listed, find, refuse_unknown_halves
from splitprobe.datasets.manifest import read_groups
from splitprobe.datasets.sections import Settings, Source
from splitprobe.datasets.split import UNUSED, draw

LAYOUT = "a folder or a .zip of class folders: <class>/*.png, or train/<class>/* and test/<class>/*"


def load(
    source: Source, settings: Settings, rng: np.random.Generator, root: Path, classes: Sequence[str] = ()
) -> Dataset:
    """Read every file of ``source.classes`` once and draw the roles.

    With train and test folders, test is drawn from test, and the other roles from train (and val). Without them, all
    four come from everything. ``classes``, if given, must be the classes in both halves. Raises DataError when the set
    is missing, has fewer than two classes, too few images, unknown halves or a manifest that cannot be used.
    """
    source.refuse("auxiliary_exclude")
    path = source.raw_path(root)
    if not os.path.exists(path):
        raise missing(path, LAYOUT)
    with open_tree(path) as tree:
        listed, rejected = _listed(tree, source, path)
        groups = _groups(tree, listed, path)
        pixels, readable, unreadable = images.read_all([i.file for i in listed], tree.read, source, settings)
    rejected = tree.rejected + rejected + unreadable
    test = np.array([item.half == "test" for item in listed], bool)
    # one half alone is no official split
    official = test.any() and not test.all()
    if official:
        readable, dropped = _drop_patients_of_test(listed, groups, test, readable)
        rejected += dropped
    index = np.flatnonzero(readable)
    names = sorted({listed[i].label for i in index})
    _check_classes(f"{path}{_rejection_note(rejected)}", names, classes, official)
    code = {name: k for k, name in enumerate(names)}
    labels = np.array([code[listed[i].label] for i in index], np.int64)
    try:
        split = draw(labels, groups[index], test[index] if official else None, source, rng)
    except DataError as error:
        raise DataError(f"{path}{_rejection_note(rejected)}: {error}") from None
    used = np.flatnonzero(split != UNUSED)
    drawn_pixels = images.compact(pixels, index[used])
    return Dataset(drawn_pixels, labels[used], split[used], tuple(names), len(index), rejected)


def _listed(tree: Tree, source: Source, path: Path) -> tuple[list[Listed], list[Rejected]]:
    """The images of the classes that the source asks for, and files that cannot be images of a class.

    Raises DataError where there is no image, for a pattern that matches no class, and for unknown halves.
    """
    listed, rejected = find(tree.names)
    if not listed:
        found = f"it holds {census(tree.names)}{_rejection_note(tree.rejected + rejected)}"
        content = f"no class folder with a readable image ({', '.join(SUFFIXES)})"
        raise DataError(f"{path} holds {content}: {found}; needed: {LAYOUT}")
    try:
        chosen = set(source.chosen(item.label for item in listed))
        listed = [item for item in listed if item.label in chosen]
        refuse_unknown_halves(listed)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return listed, rejected


def _groups(tree: Tree, listed: Sequence[Listed], path: Path) -> np.ndarray:
    """The group of each image, as the manifest says. Raises DataError for one that cannot be used."""
    try:
        return read_groups(tree, [item.file for item in listed])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _drop_patients_of_test(
    listed: Sequence[Listed], groups: np.ndarray, test: np.ndarray, readable: np.ndarray
) -> tuple[np.ndarray, list[Rejected]]:
    """Leave out the training images of a patient who is in the official test half too.

    Returns the mask (n,) of what is left, and the images left out.
    """
    in_both = readable & ~test & np.isin(groups, groups[test])
    reason = "the manifest's patient is also in the test folder"
    return readable & ~in_both, [Rejected(listed[i].file, reason) for i in np.flatnonzero(in_both)]


def _rejection_note(rejected: Sequence[Rejected]) -> str:
    """A remark, for messages, on how many files were rejected, with the first as an example; empty without any."""
    return f" ({len(rejected)} files rejected, such as {rejected[0].file}: {rejected[0].reason})" if rejected else ""


def _check_classes(where: str, found: Sequence[str], wanted: Sequence[str], official: bool) -> None:
    """Raise DataError for fewer than two classes, or for classes that are not the ones wanted.

    Where classes are wanted, both official halves are needed too.
    """
    if len(found) < 2:
        content = f"only the class {found[0]!r}" if found else "no class folder with a readable image"
        raise DataError(f"{where} holds {content}; needed: {LAYOUT}")
    if wanted and (list(found) != list(wanted) or not official):
        halves = "train and test folders" if official else "no train and test folders"
        raise DataError(f"{where} holds {halves} of {few(found, len(wanted))}; needed: both, of {', '.join(wanted)}")
