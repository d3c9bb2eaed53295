"""Data sets: one file per kind of source, all giving a :class:`~splitprobe.datasets.base.Dataset` of uint8 images.

SOURCES maps the name of a source to the function that reads it.
"""

from pathlib import Path

import numpy as np

from splitprobe.core.params import ParamsError
from splitprobe.core.registry import lookup
from splitprobe.datasets.auxiliary import join
from splitprobe.datasets.base import ROLES, DataError, Dataset
from splitprobe.datasets.sections import Settings, Source

__all__ = ["ROLES", "SOURCES", "DataError", "Dataset", "Settings", "Source", "load"]

SOURCES = {
    "photos": "splitprobe.datasets.photos:load",
    "textures": "splitprobe.datasets.textures:load",
    "cifar10": "splitprobe.datasets.cifar10:load",
    "folder": "splitprobe.datasets.folder:load",
    "celeba": "splitprobe.datasets.celeba:load",
}


def load(source: Source, settings: Settings, rng: np.random.Generator, root: Path) -> Dataset:
    """Read a source, and the source of the auxiliary images where that is another; relative paths count from ``root``.

    Raises ParamsError for an unknown source and for keys that it cannot use. Raises DataError when data are missing or
    do not suffice, or when target and auxiliary classes overlap within one source.
    """
    target_source, auxiliary_source = source.halves()
    read = lookup(SOURCES, target_source.source, "source")
    if auxiliary_source is None:
        return read(target_source, settings, rng, root)
    read_auxiliary = lookup(SOURCES, auxiliary_source.source, "auxiliary_source")
    # two generators, so that the number of target images does not decide which auxiliary images are drawn
    rng, auxiliary_rng = rng.spawn(2)
    target = read(target_source, settings, rng, root)
    try:
        auxiliary = read_auxiliary(auxiliary_source, settings, auxiliary_rng, root)
    except (DataError, ParamsError) as error:
        raise type(error)(f"of the auxiliary source: {error}") from error
    return join(source, target, auxiliary)
