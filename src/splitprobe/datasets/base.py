"""What every data source takes and gives: its params sections, the Dataset it returns, the error it raises."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from splitprobe.params import bounded

ROLES = ("train", "validation", "test", "auxiliary")
FILTERS = ("box", "bilinear", "bicubic", "lanczos")


class DataError(ValueError):
    """Data that are missing, unreadable or too few; the message says where, what is wrong and what to do."""


@dataclass(frozen=True)
class Source:
    """The section ``scales.<scale>.data.<name>``: one data set and the number of images of each role."""

    source: str
    title: str
    raw: str | None
    channels: int = bounded(choices=(1, 3))
    side: int = bounded(8, 256)
    train: int = bounded(1)
    validation: int = bounded(1)
    test: int = bounded(1)
    auxiliary: int = bounded(1)
    download: bool

    @property
    def wanted(self) -> dict[str, int]:
        """Number of images asked for, by role."""
        return {role: getattr(self, role) for role in ROLES}

    def raw_path(self, root: Path) -> Path:
        """Where the raw data lie; raises DataError when ``raw`` is null."""
        if self.raw is None:
            raise DataError(f"raw = null: the source {self.source!r} needs the path of a folder or an archive")
        return root / self.raw


@dataclass(frozen=True)
class Settings:
    """The section ``data``, which all data sets share."""

    crop_min: int = bounded(8)
    crop_max: int = bounded(8)
    crop_min_std: float = bounded(0, 127)
    resize: str = bounded(choices=FILTERS)


@dataclass(frozen=True)
class Rejected:
    """A file that was left out, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Images uint8 (N, H, W, C), labels int64 (N,) into ``classes``, split uint8 (N,) into ``ROLES``.

    ``kept`` counts the readable images before the roles were drawn, so it is at least N.
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    classes: tuple[str, ...]
    kept: int
    rejected: list[Rejected] = field(default_factory=list)

    def role(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, H, W, C) and labels (n,) of one role; raises ValueError for an unknown role.

        The order is a fixed shuffle with the classes taking turns, so the first few images already hold all classes.
        """
        if name not in ROLES:
            raise ValueError(f"role = {name!r}: choose one of {', '.join(ROLES)}")
        mine = np.flatnonzero(self.split == ROLES.index(name))
        # by class; the fixed seed makes every stage see the same order
        mine = np.random.default_rng(0).permutation(mine)
        mine = mine[np.argsort(self.labels[mine], kind="stable")]
        count = np.bincount(self.labels[mine])
        turn = np.arange(len(mine)) - np.repeat(np.cumsum(count) - count, count)
        mine = mine[np.argsort(turn, kind="stable")]
        return self.images[mine], self.labels[mine]

    def class_counts(self) -> dict[str, dict[str, int]]:
        """Number of images by role and class."""
        table = np.zeros((len(ROLES), len(self.classes)), int)
        np.add.at(table, (self.split, self.labels), 1)
        return {
            role: dict(zip(self.classes, row.tolist(), strict=True)) for role, row in zip(ROLES, table, strict=True)
        }

    def duplicates(self) -> dict[str, int]:
        """Auxiliary images whose pixels occur in another role too, and test images that occur in train."""
        digests = np.array([hashlib.blake2b(image, digest_size=16).digest() for image in self.images])
        role = {name: digests[self.split == code] for code, name in enumerate(ROLES)}
        target = np.concatenate([role["train"], role["validation"], role["test"]])
        return {
            "duplicates_auxiliary": int(np.isin(role["auxiliary"], target).sum()),
            "duplicates_test": int(np.isin(role["test"], role["train"]).sum()),
        }
