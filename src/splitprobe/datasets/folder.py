"""Any folder or .zip of class folders, wherever they lie in it.

A class is the name of the folder that holds the images: ``<class>/*`` or ``train|test/<class>/*``, inside any outer
folders. Equal names are one class (``actor_faces/<name>``, ``actress_faces/<name>``). Where every such folder is called
``face``, as in ``<name>/face/*``, the folder above it is the class. Photographs beside such a folder, or in
``images/<name>/*`` beside ``faces/<name>/*``, are left out. Any other file in a class folder is listed as rejected.

A ``MANIFEST.csv`` with the columns path and patient (or subject, identity) keeps each patient within one role.
"""

import csv
import io
import logging
import posixpath
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splitprobe.datasets import images
from splitprobe.datasets.archive import Tree, open_tree
from splitprobe.datasets.base import DataError, Dataset, Rejected
from splitprobe.datasets.guide import missing
from splitprobe.datasets.sections import Settings, Source
from splitprobe.datasets.split import UNUSED, draw

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
TEST, TRAIN = ("test",), ("train", "val", "valid", "validation")
IDENTITY_COLUMNS = ("patient", "subject", "identity")
LAYOUT = "a folder or a .zip of class folders: <class>/*.png, or train/<class>/* and test/<class>/*"
log = logging.getLogger("splitprobe")


@dataclass(frozen=True)
class Listed:
    """An image file: its name, its class, and the official half that it belongs to ("train", "test" or "")."""

    file: str
    label: str
    half: str


def load(
    source: Source, settings: Settings, rng: np.random.Generator, root: Path, classes: Sequence[str] = ()
) -> Dataset:
    """Read every file of ``source.classes`` once and draw the roles.

    With train and test folders, test is drawn from test, and the other roles from train (and val). Without them, all
    four come from everything. ``classes``, if given, must be the classes in both halves. Raises DataError when the set
    is missing, has fewer than two classes or too few images.
    """
    source.refuse("auxiliary_exclude")
    path = source.raw_path(root)
    if not path.exists():
        raise missing(path, LAYOUT)
    with open_tree(path) as tree:
        listed, rejected = find(tree.names)
        listed = _only_classes(listed, source, path)
        groups = read_groups(tree, [item.file for item in listed])
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


def find(names: Sequence[str]) -> tuple[list[Listed], list[Rejected]]:
    """Sort file names into images with class and half, and files that cannot be images of a class.

    Class folders are the folders at the depth where most images lie, so a stray image or subfolder makes no class.
    """
    pictures = {n for n in names if n.lower().endswith(SUFFIXES)}
    uncropped = _uncropped_photographs(pictures)
    pictures -= uncropped
    depths = Counter(n.count("/") for n in pictures if "/" in n)
    # sorted, so that of two equally frequent depths the smaller counts
    depth = max(sorted(depths), key=depths.__getitem__, default=1)
    class_folders = {posixpath.dirname(n) for n in pictures if n.count("/") == depth}
    inner_face = all(posixpath.basename(h).lower() == "face" for h in class_folders)
    class_and_half = {h: _class_and_half(posixpath.dirname(h) if inner_face else h) for h in class_folders}
    has_halves = {"train", "test"} <= {half for _, half in class_and_half.values()}
    listed, rejected = [], []
    for name in names:
        label, half = class_and_half.get(posixpath.dirname(name), ("", ""))
        if label and name not in pictures:
            rejected.append(Rejected(name, f"not named as an image ({', '.join(SUFFIXES)})"))
        elif label and has_halves and not half:
            rejected.append(Rejected(name, "outside the train and test folders"))
        elif label:
            listed.append(Listed(name, label, half if has_halves else ""))
        elif name in uncropped:
            rejected.append(Rejected(name, "a photograph beside a folder of face crops"))
        elif name in pictures:
            rejected.append(Rejected(name, f"not in a class folder; those lie at depth {depth} here"))
    return listed, rejected


def _uncropped_photographs(pictures: Collection[str]) -> set[str]:
    """The photographs of which there are crops beside them.

    These are ``<any>/images/<name>/*`` beside ``<any>/faces/<name>/*``, and ``<name>/*`` beside ``<name>/face/*``.
    """
    folder = {n: posixpath.dirname(n) for n in pictures}
    above = {n: posixpath.split(posixpath.dirname(f)) for n, f in folder.items()}
    above_faces = {head for head, tail in above.values() if tail.lower() == "faces"}
    with_crops = {posixpath.dirname(f) for f in folder.values() if posixpath.basename(f).lower() == "face"}
    beside = {n for n, (head, tail) in above.items() if tail.lower() == "images" and head in above_faces}
    return beside | {n for n, f in folder.items() if f in with_crops}


def _only_classes(listed: Sequence[Listed], source: Source, path: Path) -> list[Listed]:
    """The images of the classes that the source asks for. Raises DataError for a pattern that matches none."""
    try:
        chosen = set(source.chosen(item.label for item in listed))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return [item for item in listed if item.label in chosen]


def _class_and_half(folder: str) -> tuple[str, str]:
    """The class that a folder's name gives, and the half ("train", "test" or "") that the folder above gives."""
    above, _, label = folder.rpartition("/")
    half = posixpath.basename(above).lower()
    return label, "test" if half in TEST else "train" if half in TRAIN else ""


def read_groups(tree: Tree, files: Sequence[str]) -> np.ndarray:
    """A group number for each file, int64 (n,).

    There is one group for each patient that a MANIFEST.csv names, and one for each file of no named patient. Raises
    DataError when the manifest has a column of patients but none of its paths is a file here.
    """
    groups = np.arange(len(files))
    manifests = [n for n in tree.names if posixpath.basename(n).lower() == "manifest.csv"]
    if not manifests:
        return groups
    # the outermost one, if there are several
    manifest = min(manifests, key=lambda n: n.count("/"))
    rows = list(csv.DictReader(io.StringIO(tree.read(manifest).decode("utf-8-sig", "replace"))))
    columns = {c.strip().lower(): c for c in (rows[0] if rows else {}) if c}
    identity = next((columns[c] for c in IDENTITY_COLUMNS if c in columns), None)
    if identity is None or "path" not in columns:
        log.info("%s has no column path with patient, subject or identity: images are split one by one", manifest)
        return groups
    manifest_folder, patients = posixpath.dirname(manifest), {}
    for row in rows:
        path = posixpath.normpath((row[columns["path"]] or "").replace("\\", "/"))
        # the paths count from the archive's top, from the manifest's own folder, or from the folder above it
        for name in (
            path,
            posixpath.join(manifest_folder, path),
            posixpath.join(manifest_folder, path.partition("/")[2]),
        ):
            patients[name] = (row[identity] or "").strip()
    named = [i for i, file in enumerate(files) if patients.get(file)]
    if not named:
        raise DataError(f"{manifest} names a {identity} for none of the images: its column path does not match them")
    if len(named) < len(files):
        unnamed = (manifest, identity, len(files) - len(named))
        log.warning("%s names no %s for %d images: each counts as one of its own", *unnamed)
    # numbers from len(files) on, which no file without a patient has
    number = {patient: len(files) + k for k, patient in enumerate(sorted({patients[files[i]] for i in named}))}
    groups[named] = [number[patients[files[i]]] for i in named]
    return groups


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
        raise DataError(f"{where} holds {halves} of {', '.join(found)}; needed: both, of {', '.join(wanted)}")
