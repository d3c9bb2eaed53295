"""Photo of origin: from which photograph was this crop cut? A classification task made of a few photographs.

The photographs are those in the installed scikit-image wheel. They are read from its files and never downloaded. Each
is cut into four rectangles, one per role, so that no pixel is shared between roles. Each rectangle is large enough for
the largest crop, so that all roles have the same distribution of crop sizes.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from splitprobe.core.params import ParamsError
from splitprobe.datasets.base import ROLES, DataError, Dataset
from splitprobe.datasets.images import Box, fit
from splitprobe.datasets.sections import Settings, Source

TRIES = 500  # flat draws in a row after which a rectangle counts as flat


def load_crops(files: Mapping[str, str], source: Source, settings: Settings, rng: np.random.Generator) -> Dataset:
    """A Dataset of random crops; ``files`` maps the classes to choose from to their files in skimage/data.

    Raises ParamsError when crop_min exceeds crop_max, DataError when a photograph is absent, too small or too flat.
    """
    if settings.crop_min > settings.crop_max:
        raise ParamsError(f"data.crop_min = {settings.crop_min}: must be at most data.crop_max = {settings.crop_max}")
    if source.raw is not None:
        raise ParamsError(f"raw = {source.raw!r}: the source {source.source!r} is embedded; set raw to null")
    source.refuse("min_mean", "auxiliary_exclude")
    classes = source.chosen(files)
    photographs = [open_photograph(files[name]).convert("L" if source.channels == 1 else "RGB") for name in classes]
    boxes = [cut(image.size, source.wanted, settings, files[n]) for n, image in zip(classes, photographs, strict=True)]
    counts = list(source.wanted.values())
    split = np.repeat(np.arange(len(ROLES), dtype=np.uint8), counts)
    labels = np.concatenate([np.arange(n) % len(classes) for n in counts])  # the classes take turns
    images = np.empty((len(split), source.side, source.side, source.channels), np.uint8)
    for i, (label, code) in enumerate(zip(labels, split, strict=True)):
        role = ROLES[code]
        place = f"the {role} part of {files[classes[label]]}"
        images[i] = _random_crop(photographs[label], boxes[label][role], source, settings, rng, place)
    return Dataset(images, labels, split, tuple(classes), kept=len(images))


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


def _random_crop(
    photograph: Image.Image, box: Box, source: Source, settings: Settings, rng: np.random.Generator, place: str
) -> np.ndarray:
    """A random square of the box, resized: uint8 (side, side, C), not flatter than crop_min_std.

    Raises DataError, naming ``place``, after too many flat draws.
    """
    left, top, right, bottom = box
    largest = min(settings.crop_max, right - left, bottom - top)
    for _ in range(TRIES):
        edge = int(rng.integers(settings.crop_min, largest + 1))
        x, y = int(rng.integers(left, right - edge + 1)), int(rng.integers(top, bottom - edge + 1))
        pixels = fit(photograph.crop((x, y, x + edge, y + edge)), source.channels, source.side, settings.resize)
        # the deviation of the brightness, so that a plain colored sky counts as flat
        if pixels.mean(2).std() >= settings.crop_min_std:
            return pixels
    limit = f"data.crop_min_std = {settings.crop_min_std} of 255"
    raise DataError(f"{place} is flat: {TRIES} crops in a row had a standard deviation below {limit}")
