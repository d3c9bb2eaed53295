"""Data sets: one file per kind of source, all giving a :class:`~splitprobe.datasets.base.Dataset` of uint8 images."""

from pathlib import Path

import numpy as np

from splitprobe.datasets.base import ROLES, DataError, Dataset, Settings, Source
from splitprobe.registry import lookup

__all__ = ["ROLES", "SOURCES", "DataError", "Dataset", "Settings", "Source", "load"]

SOURCES = {
    "photos": "splitprobe.datasets.photos:load",
    "textures": "splitprobe.datasets.textures:load",
    "cifar10": "splitprobe.datasets.cifar10:load",
    "folder": "splitprobe.datasets.folder:load",
}


def load(source: Source, settings: Settings, rng: np.random.Generator, root: Path) -> Dataset:
    """Read a source and draw its four roles; a relative ``source.raw`` counts from ``root``.

    Raises ParamsError for an unknown source, DataError when the data are missing or do not suffice.
    """
    return lookup(SOURCES, source.source, "source")(source, settings, rng, root)
