import numpy as np
import pytest

from splitprobe.datasets.base import ROLES, DataError, Dataset
from splitprobe.datasets.split import UNUSED, draw

LABELS = np.repeat([0, 1, 2], [100, 60, 40])
ALONE = np.arange(200)


def drawn(source, labels=LABELS, groups=ALONE, test=None, seed=0):
    return draw(labels, groups, test, source, np.random.default_rng(seed))


def counts(split, labels, role):
    return np.bincount(labels[split == ROLES.index(role)], minlength=3).tolist()


def test_roles_are_exact_stratified_and_disjoint(make_source):
    split = drawn(make_source(train=100, validation=20, test=40, auxiliary=20))
    assert counts(split, LABELS, "train") == [50, 30, 20]
    assert counts(split, LABELS, "validation") == [10, 6, 4]
    assert counts(split, LABELS, "test") == [20, 12, 8]
    assert counts(split, LABELS, "auxiliary") == [10, 6, 4]
    assert (split == UNUSED).sum() == 20


def test_every_image_can_be_used(make_source):
    split = drawn(make_source(train=101, validation=33, test=47, auxiliary=19))
    assert np.bincount(split).tolist() == [101, 33, 47, 19]


def test_same_seed_same_roles_other_seed_other_roles(make_source):
    source = make_source(train=100, validation=20, test=40, auxiliary=20)
    assert (drawn(source, seed=3) == drawn(source, seed=3)).all()
    assert (drawn(source, seed=3) != drawn(source, seed=4)).mean() > 0.3


def test_official_halves_are_respected(make_source):
    test = np.arange(200) % 4 == 0
    split = drawn(make_source(train=90, validation=30, test=50, auxiliary=30), test=test)
    assert (split[test] == ROLES.index("test")).all() and (split[~test] != ROLES.index("test")).all()
    assert np.bincount(split).tolist() == [90, 30, 50, 30]


def test_groups_are_never_divided(make_source, rng):
    groups = rng.integers(0, 50, 200)  # 50 patients, some with images of two classes
    split = drawn(make_source(train=90, validation=20, test=30, auxiliary=20), groups=groups)
    for patient in np.unique(groups):
        assert len(set(split[groups == patient]) - {UNUSED}) <= 1
    assert [int((split == k).sum()) for k in range(4)] == [90, 20, 30, 20]
    assert np.abs(np.array(counts(split, LABELS, "train")) - [45, 27, 18]).max() <= 10


def test_shortage_states_asked_and_available_of_each_role(make_source):
    with pytest.raises(DataError, match="train asked 150, available 200, validation asked 40, available 50") as error:
        drawn(make_source(train=150, validation=40, test=30, auxiliary=20))
    assert "test asked 30, available 10, auxiliary asked 20, available 0" in str(error.value)
    test = np.arange(200) < 10
    with pytest.raises(DataError, match="too few images: test asked 30, available 10;"):
        drawn(make_source(train=50, validation=40, test=30, auxiliary=20), test=test)


def test_shortage_by_groups(make_source):
    source = make_source(train=100, validation=20, test=40, auxiliary=20)
    with pytest.raises(DataError, match="validation asked 20, available 0"):
        drawn(source, groups=np.zeros(200, int))


def test_the_first_images_of_a_role_hold_all_classes():
    labels = np.repeat([0, 1, 2], [10, 6, 2])  # as files are sorted: class after class
    images = np.arange(18, dtype=np.uint8).reshape(18, 1, 1, 1)
    dataset = Dataset(images, labels, np.full(18, 2, np.uint8), ("a", "b", "c"), 18)
    pixels, drawn_labels = dataset.role("test")
    assert drawn_labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0]
    numbers = pixels.ravel()
    assert (labels[numbers] == drawn_labels).all() and sorted(numbers) == list(range(18))
    assert numbers[drawn_labels == 0].tolist() != list(range(10))
    assert (dataset.role("test")[0] == pixels).all()


def test_many_classes_of_few_images_are_no_blocks_of_the_alphabet(make_source):
    labels = np.repeat(np.arange(300), 2)
    source = make_source(train=300, validation=50, test=150, auxiliary=100)
    split = draw(labels, np.arange(600), None, source, np.random.default_rng(0))
    for code, count in enumerate((300, 50, 150, 100)):
        classes = labels[split == code]
        assert len(classes) == len(set(classes)) == count  # no class twice
        assert abs(classes.mean() - 149.5) < 5 * 87 / np.sqrt(count)  # spread over all of 0 to 299
    again = draw(labels, np.arange(600), None, source, np.random.default_rng(0))
    assert (split == again).all()


def test_where_every_role_holds_all_classes_equal_ones_follow_by_name(make_source):
    """The first of three classes gets the odd image of train, the last the odd one of test."""
    labels = np.repeat([0, 1, 2], 20)
    source = make_source(train=31, validation=11, test=10, auxiliary=8)
    split = draw(labels, np.arange(60), None, source, np.random.default_rng(0))
    assert [counts(split, labels, role) for role in ROLES] == [[11, 10, 10], [3, 4, 4], [4, 3, 3], [2, 3, 3]]


def test_choosing_at_random_among_equals_leaves_later_draws_alone(make_source):
    labels = np.repeat(np.arange(30), 4)
    states = []
    for validation in (29, 30):  # the first cannot hold all classes
        rng = np.random.default_rng(0)
        draw(labels, np.arange(120), None, make_source(train=30, validation=validation, test=30, auxiliary=30), rng)
        states.append(rng.integers(1 << 60))
    assert states[0] == states[1]
