"""Data sets: one file per kind of source, all giving a :class:`~splitprobe.datasets.base.Dataset` of uint8 images."""

from pathlib import Path

import numpy as np

from splitprobe.datasets.auxiliary import join
from splitprobe.datasets.base import ROLES, DataError, Dataset
from splitprobe.datasets.sections import Settings, Source
from splitprobe.params import ParamsError
from splitprobe.registry import lookup

__all__ = ["ROLES", "SOURCES", "DataError", "Dataset", "Settings", "Source", "load"]

SOURCES = {
    "photos": "splitprobe.datasets.photos:load",
    "textures": "splitprobe.datasets.textures:load",
    "cifar10": "splitprobe.datasets.cifar10:load",
    "folder": "splitprobe.datasets.folder:load",
    "celeba": "splitprobe.datasets.celeba:load",
}


def load(source: Source, settings: Settings, rng: np.random.Generator, root: Path) -> Dataset:
    """Read a source, and that of the auxiliary images where it is another; relative paths count from ``root``.

    Raises ParamsError for an unknown source and for keys that it cannot use, DataError when the data are missing, do
    not suffice, or when target and auxiliary classes overlap within one source.
    """
    own, other = source.halves()
    read = lookup(SOURCES, own.source, "source")
    if other is None:
        return read(own, settings, rng, root)
    read_other = lookup(SOURCES, other.source, "auxiliary_source")
    rng, other_rng = rng.spawn(2)  # so that the number of target images does not decide which auxiliary ones are drawn
    target = read(own, settings, rng, root)
    try:
        auxiliary = read_other(other, settings, other_rng, root)
    except (DataError, ParamsError) as error:
        raise type(error)(f"of the auxiliary source: {error}") from error
    return join(source, target, auxiliary)
