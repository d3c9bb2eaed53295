"""What every data source gives: the Dataset that it returns, and the error that it raises."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splitprobe.core import artifacts
from splitprobe.core.cells import Paths

ROLES = ("train", "validation", "test", "auxiliary")
NO_CLASS = -1  # label of an auxiliary image that is of no class of the target


class DataError(ValueError):
    """Data that are missing, unreadable or too few; the message says where, what is wrong and what to do."""


@dataclass(frozen=True)
class Rejected:
    """A file that was left out, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Images uint8 (N, H, W, C), labels int64 (N,) into ``classes``, split uint8 (N,) into ``ROLES``.

    ``kept`` counts the readable images before the roles were drawn, so it is at least N. Where the auxiliary images
    come from a source of their own, their labels are NO_CLASS. Until such a data set is written, ``auxiliary_classes``
    holds the classes of that source.
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    classes: tuple[str, ...]
    kept: int
    rejected: list[Rejected] = field(default_factory=list)
    auxiliary_classes: tuple[str, ...] | None = None

    def role(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, H, W, C) and labels (n,) of one role. Raises ValueError for an unknown role.

        The order is a fixed shuffle in which the classes take turns, so the first few images already hold all classes.
        """
        if name not in ROLES:
            raise ValueError(f"role = {name!r}: choose one of {', '.join(ROLES)}")
        chosen = np.flatnonzero(self.split == ROLES.index(name))
        # sort by class, then by turn; the fixed seed makes every stage see the same order
        chosen = np.random.default_rng(0).permutation(chosen)
        chosen = chosen[np.argsort(self.labels[chosen], kind="stable")]
        count = np.bincount(self.labels[chosen] - NO_CLASS)  # shifted: bincount takes no negative label
        turn = np.arange(len(chosen)) - np.repeat(np.cumsum(count) - count, count)
        chosen = chosen[np.argsort(turn, kind="stable")]
        return self.images[chosen], self.labels[chosen]

    def class_counts(self) -> dict[str, dict[str, int]]:
        """Number of images by role and class; auxiliary images without a class are not counted."""
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
        """Numbers of images whose pixels occur twice.

        Counted are auxiliary images that occur in another role too, and test images that occur in train.
        """
        # digests, because comparing all images pixel by pixel would take long
        digests = np.array([hashlib.blake2b(image, digest_size=16).digest() for image in self.images])
        by_role = {name: digests[self.split == code] for code, name in enumerate(ROLES)}
        target = np.concatenate([by_role["train"], by_role["validation"], by_role["test"]])
        return {
            "duplicates_auxiliary": int(np.isin(by_role["auxiliary"], target).sum()),
            "duplicates_test": int(np.isin(by_role["test"], by_role["train"]).sum()),
        }


def open_dataset(paths: Paths, name: str) -> tuple[Dataset, dict[str, Any]]:
    """The prepared data set and its summary.

    Raises DataError when it was not prepared, DamagedFile when one of its files is not what ``prepare`` wrote.
    """
    try:
        summary = artifacts.read_json(paths.summary(name))
        arrays = artifacts.read_npz(paths.images(name))
        rejected = [Rejected(**row) for row in artifacts.read_csv(paths.rejected(name), ("file", "reason"))]
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} is missing: run `dvc repro prepare@{name}` first") from None
    with artifacts.reading(paths.summary(name)):
        classes, side, channels, kept = (summary[key] for key in ("classes", "side", "channels", "kept"))
        if not (isinstance(classes, list) and classes and all(isinstance(label, str) for label in classes)):
            raise ValueError(f"classes = {classes!r} are no names")
    images = artifacts.checked(arrays, "images", np.uint8, None, side, side, channels)
    codes = [artifacts.checked(arrays, key, np.integer, len(images)) for key in ("labels", "split")]
    for key, code, low, high in zip(("labels", "split"), codes, (NO_CLASS, 0), (len(classes), len(ROLES)), strict=True):
        if not ((code >= low) & (code < high)).all():
            raise artifacts.damaged(paths.images(name), f"{key!r} has values outside {low} to {high - 1}")
    return Dataset(images, *codes, classes=tuple(classes), kept=kept, rejected=rejected), summary
