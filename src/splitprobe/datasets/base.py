"""What every data source gives: the Dataset it returns, the error it raises."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

ROLES = ("train", "validation", "test", "auxiliary")
NO_CLASS = -1  # label of an auxiliary image that is of no class of the target


class DataError(ValueError):
    """Data that are missing, unreadable or too few; the message says where, what is wrong and what to do."""


@dataclass(frozen=True)
class Rejected:
    """A file that was left out, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Images uint8 (N, H, W, C), labels int64 (N,) into ``classes``, split uint8 (N,) into ``ROLES``.

    ``kept`` counts the readable images before the roles were drawn, so it is at least N. Where the auxiliary images
    come from a source of their own, their labels are NO_CLASS and, until the set is written, ``auxiliary_classes``
    holds that source's classes.
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    classes: tuple[str, ...]
    kept: int
    rejected: list[Rejected] = field(default_factory=list)
    auxiliary_classes: tuple[str, ...] | None = None

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
        count = np.bincount(self.labels[mine] - NO_CLASS)
        turn = np.arange(len(mine)) - np.repeat(np.cumsum(count) - count, count)
        mine = mine[np.argsort(turn, kind="stable")]
        return self.images[mine], self.labels[mine]

    def class_counts(self) -> dict[str, dict[str, int]]:
        """Number of images by role and class; no entry for auxiliary images without a class."""
        table = np.zeros((len(ROLES), len(self.classes)), int)
        known = self.labels != NO_CLASS
        np.add.at(table, (self.split[known], self.labels[known]), 1)
        return {
            role: dict(zip(self.classes, row.tolist(), strict=True))
            for role, row in zip(ROLES, table, strict=True)
            if row.any()
        }

    def counts(self) -> dict[str, int]:
        """Number of images by role."""
        return dict(zip(ROLES, np.bincount(self.split, minlength=len(ROLES)).tolist(), strict=True))

    def duplicates(self) -> dict[str, int]:
        """Auxiliary images whose pixels occur in another role too, and test images that occur in train."""
        digests = np.array([hashlib.blake2b(image, digest_size=16).digest() for image in self.images])
        role = {name: digests[self.split == code] for code, name in enumerate(ROLES)}
        target = np.concatenate([role["train"], role["validation"], role["test"]])
        return {
            "duplicates_auxiliary": int(np.isin(role["auxiliary"], target).sum()),
            "duplicates_test": int(np.isin(role["test"], role["train"]).sum()),
        }
