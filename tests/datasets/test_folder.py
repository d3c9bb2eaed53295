import os
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from splitprobe.datasets import DataError, archive, load
from splitprobe.datasets.archive import open_tree
from splitprobe.datasets.folder import SUFFIXES, find

PLAIN = {"COVID-19": 6, "Normal": 6, "Pneumonia-Viral (2)": 6}
HALVES = {"train/cat": 7, "train/dog": 7, "test/cat": 3, "test/dog": 3}


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent).as_posix())
    return path


def test_threads_read_an_archive_one_at_a_time(tmp_path, make_tree, monkeypatch):
    # zipfile of Python 3.12.3, for one, takes another thread's place in the file for its own: "overlapped entries"
    path, inside, read = zipped(make_tree(tmp_path / "set", PLAIN), tmp_path / "set.zip"), [], zipfile.ZipFile.read

    def alone(self, entry):
        inside.append(entry)
        time.sleep(0.002)  # long enough for the other threads to come
        assert inside == [entry]
        return read(self, inside.pop())

    monkeypatch.setattr(zipfile.ZipFile, "read", alone)
    with open_tree(path) as tree, ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(tree.read, tree.names))) == 18


def reasons(dataset):
    return {item.file: item.reason for item in dataset.rejected}


@pytest.mark.parametrize("wrapper", ["", "Curated X-Ray Dataset", "Curated X-Ray Dataset/Curated X-Ray Dataset"])
@pytest.mark.parametrize("archive", [False, True])
def test_class_folders_wherever_they_lie(tmp_path, make_tree, make_source, settings, rng, numbers, wrapper, archive):
    root = make_tree(tmp_path / "raw" / wrapper, PLAIN)
    raw = "raw" if not archive else zipped(root, tmp_path / "raw (copy).zip").name
    dataset = load(make_source(raw=raw), settings, rng, tmp_path)
    assert dataset.classes == ("COVID-19", "Normal", "Pneumonia-Viral (2)")
    assert dataset.kept == 18 and dataset.rejected == []
    assert [int((dataset.split == k).sum()) for k in range(4)] == [8, 2, 4, 2]
    assert len(set(numbers(dataset))) == 16
    assert dataset.labels.tolist() == [n // 6 for n in numbers(dataset)]
    assert dataset.images.shape == (16, 8, 8, 3) and dataset.images[..., 2].max() == 7


@pytest.mark.parametrize("wrapper", ["", "cifar"])
@pytest.mark.parametrize("archive", [False, True])
def test_official_halves(tmp_path, make_tree, make_source, settings, rng, numbers, wrapper, archive):
    root = make_tree(tmp_path / "raw" / wrapper, HALVES)
    raw = "raw" if not archive else zipped(root, tmp_path / "set.zip").name
    dataset = load(make_source(raw=raw), settings, rng, tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert set(numbers(dataset, "test")) <= set(range(14, 20))
    assert all(n < 14 for role in ("train", "validation", "auxiliary") for n in numbers(dataset, role))
    assert dataset.role("test")[1].tolist() == [int(n >= 17) for n in numbers(dataset, "test")]


def test_a_class_may_be_called_train(tmp_path, make_tree, make_source, settings, rng):
    make_tree(tmp_path / "raw", {"train": 8, "bus": 8})
    assert load(make_source(), settings, rng, tmp_path).classes == ("bus", "train")


def test_validation_folder_joins_train_and_strangers_are_reported():
    listed, rejected = find(["s/extra/a/1.png", "s/test/a/1.png", "s/train/a/1.png", "s/val/a/1.png"])
    assert [i.half for i in listed] == ["test", "train", "train"]
    assert [(r.file, r.reason) for r in rejected] == [("s/extra/a/1.png", "outside the train and test folders")]


def test_every_bad_file_is_found_in_one_pass(tmp_path, make_tree, make_source, settings, rng, numbered, encoded):
    root = make_tree(tmp_path / "raw", PLAIN)
    noise = encoded(rng.integers(0, 256, (32, 32, 3), np.uint8), "JPEG")
    (root / "Normal/zero (1).jpg").write_bytes(b"")
    (root / "Normal/page.jpg").write_bytes(b"<html>quota exceeded</html>")
    (root / "Normal/cut.jpg").write_bytes(noise[: len(noise) // 2])
    (root / "COVID-19/cut.png").write_bytes(numbered(9)[:50])
    (root / "COVID-19/notes.txt").write_text("read me")
    (root / "stray.png").write_bytes(numbered(9))
    (root / "Normal/deeper").mkdir()
    (root / "Normal/deeper/x.png").write_bytes(numbered(9))
    (root / "MANIFEST.csv").write_text("path,patient\nNormal/0.png,P\n")
    dataset = load(make_source(), settings, rng, tmp_path)
    found = reasons(dataset)
    assert dataset.kept == 18 and dataset.classes == tuple(PLAIN)
    assert found.pop("Normal/zero (1).jpg") == "zero bytes"
    assert found.pop("Normal/page.jpg").startswith("not an image, it begins with b'<html>")
    assert found.pop("Normal/cut.jpg").startswith("damaged: image file is truncated")
    assert found.pop("COVID-19/cut.png").startswith("damaged")
    assert found.pop("COVID-19/notes.txt").startswith("not named as an image")
    assert found.pop("stray.png").startswith("not in a class folder")
    assert found.pop("Normal/deeper/x.png").startswith("not in a class folder")
    assert not found


def test_hidden_system_and_empty_folders_are_no_classes(tmp_path, make_tree, make_source, settings, rng, numbered):
    root = make_tree(tmp_path / "raw", PLAIN)
    (root / "empty class").mkdir()
    for name in (".git/x.png", "__MACOSX/Normal/._0.png", "Normal/Thumbs.db", "Normal/.DS_Store", "Normal/._1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(numbered(0))
    dataset = load(make_source(), settings, rng, tmp_path)
    assert dataset.classes == tuple(PLAIN) and dataset.kept == 18 and dataset.rejected == []


def test_all_suffixes_in_any_case(tmp_path, make_source, settings, rng, encoded):
    kinds = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".pgm": "PPM"}
    for k, label in enumerate("ab"):
        (tmp_path / "raw" / label).mkdir(parents=True)
        for i, suffix in enumerate(SUFFIXES * 2):
            data = encoded(np.full((8, 8, 3), 90 * k, np.uint8), kinds.get(suffix, suffix[1:].upper()))
            (tmp_path / "raw" / label / f"{i}{suffix.upper() if i % 2 else suffix}").write_bytes(data)
    dataset = load(make_source(), settings, rng, tmp_path)
    assert dataset.kept == 36
    assert np.abs(dataset.images.mean((1, 2, 3)) - 90 * dataset.labels).max() <= 1


def test_seed_decides(tmp_path, make_tree, make_source, settings, numbers):
    make_tree(tmp_path / "raw", PLAIN)
    first, again, other = (
        load(make_source(), settings, np.random.default_rng(s), tmp_path) for s in (1, 1, 2)
    )  # fmt: skip
    assert numbers(first, "train") == numbers(again, "train")
    assert set(numbers(first, "train")) != set(numbers(other, "train"))


@pytest.mark.parametrize("column", ["patient", "Subject", "identity"])
@pytest.mark.parametrize("archive", [False, True])
def test_patients_stay_in_one_role(tmp_path, make_tree, make_source, settings, rng, numbers, column, archive):
    root = make_tree(tmp_path / "chest", {"a": 40, "b": 40})
    rows = [f"{label}/{i}.png,{label},P{i // 4}" for label in "ab" for i in range(40)]  # a patient has both classes
    (root / "MANIFEST.csv").write_text("\n".join([f"path,class,{column}", *rows]))
    raw = "chest" if not archive else zipped(root, tmp_path / "chest.zip").name
    source = make_source(raw=raw, train=30, validation=6, test=12, auxiliary=8)
    dataset = load(source, settings, rng, tmp_path)
    roles = [{n % 40 // 4 for n in numbers(dataset, role)} for role in ("train", "validation", "test", "auxiliary")]
    assert sum(map(len, roles)) == len(set.union(*roles))
    assert [int((dataset.split == k).sum()) for k in range(4)] == [30, 6, 12, 8]


def test_manifest_paths_from_the_top_and_a_manifest_that_matches_nothing(
    tmp_path, make_tree, make_source, settings, rng
):
    root = make_tree(tmp_path / "raw" / "chest", {"a": 10, "b": 10})
    same = "\n".join(f"chest/{label}/{i}.png,P" for label in "ab" for i in range(10))
    (root / "MANIFEST.csv").write_text("path,patient\n" + same)
    with pytest.raises(DataError, match="available 0"):  # all of one patient: only one role can have images
        load(make_source(), settings, rng, tmp_path)
    with pytest.raises(DataError, match="available 0"):  # the same when only the inner folder is given
        load(make_source(raw="raw/chest"), settings, rng, tmp_path)
    (root / "MANIFEST.csv").write_text("path,patient\nelsewhere/0.png,P\n")
    with pytest.raises(DataError, match="names a patient for none of the images"):
        load(make_source(), settings, rng, tmp_path)


def test_a_patient_of_both_halves_leaves_train_and_is_reported(
    tmp_path, make_tree, make_source, settings, rng, numbers
):
    root = make_tree(tmp_path / "raw", HALVES)
    (root / "manifest.csv").write_text("path,patient\ntrain/cat/0.png,P\ntest/dog/0.png,P\n")
    dataset = load(make_source(), settings, rng, tmp_path)
    assert reasons(dataset) == {"train/cat/0.png": "the manifest's patient is also in the test folder"}
    assert 0 not in numbers(dataset)


def test_missing_wrong_and_poor_sets_are_refused(tmp_path, make_tree, make_source, settings, rng):
    with pytest.raises(DataError, match=r"raw is missing: put a folder or a \.zip of class folders"):
        load(make_source(), settings, rng, tmp_path)
    with pytest.raises(DataError, match="raw = null"):
        load(make_source(raw=None), settings, rng, tmp_path)
    (tmp_path / "page.zip").write_text("<html>quota exceeded</html>")
    with pytest.raises(DataError, match=r"page\.zip is neither a folder nor a whole \.zip"):
        load(make_source(raw="page.zip"), settings, rng, tmp_path)
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="no class folder with a readable image"):
        load(make_source(), settings, rng, tmp_path)
    make_tree(tmp_path / "raw", {"cat": 30})
    with pytest.raises(DataError, match="only the class 'cat'"):
        load(make_source(), settings, rng, tmp_path)
    make_tree(tmp_path / "raw", {"dog": 30})
    with pytest.raises(DataError, match="raw: too few images: train asked 80, available 60"):
        load(make_source(train=80), settings, rng, tmp_path)
    (tmp_path / "raw/dog/bad.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"raw \(1 files rejected, such as dog/bad\.jpg: zero bytes\): too few images"):
        load(make_source(train=80), settings, rng, tmp_path)


def test_zip_names_that_point_outside_are_harmless(tmp_path, make_tree, make_source, settings, rng, numbered):
    root = make_tree(tmp_path / "in" / "set", PLAIN)
    path = zipped(root, tmp_path / "set.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../../evil.png", "/tmp/evil.png", "set/Normal/../../../evil.png"):
            archive.writestr(name, numbered(0))
        archive.writestr("set\\Normal\\windows.png", numbered(300))
    before = sorted(p for p in tmp_path.rglob("*"))
    dataset = load(make_source(raw="set.zip"), settings, rng, tmp_path)
    assert sorted(p for p in tmp_path.rglob("*")) == before
    assert dataset.kept == 19 and len(dataset.rejected) == 3
    assert {r.reason for r in dataset.rejected} == {"its name points outside the archive"}


def test_a_zip_bomb_is_rejected_unread(tmp_path, make_tree, make_source, settings, rng, monkeypatch):
    monkeypatch.setattr("splitprobe.datasets.archive.LARGEST", 100_000)
    path = zipped(make_tree(tmp_path / "in", PLAIN), tmp_path / "set.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/Normal/bomb.png", bytes(100_001))
    dataset = load(make_source(raw="set.zip"), settings, rng, tmp_path)
    assert dataset.kept == 18
    assert [(r.file, r.reason) for r in dataset.rejected] == [
        ("in/Normal/bomb.png", "cannot be read: 100001 bytes are too many for an image")
    ]


def test_a_damaged_member_of_a_zip_is_rejected_alone(tmp_path, make_tree, make_source, settings, rng):
    root = make_tree(tmp_path / "in", PLAIN)
    path = zipped(root, tmp_path / "set.zip")
    data = bytearray(path.read_bytes())
    at = data.index(b"in/Normal/0.png") + 40  # inside the stored PNG, so its checksum no longer fits
    data[at] ^= 255
    path.write_bytes(data)
    dataset = load(make_source(raw="set.zip"), settings, rng, tmp_path)
    assert dataset.kept == 17
    assert reasons(dataset)["in/Normal/0.png"].startswith("cannot be read: Bad CRC")


def test_a_link_to_a_parent_folder_ends(tmp_path, make_tree, make_source, settings, rng):
    root = make_tree(tmp_path / "raw", PLAIN)
    (root / "Normal" / "up").symlink_to(root)
    assert load(make_source(), settings, rng, tmp_path).kept == 18


@pytest.mark.parametrize("flagged", [False, True])
def test_zip_names_in_utf8_with_and_without_the_flag(tmp_path, make_source, settings, rng, numbered, flagged):
    """Python writes the flag with every name that is not ASCII; other tools do not."""
    names = {"caf\u00e9": "set/caf\u00e9", "\u732b": "./set/\u732b"}
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for folder in names.values():
            for i in range(9):
                file.writestr(f"{folder}/{i}.png", numbered(i))
    if not flagged:
        data = bytearray((tmp_path / "set.zip").read_bytes())
        for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # flags of a local and of a central entry
            place = -1
            while (place := data.find(magic, place + 1)) >= 0:
                data[place + at + 1] &= ~8
        (tmp_path / "set.zip").write_bytes(data)
    dataset = load(make_source(raw="set.zip"), settings, rng, tmp_path)
    assert dataset.classes == tuple(names) and dataset.kept == 18 and dataset.rejected == []


def test_zip_names_in_code_page_437_stay(tmp_path, numbered):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for name in ("caf\u00e9/0.png", "na\u00efve/0.png"):
            file.writestr(name, numbered(0))
    data = (tmp_path / "set.zip").read_bytes()
    for name in ("caf\u00e9", "na\u00efve"):
        data = data.replace(name.encode(), name.encode("cp437") + b"X")  # as long as before
    flags = bytearray(data)
    for magic, at in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        place = -1
        while (place := flags.find(magic, place + 1)) >= 0:
            flags[place + at] &= ~8
    (tmp_path / "set.zip").write_bytes(flags)
    with open_tree(tmp_path / "set.zip") as tree:
        assert tree.names == ["caf\u00e9X/0.png", "na\u00efveX/0.png"]
        assert tree.read(tree.names[0]) == numbered(0)


def test_dead_links_are_rejected_and_pipes_do_not_hang(tmp_path, make_tree, make_source, settings, rng):
    root = make_tree(tmp_path / "raw", PLAIN)
    (root / "Normal/dead.png").symlink_to("nowhere.png")
    (root / "Normal/self.png").symlink_to("self.png")
    (root / "Gone").symlink_to(tmp_path / "gone")
    (root / "Normal/zero.png").symlink_to("/dev/zero")
    os.mkfifo(root / "Normal/pipe.png")
    dataset = load(make_source(), settings, rng, tmp_path)
    assert dataset.kept == 18 and dataset.classes == tuple(PLAIN)
    assert reasons(dataset) == {
        "Gone": f"a link to {tmp_path / 'gone'}, which is not there",
        "Normal/dead.png": "a link to nowhere.png, which is not there",
        "Normal/self.png": "a link to self.png, which is not there",
        "Normal/zero.png": "cannot be read: no regular file",
        "Normal/pipe.png": "cannot be read: no regular file",
    }


def test_a_folder_that_cannot_be_opened_is_rejected(tmp_path, make_tree, make_source, settings, rng, monkeypatch):
    root = make_tree(tmp_path / "raw", {**PLAIN, "secret": 3})
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "secret":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    dataset = load(make_source(), settings, rng, tmp_path)
    assert reasons(dataset) == {"secret": "cannot be read: Permission denied"} and dataset.kept == 18
    assert root.is_dir()


def test_names_with_odd_bytes_and_line_ends_fit_into_a_line(tmp_path, make_tree, make_source, settings, rng, numbered):
    root = os.fsencode(make_tree(tmp_path / "raw", {"a": 9}))
    os.mkdir(root + b"/caf\xe9")
    for i in range(9):
        Path(os.fsdecode(root + b"/caf\xe9/%d.png" % i)).write_bytes(numbered(i))
    Path(os.fsdecode(root + b"/a/two\nlines\xff.png")).write_bytes(b"")
    dataset = load(make_source(), settings, rng, tmp_path)
    assert dataset.classes == ("a", r"caf\udce9") and dataset.kept == 18
    assert reasons(dataset) == {r"a/two\nlines\udcff.png": "zero bytes"}
    with pytest.raises(DataError, match=r"such as a/two\\nlines\\udcff\.png: zero bytes\): too few") as error:
        load(make_source(train=500), settings, rng, tmp_path)
    assert str(error.value).isascii() and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("zip_it", [False, True])
def test_a_file_of_any_size_is_not_unpacked(tmp_path, make_tree, make_source, settings, rng, monkeypatch, zip_it):
    monkeypatch.setattr(archive, "LARGEST", 1000)
    root = make_tree(tmp_path / "raw", PLAIN)
    (root / "Normal/bomb.png").write_bytes(bytes(1001))
    (root / "Normal/small.png").write_bytes(bytes(1000))
    raw = zipped(root, tmp_path / "set.zip").name if zip_it else "raw"
    found = {
        Path(name).name: reason for name, reason in reasons(load(make_source(raw=raw), settings, rng, tmp_path)).items()
    }
    assert found.pop("bomb.png") == "cannot be read: 1001 bytes are too many for an image"
    assert found.pop("small.png").startswith("not an image") and not found


def test_what_is_no_path_of_a_set(tmp_path, make_source, settings, rng, make_tree, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe is neither a folder nor a whole \.zip \(no regular file\)"):
        load(make_source(raw="pipe"), settings, rng, tmp_path)
    (tmp_path / "dead").symlink_to("gone")
    with pytest.raises(DataError, match="dead is a link to nowhere: put a folder"):
        load(make_source(raw="dead"), settings, rng, tmp_path)
    for raw, said in (("", "raw = '': the source"), ("x" * 5000, "is missing: put"), ("a\0b", "is missing: put")):
        with pytest.raises(DataError, match=said):
            load(make_source(raw=raw), settings, rng, tmp_path)
    make_tree(tmp_path / "home/set", {"a": 9, "b": 9})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load(make_source(raw="~/set"), settings, rng, tmp_path).kept == 18
