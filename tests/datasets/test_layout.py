"""Which files are images of which class and half; the halves that are not known stop the run."""

import pytest

from splitprobe.datasets import DataError, load
from splitprobe.datasets.layout import find, half_of

TEST = (
    "test",
    "Test",
    "TESTING",
    "test_set",
    "Test Set",
    "testset",
    "test-images",
    "imgs_test",
    "cifar10_test",
    "eval",
)
TRAIN = ("train", "Train", "TRAINING", "train_set", "Training Set", "trainset", "traindata", "val", "Valid", "dev")
NEITHER = ("A", "contest", "latest", "trainer", "train_test", "images", "cat", "testament", "value", "")


@pytest.mark.parametrize("name", TEST)
def test_names_of_the_test_half(name):
    assert half_of(name) == "test"


@pytest.mark.parametrize("name", TRAIN)
def test_names_of_the_rest(name):
    assert half_of(name) == "train"


@pytest.mark.parametrize("name", NEITHER)
def test_names_of_no_half(name):
    assert half_of(name) == ""


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training/{}", "Testing/{}"), ("TRAIN/{}", "Test/{}"), ("train_set/{}", "test_set/{}"), ("val/{}", "test/{}"),
        ("set/Training/images/{}", "set/Test/images/{}"), ("a/train/{}", "b/test/{}"), ("{}/train", "{}/test"),
        ("set/{}/Training", "set/{}/Testing"), ("test/train/{}", "test/test/{}"),
    ],
)  # fmt: skip
def test_official_halves_by_any_name(tmp_path, make_tree, make_source, settings, rng, numbers, train, test):
    counts = {half.format(label): n for half, n in ((train, 7), (test, 3)) for label in ("cat", "dog")}
    make_tree(tmp_path / "raw", counts)
    dataset = load(make_source(), settings, rng, tmp_path)
    assert dataset.classes == ("cat", "dog") and dataset.kept == 20 and dataset.rejected == []
    assert min(numbers(dataset, "test")) >= 14
    assert max(n for role in ("train", "validation", "auxiliary") for n in numbers(dataset, role)) < 14
    assert dataset.role("test")[1].tolist() == [int(n >= 17) for n in numbers(dataset, "test")]


@pytest.mark.parametrize(
    "folders",
    [
        ("A/cat", "B/cat", "A/dog", "B/dog"), ("A/cat", "Test/cat", "Test/dog"), ("s/1/cat", "s/2/cat", "s/2/dog"),
        ("other/cat", "train/cat", "train/dog"), ("A/train/cat", "B/train/cat", "A/test/cat", "A/test/dog"),
    ],
)  # fmt: skip
def test_unknown_halves_stop_and_are_shown(tmp_path, make_tree, make_source, settings, rng, folders):
    make_tree(tmp_path / "raw", dict.fromkeys(folders, 9))
    first, second = (f for f in folders[:2])
    message = f"raw: the class 'cat' lies in {first} and in {second}.*: if these are halves, call them train and test"
    with pytest.raises(DataError, match=message):
        load(make_source(), settings, rng, tmp_path)


def test_a_choice_of_classes_that_lie_in_one_folder_each_is_read(tmp_path, make_tree, make_source, settings, rng):
    make_tree(tmp_path / "raw", {"A/cat": 9, "B/cat": 9, "A/dog": 9, "B/cow": 9})
    assert load(make_source(classes=("dog", "cow")), settings, rng, tmp_path).classes == ("cow", "dog")


def test_a_class_folder_without_any_image_name_is_reported():
    listed, rejected = find(["s/a/1.png", "s/b/1.png", "s/c/1.gif", "s/d/1", "s/readme.txt", "doc/x/notes.txt"])
    assert {i.label for i in listed} == {"a", "b"}
    assert [r.file for r in rejected] == ["s/c/1.gif", "s/d/1"]
    assert {r.reason.partition(" (")[0] for r in rejected} == {"not named as an image"}


def test_images_in_the_halves_themselves_are_in_no_class(tmp_path, make_tree, make_source, settings, rng):
    make_tree(tmp_path / "raw", {"train": 9, "test": 9})
    with pytest.raises(DataError, match=r"no class folder .* such as test/0\.png: in no class folder"):
        load(make_source(), settings, rng, tmp_path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("cat/1.gif", "cat/2.GIF", "dog/1.gif"), r"holds 3 \.gif"),
        (("cat/1", "dog/2"), "holds 2 without suffix"),
        (("cat/1.dcm", "dog/2.dcm", "dog/notes"), r"holds 2 \.dcm, 1 without suffix"),
        (("inner/set.zip",), r"holds 1 \.zip; unpack inner/set\.zip, an archive inside is not read"),
        (("a.tar.gz", "b.txt"), r"unpack a\.tar\.gz"),
        ((), "holds no file"),
    ],
)
def test_a_set_without_images_says_what_lies_there(tmp_path, make_source, settings, rng, files, said):
    (tmp_path / "raw").mkdir()
    for name in files:
        (tmp_path / "raw" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=rf"no class folder with a readable image \(\.png, \.jpg.*{said}"):
        load(make_source(), settings, rng, tmp_path)
