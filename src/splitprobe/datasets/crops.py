"""Photo of origin: from which photograph was this crop cut? A classification task made of a few photographs.

The photographs are those in the installed scikit-image wheel. They are read from its files and never downloaded. Each
is cut into four rectangles, one per role, so that no pixel is shared between roles. Each rectangle is large enough for
the largest crop, so that all roles have the same distribution of crop sizes. Where one holds nothing but sky, the roles
of that photograph change places.
"""

import itertools
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from splitprobe.core.params import ParamsError
from splitprobe.datasets.base import ROLES, DataError, Dataset
from splitprobe.datasets.images import Box, fit
from splitprobe.datasets.sections import Settings, Source

TRIES = 500  # flat draws in a row after which a rectangle counts as flat
SAMPLE = 50  # draws that tell how flat a rectangle is, where roles must change places


class Flat(DataError):
    """A rectangle that is flat; ``label`` is the number of its photograph."""

    def __init__(self, label: int, message: str) -> None:
        super().__init__(message)
        self.label = label


def load_crops(files: Mapping[str, str], source: Source, settings: Settings, rng: np.random.Generator) -> Dataset:
    """A Dataset of random crops; ``files`` maps the classes to choose from to their files in skimage/data.

    Raises ParamsError when crop_min exceeds crop_max or a single class is left, DataError when a photograph is absent,
    too small or too flat.
    """
    if settings.crop_min > settings.crop_max:
        raise ParamsError(f"data.crop_min = {settings.crop_min}: must be at most data.crop_max = {settings.crop_max}")
    if source.raw is not None:
        raise ParamsError(f"raw = {source.raw!r}: the source {source.source!r} is embedded; set raw to null")
    source.refuse("min_mean", "auxiliary_exclude")
    classes = source.chosen(files)
    if len(classes) < 2 and source.train:
        raise ParamsError(f"classes = {list(source.classes)}: only {classes[0]} is left, at least two are needed")
    photographs = [open_photograph(files[name]).convert("L" if source.channels == 1 else "RGB") for name in classes]
    counts = list(source.wanted.values())
    split = np.repeat(np.arange(len(ROLES), dtype=np.uint8), counts)
    labels = np.concatenate([np.arange(n) % len(classes) for n in counts])  # the classes take turns
    names = [files[name] for name in classes]
    boxes = [cut(image.size, source.wanted, settings, name) for name, image in zip(names, photographs, strict=True)]
    changed: set[int] = set()
    while True:
        try:
            images = _draw_crops(photographs, names, boxes, labels, split, source, settings, rng)
            return Dataset(images, labels, split, tuple(classes), kept=len(images))
        except Flat as flat:
            if flat.label in changed:
                raise DataError(str(flat)) from None
            changed.add(flat.label)
            boxes[flat.label] = _least_flat(photographs[flat.label], source, settings, rng, names[flat.label])


def _draw_crops(
    photographs: Sequence[Image.Image], names: Sequence[str], boxes: Sequence[Mapping[str, Box]], labels: np.ndarray,
    split: np.ndarray, source: Source, settings: Settings, rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """A random crop for each of the labels (N,) and roles in split (N,): uint8 (N, side, side, C). Raises Flat."""
    images = np.empty((len(split), source.side, source.side, source.channels), np.uint8)
    for i, (label, code) in enumerate(zip(labels, split, strict=True)):
        crop = _random_crop(photographs[label], boxes[label][ROLES[code]], source, settings, rng)
        if crop is None:
            limit = f"a standard deviation below data.crop_min_std = {settings.crop_min_std} of 255"
            what = f"the {ROLES[code]} part of {names[label]} is flat: {TRIES} crops in a row had {limit}"
            raise Flat(label, f"{what}, wherever that part lies; lower it, ask for other numbers of images, or leave "
                       f"the photograph out")  # fmt: skip
        images[i] = crop
    return images


def open_photograph(file: str) -> Image.Image:
    """A decoded photograph of the installed scikit-image. Raises DataError when the wheel lacks it."""
    spec = find_spec("skimage")
    path = Path(spec.origin).parent / "data" / file if spec and spec.origin else Path("skimage/data") / file
    if not path.is_file():
        raise DataError(f"{path} is missing: install the scikit-image wheel, `pip install 'scikit-image>=0.26'`")
    with Image.open(path) as image:
        image.load()
        return image


def cut(size: tuple[int, int], wanted: Mapping[str, int], settings: Settings, file: str) -> dict[str, Box]:
    """Four rectangles that tile a photograph of ``size`` (width, height) px, larger where more crops are wanted.

    Train is above validation on the left, test is above auxiliary on the right. Each side is at least crop_max, or half
    of the photograph's side if that is less. A role without crops gets no area. Raises DataError when a side would be
    less than crop_min.
    """
    width, height = size
    if min(size) // 2 < settings.crop_min:
        need = f"four parts of data.crop_min = {settings.crop_min}"
        raise DataError(f"{file} measures {width}x{height} px, too little for {need}")
    train, validation, test, auxiliary = (wanted[role] for role in ROLES)
    x = _cut_position(width, train + validation, test + auxiliary, settings.crop_max)
    left = _cut_position(height, train, validation, settings.crop_max)
    right = _cut_position(height, test, auxiliary, settings.crop_max)
    return {
        "train": (0, 0, x, left),
        "validation": (0, left, x, height),
        "test": (x, 0, width, right),
        "auxiliary": (x, right, width, height),
    }


def _cut_position(length: int, first: int, second: int, least: int) -> int:
    """Where to cut ``length`` in two: ``least`` (at most half of it) for each part, the rest in proportion."""
    if not first or not second:
        return length if first else 0
    least = min(least, length // 2)
    return least + round((length - 2 * least) * first / (first + second))


def arrangements(
    size: tuple[int, int], wanted: Mapping[str, int], settings: Settings, file: str
) -> list[dict[str, Box]]:
    """What :func:`cut` gives, first, and the same with roles in other places.

    Train and validation may change places, test and auxiliary, and these with those; and all may be turned, so that
    the first cut is a horizontal one. Raises DataError as :func:`cut` does.
    """
    found = []
    for turned, halves, train, test in itertools.product((False, True), repeat=4):
        width, height = size[::-1] if turned else size
        boxes = {}
        for role, (left, top, right, bottom) in cut((width, height), wanted, settings, file).items():
            if halves:
                left, right = width - right, width - left
            if test if role in ("test", "auxiliary") else train:
                top, bottom = height - bottom, height - top
            boxes[role] = (top, left, bottom, right) if turned else (left, top, right, bottom)
        found.append(boxes)
    return found


def _least_flat(
    photograph: Image.Image, source: Source, settings: Settings, rng: np.random.Generator, file: str
) -> dict[str, Box]:
    """The arrangement of the roles whose flattest rectangle gives most crops that are not flat."""

    def share(boxes: Mapping[str, Box]) -> int:
        used = [box for role, box in boxes.items() if source.wanted[role]]
        draws = ([_crop(photograph, box, source, settings, rng) for _ in range(SAMPLE)] for box in used)
        return min(sum(crop is not None for crop in crops) for crops in draws)

    return max(arrangements(photograph.size, source.wanted, settings, file), key=share)


def _random_crop(
    photograph: Image.Image, box: Box, source: Source, settings: Settings, rng: np.random.Generator
) -> np.ndarray | None:
    """A random crop that is not flat: uint8 (side, side, C), or None after too many flat ones."""
    crops = (_crop(photograph, box, source, settings, rng) for _ in range(TRIES))
    return next((crop for crop in crops if crop is not None), None)


def _crop(
    photograph: Image.Image, box: Box, source: Source, settings: Settings, rng: np.random.Generator
) -> np.ndarray | None:
    """A random square of the box, resized: uint8 (side, side, C), or None where it is flatter than crop_min_std."""
    left, top, right, bottom = box
    largest = min(settings.crop_max, right - left, bottom - top)
    edge = int(rng.integers(settings.crop_min, largest + 1))
    x, y = int(rng.integers(left, right - edge + 1)), int(rng.integers(top, bottom - edge + 1))
    pixels = fit(photograph.crop((x, y, x + edge, y + edge)), source.channels, source.side, settings.resize)
    # the deviation of the brightness, so that a plain colored sky counts as flat
    return pixels if pixels.mean(2).std() >= settings.crop_min_std else None
