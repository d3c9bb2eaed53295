"""The sections of params.yaml that describe data sets."""

# these are not in base.py, on which trainings depend, so that a new key retrains nothing

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from splitprobe.core.params import ParamsError, bounded
from splitprobe.datasets.base import ROLES, DataError
from splitprobe.datasets.guide import few

MOST = 10_000_000  # images of a role: more than any set has
FILTERS = ("box", "bilinear", "bicubic", "lanczos")
# The networks halve their images, down to a whole number of pixels: the CNN four times, the others to a 32nd. A test
# holds these two against the networks, which cannot be imported here without torch.
SIDE, SIDE_OF_ALL = 16, 32
OF_AUXILIARY = ("auxiliary_raw", "auxiliary_classes", "auxiliary_exclude")


@dataclass(frozen=True)
class Source:
    """The section ``scales.data.<name>``: one data set and the number of images of each role.

    The least numbers of images are what later stages need: distance correlation 4 test images, estimates of mutual
    information 2 training images, a decoder 1 auxiliary image to learn from and 1 to choose its epoch on.
    ``classes`` are shell patterns of class names. ``min_mean``, of 255, is the least mean of a prepared image. With
    ``auxiliary_source``, the auxiliary images come from that source and its own ``auxiliary_...`` keys, and the other
    roles come from ``source``. Without it, all four come from ``source``.
    """

    source: str
    title: str
    raw: str | None
    classes: tuple[str, ...] | None = bounded(items=(1, 100_000))
    channels: int = bounded(choices=(1, 3))
    side: int = bounded(8, 256)
    min_mean: float = bounded(0, 255)
    train: int = bounded(2, MOST)
    validation: int = bounded(1, MOST)
    test: int = bounded(4, MOST)
    auxiliary: int = bounded(2, MOST)
    auxiliary_source: str | None
    auxiliary_raw: str | None
    auxiliary_classes: tuple[str, ...] | None = bounded(items=(1, 100_000))
    auxiliary_exclude: str | None
    download: bool

    @property
    def wanted(self) -> dict[str, int]:
        """Number of images asked for, by role; 0 for roles that the other part of :meth:`halves` fills."""
        return {role: getattr(self, role) for role in ROLES}

    def check_side(self) -> None:
        """Raise ParamsError for a side that no network could use."""
        if self.side % SIDE:
            reason = f"the cnn needs a multiple of {SIDE}, resnet18 and vgg16 one of {SIDE_OF_ALL}"
            raise ParamsError(f"side = {self.side}: {reason}")

    def raw_path(self, root: Path) -> Path:
        """Path of the raw data, relative ones below ``root``. Raises DataError when ``raw`` is null or empty."""
        if not self.raw:
            value = "null" if self.raw is None else repr(self.raw)
            raise DataError(f"raw = {value}: the source {self.source!r} needs the path of a folder or an archive")
        return located(self.raw, root)

    def chosen(self, found: Iterable[str]) -> list[str]:
        """The classes among ``found`` that a pattern of ``classes`` matches, sorted; all where ``classes`` is null.

        Raises DataError for a pattern that matches none.
        """
        found = sorted(set(found))
        if self.classes is None:
            return found
        for pattern in self.classes:
            if not any(fnmatchcase(name, pattern) for name in found):
                known = few(found, 10) or "none at all"
                raise DataError(f"classes: {pattern!r} matches none of the {len(found)} classes here ({known})")
        return [name for name in found if any(fnmatchcase(name, pattern) for pattern in self.classes)]

    def refuse(self, *keys: str) -> None:
        """Raise ParamsError when one of the keys is set: a source must not ignore what it cannot do."""
        for key in keys:
            if value := getattr(self, key):
                neutral = 0 if type(value) is float else "null"
                raise ParamsError(f"{key} = {value!r}: the source {self.source!r} cannot use it; set it to {neutral}")

    def halves(self) -> "tuple[Source, Source | None]":
        """What the target is read by, and what a separate auxiliary source is read by (None where there is none).

        Raises ParamsError when ``auxiliary_source`` is null and another key of an auxiliary source is set.
        """
        if self.auxiliary_source is None:
            for key in OF_AUXILIARY:
                if (value := getattr(self, key)) is not None:
                    raise ParamsError(f"{key} = {value!r}: without effect, since auxiliary_source is null")
            return self, None
        target = replace(self, auxiliary=0, auxiliary_source=None, **dict.fromkeys(OF_AUXILIARY))
        separate = replace(
            target, source=self.auxiliary_source, raw=self.auxiliary_raw, classes=self.auxiliary_classes,
            auxiliary_exclude=self.auxiliary_exclude, train=0, validation=0, test=0, auxiliary=self.auxiliary,
            download=False,
        )  # fmt: skip
        return target, separate


def located(path: str, root: Path) -> Path:
    """A path of params.yaml: ``~`` is the home folder, relative ones lie below ``root``."""
    return root / os.path.expanduser(path)


@dataclass(frozen=True)
class Settings:
    """The section ``data``, which all data sets share: crop sizes in px, least deviation of a crop, resize filter."""

    crop_min: int = bounded(8)
    crop_max: int = bounded(8)
    crop_min_std: float = bounded(0, 127)
    resize: str = bounded(choices=FILTERS)
