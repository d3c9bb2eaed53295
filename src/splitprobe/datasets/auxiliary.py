"""Auxiliary images from another source than the target's.

In the paper, the attacker of FaceScrub has CelebA.
"""

from dataclasses import replace

import numpy as np

from splitprobe.datasets.base import NO_CLASS, DataError, Dataset
from splitprobe.datasets.guide import few
from splitprobe.datasets.sections import Source


def join(source: Source, target: Dataset, auxiliary: Dataset) -> Dataset:
    """The target's three roles and the other source's auxiliary images, as one Dataset with the target's classes.

    The auxiliary images are labeled NO_CLASS: they belong to none of the target's classes, and attacks read no labels.
    Raises DataError when both sources are the same data and share classes, as the auxiliary people must be others.
    """
    shared = shared_names(target.classes, auxiliary.classes)
    if shared and (source.auxiliary_source, source.auxiliary_raw) == (source.source, source.raw):
        listed = few(shared)
        advice = "name disjoint ones in classes and auxiliary_classes"
        raise DataError(f"{len(shared)} classes are both target and auxiliary ({listed}): {advice}")
    # with the source's path, because both sources may have a file of that name
    rejected = [replace(r, file=f"{source.auxiliary_raw}/{r.file}") for r in auxiliary.rejected]
    return Dataset(
        np.concatenate([target.images, auxiliary.images]),
        np.concatenate([target.labels, np.full(len(auxiliary.labels), NO_CLASS, np.int64)]),
        np.concatenate([target.split, auxiliary.split]),
        target.classes,
        target.kept + auxiliary.kept,
        target.rejected + rejected,
        auxiliary.classes,
    )


def shared_names(classes: tuple[str, ...], others: tuple[str, ...]) -> list[str]:
    """Names in both lists, sorted, spelled as in ``classes``; case, and underscores for spaces, make no difference."""

    def normalized(name: str) -> str:
        return " ".join(name.replace("_", " ").split()).casefold()

    other_names = {normalized(name) for name in others}
    return sorted(name for name in classes if normalized(name) in other_names)
