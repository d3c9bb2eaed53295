import numpy as np
import pytest

from splitprobe.core.params import ParamsError
from splitprobe.datasets import DataError, load
from splitprobe.datasets.auxiliary import shared_names
from splitprobe.datasets.base import NO_CLASS, Dataset

COUNTS = {"train": 8, "validation": 2, "test": 4, "auxiliary": 6}


@pytest.fixture
def faces(make_source, make_tree, tmp_path):
    """Images 0 to 17 of the target's people, 18 to 25 of the auxiliary ones."""
    make_tree(tmp_path / "target", {"ann": 9, "bo": 9})
    make_tree(tmp_path / "other", {"s1": 4, "s2": 4}, start=18)
    known = {"raw": "target", "auxiliary_source": "folder", "auxiliary_raw": "other", **COUNTS}
    return lambda **changes: make_source(**{**known, **changes})


def test_auxiliary_images_come_from_the_other_source_only(faces, settings, rng, tmp_path, numbers):
    dataset = load(faces(), settings, rng, tmp_path)
    assert dataset.classes == ("ann", "bo") and dataset.auxiliary_classes == ("s1", "s2")
    assert dataset.counts() == COUNTS and dataset.kept == 26
    assert min(numbers(dataset, "auxiliary")) >= 18
    assert all(n < 18 for role in ("train", "validation", "test") for n in numbers(dataset, role))
    assert set(dataset.role("auxiliary")[1]) == {NO_CLASS}
    assert dataset.labels.dtype == np.int64 and dataset.split.dtype == np.uint8
    assert "auxiliary" not in dataset.class_counts()
    assert dataset.duplicates() == {"duplicates_auxiliary": 0, "duplicates_test": 0}


def test_the_same_pixels_in_both_sources_are_counted(faces, settings, rng, tmp_path, make_tree):
    make_tree(tmp_path / "other", {"s1": 4, "s2": 4}, start=0)
    source = faces(train=12, auxiliary=8)
    assert load(source, settings, rng, tmp_path).duplicates()["duplicates_auxiliary"] == 8


def test_more_target_images_leave_the_auxiliary_ones_as_they_are(faces, settings, tmp_path, numbers):
    few, many = (load(faces(train=n), settings, np.random.default_rng(3), tmp_path) for n in (8, 10))
    assert numbers(few, "auxiliary") == numbers(many, "auxiliary")
    other = load(faces(), settings, np.random.default_rng(4), tmp_path)
    assert set(numbers(few, "auxiliary")) != set(numbers(other, "auxiliary"))


def test_people_of_one_source_are_never_in_both(faces, settings, rng, tmp_path, numbers):
    same = {"auxiliary_raw": "target", "classes": ("ann", "b*"), "train": 4, "auxiliary": 4}
    with pytest.raises(DataError, match=r"1 classes are both target and auxiliary \(bo\): name disjoint ones"):
        load(faces(**same, auxiliary_classes=("bo", "cy")), settings, rng, make(tmp_path))
    dataset = load(faces(**same, auxiliary_classes=("cy", "di")), settings, rng, tmp_path)
    assert dataset.auxiliary_classes == ("cy", "di") and min(numbers(dataset, "auxiliary")) >= 100


def make(root):
    """Two further people in the target's own folder, images 100 and more."""
    for k, person in enumerate(("cy", "di")):
        (root / "target" / person).mkdir()
        for i in range(4):
            pixels = np.full((8, 8, 3), (100 + 4 * k + i, 0, 7), np.uint8)
            (root / "target" / person / f"{i}.ppm").write_bytes(b"P6 8 8 255\n" + pixels.tobytes())
    return root


def test_an_official_test_half_still_gives_the_test_images(faces, settings, rng, tmp_path, make_tree, numbers):
    make_tree(tmp_path / "halves", {"train/ann": 6, "train/bo": 6, "test/ann": 3, "test/bo": 3})
    dataset = load(faces(raw="halves"), settings, rng, tmp_path)
    assert dataset.counts() == COUNTS and min(numbers(dataset, "test")) >= 12


def test_photographs_serve_as_target_and_others_as_auxiliary(make_source, settings, rng, tmp_path):
    known = {"source": "photos", "raw": None, "side": 16, "auxiliary_source": "photos", "classes": ("coffee", "rocket")}
    dataset = load(make_source(**known, auxiliary_classes=("chelsea", "retina"), **COUNTS), settings, rng, tmp_path)
    assert dataset.classes == ("coffee", "rocket") and dataset.auxiliary_classes == ("chelsea", "retina")
    assert dataset.counts() == COUNTS and dataset.images.shape == (20, 16, 16, 3)
    with pytest.raises(DataError, match=r"2 classes are both target and auxiliary \(coffee, rocket\)"):
        load(make_source(**known, auxiliary_classes=None, **COUNTS), settings, rng, tmp_path)
    with pytest.raises(DataError, match="classes: 'cofee' matches none of the 8 classes here"):
        load(make_source(**{**known, "classes": ("cofee",)}, **COUNTS), settings, rng, tmp_path)


def test_faults_of_the_auxiliary_source_are_told_apart(faces, settings, rng, tmp_path):
    with pytest.raises(DataError, match=r"of the auxiliary source: .*nowhere is missing"):
        load(faces(auxiliary_raw="nowhere"), settings, rng, tmp_path)
    with pytest.raises(DataError, match=r"of the auxiliary source: .*too few images: auxiliary asked 9, available 8"):
        load(faces(auxiliary=9), settings, rng, tmp_path)
    with pytest.raises(DataError, match="of the auxiliary source: raw = null: the source 'folder' needs the path"):
        load(faces(auxiliary_raw=None), settings, rng, tmp_path)
    with pytest.raises(ParamsError, match="auxiliary_source = 'celebs': choose one of photos"):
        load(faces(auxiliary_source="celebs"), settings, rng, tmp_path)


@pytest.mark.parametrize("key", ["auxiliary_raw", "auxiliary_classes", "auxiliary_exclude"])
def test_a_key_without_effect_is_refused(make_source, settings, rng, tmp_path, key):
    with pytest.raises(ParamsError, match=f"{key} = 'x': without effect, since auxiliary_source is null"):
        load(make_source(**{key: "x"}), settings, rng, tmp_path)


@pytest.mark.parametrize(
    ("source", "change", "message"),
    [
        ("photos", {"min_mean": 20.0}, r"min_mean = 20\.0: the source 'photos' cannot use it; set it to 0"),
        ("cifar10", {"classes": ("cat",)}, r"classes = \('cat',\): the source 'cifar10' cannot use it; set it to null"),
    ],
)
def test_what_a_source_cannot_do_is_refused(make_source, settings, rng, tmp_path, source, change, message):
    raw = None if source == "photos" else "raw"
    with pytest.raises(ParamsError, match=message):
        load(make_source(source=source, raw=raw, **change), settings, rng, tmp_path)


def test_names_are_compared_without_case_and_underscores():
    assert shared_names(("Ann_Lee", "Bo", "Cy"), ("ann  lee", "CY", "Di")) == ["Ann_Lee", "Cy"]
    assert shared_names(("Ann",), ()) == []


def test_images_without_a_class_keep_a_fixed_shuffle():
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    dataset = Dataset(images, np.full(12, NO_CLASS), np.full(12, 3, np.uint8), ("a", "b"), 12)
    pixels, labels = dataset.role("auxiliary")
    assert sorted(pixels.ravel()) == list(range(12)) and pixels.ravel().tolist() != list(range(12))
    assert (labels == NO_CLASS).all() and (dataset.role("auxiliary")[0] == pixels).all()
