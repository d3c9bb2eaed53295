"""Drawing the four roles: stratified and disjoint.

A group (a patient, a person) is never divided between two roles.
"""

from collections.abc import Mapping

import numpy as np

from splitprobe.datasets.base import ROLES, DataError
from splitprobe.datasets.sections import Source

# the code of an image that no role takes
UNUSED = 255


def draw(
    labels: np.ndarray, groups: np.ndarray, official_test: np.ndarray | None, source: Source, rng: np.random.Generator
) -> np.ndarray:
    """A code into ROLES, or UNUSED, for each image: uint8 (N,).

    ``labels`` and ``groups`` are integers (N,). With ``official_test``, a mask (N,), test comes from where it is true
    and the other roles from the rest. Without it, all four come from everything. Each role holds the classes in the
    proportions of what it is drawn from, and exactly the number of images asked for.

    Raises DataError, stating asked and available, when a role would get fewer.
    """
    split = np.full(len(labels), UNUSED, np.uint8)
    wanted, everything = source.wanted, np.arange(len(labels))
    if official_test is None:
        pools = [(everything, wanted)]
    else:
        rest = {role: n for role, n in wanted.items() if role != "test"}
        pools = [(everything[~official_test], rest), (everything[official_test], {"test": wanted["test"]})]
    short = []
    for pool, roles in pools:
        smallest = min((count for count in roles.values() if count), default=0)
        order, group = _stratified_order(labels[pool], groups[pool], smallest, rng)
        short += _assign_roles(split, pool[order], group, roles)
    if short:
        raise DataError("too few images: " + ", ".join(short) + "; ask for fewer in params.yaml or add images")
    return split


def _stratified_order(
    labels: np.ndarray, groups: np.ndarray, smallest: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An order of the images in which every stretch holds the classes in proportion, and each image's group in it.

    A group is filed under the label of its first image. Within its class it takes a random place. Classes are then
    interleaved by the fraction of the class that lies before that place. Where the smallest role, of ``smallest``
    images, cannot hold all classes, those of equal fractions follow each other at random, else by name. The groups are
    numbered in the same order.
    """
    _, first, group, size = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(first))
    by_class = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    label, size = labels[first][by_class], size[by_class]
    total = np.bincount(label, size)
    before = np.cumsum(size) - size - (np.cumsum(total) - total)[label]
    ties = np.arange(len(first))
    if smallest < np.count_nonzero(total):  # by name, a small role would hold the first classes of the alphabet alone
        ties = rng.spawn(1)[0].permutation(ties)  # a generator of its own: what is drawn afterwards stays the same
    place = np.empty(len(first), np.int64)
    place[by_class[np.lexsort((ties, (before + size / 2) / total[label]))]] = np.arange(len(first))
    order = np.argsort(place[group], kind="stable")
    return order, place[group][order]


def _assign_roles(split: np.ndarray, images: np.ndarray, group: np.ndarray, roles: Mapping[str, int]) -> list[str]:
    """Give the ordered ``images`` to the roles in turn, by writing their codes into ``split``.

    ``group`` is the group of each image, ascending. Returns a text for every role when one of the roles comes out
    short, and an empty list otherwise.
    """
    start, counts, fits = 0, [], True
    for role, count in roles.items():
        if not count:  # its images come from another source
            continue
        available = max(0, len(images) - start)
        counts.append(f"{role} asked {count}, available {available}")
        fits = fits and count <= available
        split[images[start : start + count]] = ROLES.index(role)
        # what is left of the last group is used in no other role
        last = min(start + count, len(images)) - 1
        start = int(np.searchsorted(group, group[last], side="right")) if len(images) else 0
    return [] if fits else counts
