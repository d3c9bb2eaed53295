"""CelebA (Liu et al., 2015), an attacker's auxiliary faces: ``img_align_celeba/*.jpg``, in a folder or a .zip.

Upper and lower case make no difference in these names.

The square of 108 px at (35, 70) of each aligned image (178x218 px) holds the face and little else, as is usual for
CelebA. ``auxiliary_exclude`` names a file of people or images that are left out, because they are the target's. Each
line is a number of ``identity_CelebA.txt`` or an image such as 000001.jpg; # begins a remark.
"""

import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from splitprobe.core.params import ParamsError
from splitprobe.datasets import images
from splitprobe.datasets.archive import Tree, open_tree
from splitprobe.datasets.base import ROLES, DataError, Dataset, Rejected
from splitprobe.datasets.guide import SETS, census, missing
from splitprobe.datasets.sections import Settings, Source, located

FOLDER, IDENTITIES = "img_align_celeba", "identity_CelebA.txt"
SUFFIXES = (".jpg", ".jpeg")
NUMBER = r"[0-9]{1,12}"
BOX = (35, 70, 143, 178)  # px: left, top, right, bottom


def load(source: Source, settings: Settings, rng: np.random.Generator, root: Path) -> Dataset:
    """Auxiliary images, drawn from all that are not excluded; there are no classes, and all labels are 0.

    Of 200,000 files only as many are decoded as are asked for, and further ones in place of unreadable ones. ``kept``
    counts the decoded images; excluded images are among the rejected ones. Raises ParamsError when another role than
    auxiliary is asked for. Raises DataError when the set, or a file that an exclusion needs, is missing, or too few
    images are left.
    """
    if any(source.wanted[role] for role in ROLES if role != "auxiliary"):
        raise ParamsError(f"source = {source.source!r}: it has auxiliary images only; name it in auxiliary_source")
    source.refuse("classes")
    path = source.raw_path(root)
    if not os.path.exists(path):
        raise missing(path, SETS["celeba"])
    with open_tree(path) as tree:
        names = [n for n in tree.names if n.lower().endswith(SUFFIXES) and _folder(n) == FOLDER]
        if not names:
            advice = f"put {SETS['celeba']} there, unpacked"
            raise DataError(f"{path} holds no {FOLDER}/*.jpg, it holds {census(tree.names)}: {advice}")
        allowed, rejected = names, []
        if source.auxiliary_exclude is not None:
            people, pictures = read_exclusions(located(source.auxiliary_exclude, root))
            allowed, rejected = _exclude(names, people, pictures, read_identities(tree, path) if people else {})
        order = [allowed[i] for i in rng.permutation(len(allowed))]
        pixels, unreadable = _first_readable(order, tree, source, settings)
    rejected = tree.rejected + rejected + unreadable
    if len(pixels) < source.auxiliary:
        counts = f"auxiliary asked {source.auxiliary}, available {len(pixels)} ({len(rejected)} rejected)"
        raise DataError(f"{path}: too few images: {counts}; ask for fewer in params.yaml")
    split = np.full(len(pixels), ROLES.index("auxiliary"), np.uint8)
    return Dataset(pixels, np.zeros(len(pixels), np.int64), split, (), len(pixels), rejected)


def _folder(name: str) -> str:
    """The folder that a file lies in, in lower case."""
    return posixpath.basename(posixpath.dirname(name)).lower()


def picture_of(name: str) -> str:
    """What an image is called in lists, such as 000001.jpg, from the name of its file."""
    return posixpath.splitext(posixpath.basename(name))[0].lower() + ".jpg"


def read_exclusions(path: Path) -> tuple[set[str], set[str]]:
    """Identity numbers and image names in a list of exclusions. Raises DataError when it is absent or malformed."""
    if not os.path.isfile(path):
        how = f"write into it whom to leave out, one number of {IDENTITIES} or image name a line"
        raise DataError(f"auxiliary_exclude: {path} is missing: {how}; null leaves out none")
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"auxiliary_exclude: {path} cannot be read: {error.strerror}") from None
    people, pictures = set(), set()
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if re.fullmatch(NUMBER, entry):
            people.add(str(int(entry)))
        elif re.fullmatch(NUMBER + r"\.jpe?g", entry, re.IGNORECASE):
            pictures.add(picture_of(entry))
        elif entry:
            wrong = f"{entry[:60]!r} is no number of an identity and no image such as 000001.jpg"
            raise DataError(f"{path}:{number}: {wrong}")
    return people, pictures


def read_identities(tree: Tree, path: Path) -> dict[str, str]:
    """The identity of each image name. Raises DataError when identity_CelebA.txt is absent or malformed."""
    name = next((n for n in tree.names if posixpath.basename(n).lower() == IDENTITIES.lower()), None)
    if name is None:
        raise DataError(f"{path} holds no {IDENTITIES}, without which the people of auxiliary_exclude are unknown")
    try:
        content = tree.read(name)
    except DataError as error:
        raise DataError(f"{path}: {name} {error}") from None
    rows = [line.split() for line in content.decode("utf-8-sig", "replace").splitlines() if line.strip()]
    bad = next((row for row in rows if len(row) != 2 or not re.fullmatch(NUMBER, row[1])), None)
    if bad or not rows:
        raise DataError(f"{path}: {name} is no list of images and identities, it holds {' '.join(bad or [])[:60]!r}")
    return {picture_of(image): str(int(person)) for image, person in rows}


def _exclude(
    names: Sequence[str], people: set[str], pictures: set[str], identity: dict[str, str]
) -> tuple[list[str], list[Rejected]]:
    """The names that are not excluded, and the excluded ones with reasons.

    ``identity`` maps image names to people; it matters only where people are excluded.
    """
    allowed, rejected = [], []
    for name in names:
        picture = picture_of(name)
        person = identity.get(picture)
        if picture in pictures:
            rejected.append(Rejected(name, "excluded by its name"))
        elif people and person is None:
            # whoever is unknown may be excluded: the image is left out to be safe
            rejected.append(Rejected(name, f"{IDENTITIES} does not say whether it shows an excluded person"))
        elif person in people:
            rejected.append(Rejected(name, f"excluded, it shows identity {person}"))
        else:
            allowed.append(name)
    return allowed, rejected


def _first_readable(
    order: Sequence[str], tree: Tree, source: Source, settings: Settings
) -> tuple[np.ndarray, list[Rejected]]:
    """The first ``source.auxiliary`` readable images, uint8 (n, side, side, C), in the given order.

    Returns also the unreadable ones that were met on the way.
    """
    parts, rejected, start, lacking = [], [], 0, source.auxiliary
    while lacking and start < len(order):
        # as many again as are still lacking
        part = order[start : start + lacking]
        pixels, readable, unreadable = images.read_all(part, tree.read, source, settings, BOX)
        parts.append(images.compact(pixels, np.flatnonzero(readable)))
        start, lacking, rejected = start + len(part), lacking - len(parts[-1]), rejected + unreadable
    empty = np.empty((0, source.side, source.side, source.channels), np.uint8)
    # a single part is returned as it is: joining would copy all images
    return (parts[0] if len(parts) == 1 else np.concatenate([empty, *parts])), rejected
