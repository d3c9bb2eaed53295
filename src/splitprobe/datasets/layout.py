"""Which of the files of a set are images of which class, and in which official half.

A class is the name of the folder that holds the images: ``<class>/*`` or ``train|test/<class>/*``, inside any outer
folders. Halves go by many names (``Training``, ``train_images``, ``val``, ``Test Set``), and may lie below the class
(``<class>/train/*``). Equal names are one class in FaceScrub (``actor_faces/<name>``, ``actress_faces/<name>``); in
other folders beside each other they are refused, since one of these may be an official test set. Where every class
folder is called ``face``, as in ``<name>/face/*``, the folder above it is the class. Photographs beside such a folder,
or in ``images/<name>/*`` beside ``faces/<name>/*``, are left out.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from splitprobe.datasets.base import DataError, Rejected
from splitprobe.datasets.guide import SHOWN

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
SUBJECT = "(?:data|dataset|set|images?|imgs?|split|samples?|part|folder)?"
HALF = re.compile(
    f"{SUBJECT}(?:(?P<test>tests?|testing|tst|eval|evaluation|holdout)"
    f"|(?P<train>train|training|trn|val|valid|validation|trainval|dev)){SUBJECT}"
)
GENDERS = ("actor_faces", "actress_faces", "actors", "actresses")  # FaceScrub's folders, in lower case


@dataclass(frozen=True)
class Listed:
    """An image file: its name, its class, and the official half that it belongs to ("train", "test" or "").

    ``around`` is the folder around the class, without halves, and without GENDERS.
    """

    file: str
    label: str
    half: str
    around: str


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
    places = _places({posixpath.dirname(n) for n in pictures if n.count("/") == depth})
    # a folder beside class folders, whose files are no images by their names
    beside = {posixpath.dirname(folder) for folder in places}
    has_halves = {"train", "test"} <= {place.half for place in places.values()}
    listed, rejected = [], []
    for name in names:
        folder = posixpath.dirname(name)
        place = places.get(folder)
        if place and name not in pictures:
            rejected.append(Rejected(name, f"not named as an image ({', '.join(SUFFIXES)})"))
        elif place and not place.label:
            rejected.append(Rejected(name, "in no class folder"))
        elif place and has_halves and not place.half:
            rejected.append(Rejected(name, "outside the train and test folders"))
        elif place:
            listed.append(Listed(name, place.label, place.half if has_halves else "", place.around))
        elif name in uncropped:
            rejected.append(Rejected(name, "a photograph beside a folder of face crops"))
        elif name in pictures:
            rejected.append(Rejected(name, f"not in a class folder; those lie at depth {depth} here"))
        elif name.count("/") == depth and posixpath.dirname(folder) in beside:
            rejected.append(Rejected(name, f"not named as an image ({', '.join(SUFFIXES)})"))
    return listed, rejected


def refuse_unknown_halves(listed: Sequence[Listed]) -> None:
    """Raise DataError where folders beside each other hold classes of the same name, and are no known halves."""
    around: dict[tuple[str, str], dict[str, str]] = {}
    for item in listed:
        around.setdefault((item.half, item.label), {}).setdefault(item.around, posixpath.dirname(item.file))
    several = {label: list(folders.values()) for (_, label), folders in around.items() if len(folders) > 1}
    if several:
        label = min(several)
        more = f" ({len(several)} classes do so)" if len(several) > 1 else ""
        advice = "if these are halves, call them train and test; if not, put each class into one folder"
        where = f"the class {label!r} lies in {' and in '.join(several[label][:SHOWN])}{more}"
        raise DataError(f"{where}: {advice}, or let `raw` name one part")


@dataclass(frozen=True)
class _Place:
    """What the names of a class folder and of those around it say, as in :class:`Listed`."""

    label: str
    half: str
    around: str


def _places(folders: Collection[str]) -> Mapping[str, _Place]:
    """The place of each class folder."""
    inner_face = all(posixpath.basename(folder).lower() == "face" for folder in folders)
    named = {folder: (posixpath.dirname(folder) if inner_face else folder).split("/") for folder in folders}
    halves = {half_of(parts[-1]) for parts in named.values()}
    if halves == {"train", "test"}:  # <class>/train/*: the half is moved above its class
        named = {folder: [*parts[:-2], parts[-1], "".join(parts[-2:-1])] for folder, parts in named.items()}
    return {folder: _place(parts) for folder, parts in named.items()}


def _place(parts: Sequence[str]) -> _Place:
    """The place of the class that the last of these nested folders is called after."""
    *above, label = parts
    # the half that is nearest to the class, since a whole set may be called "test"
    at = next((i for i in reversed(range(len(above))) if half_of(above[i])), len(above))
    half = half_of(above[at]) if at < len(above) else ""
    around = [part for i, part in enumerate(above) if i != at and part.lower() not in GENDERS]
    return _Place(label, half, "/".join(around))


def half_of(folder: str) -> str:
    """The official half that a folder's name says: "train", "test", or "" where it says none or both.

    Validation images belong to train, since roles are drawn anew.
    """
    words = re.split(r"[\W\d_]+", folder.casefold())
    halves = {found.lastgroup for word in words if (found := HALF.fullmatch(word))}
    return halves.pop() if len(halves) == 1 else ""


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
