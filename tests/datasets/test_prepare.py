import contextlib
import csv
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from splitprobe.core import artifacts
from splitprobe.core.artifacts import DamagedFile, read_json, read_npz, write_json, write_npz
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.core.registry import lookup
from splitprobe.datasets import DataError
from splitprobe.datasets.base import NO_CLASS, open_dataset
from splitprobe.datasets.prepare import prepare
from splitprobe.datasets.sections import SIDE, SIDE_OF_ALL
from splitprobe.models import MODELS

STAGE = Path(__file__).parents[2] / "stages" / "prepare.py"
PETS = {
    "source": "folder", "title": "Pets", "raw": "raw", "channels": 3, "side": 16,
    "train": 8, "validation": 2, "test": 4, "auxiliary": 6, "download": False, "min_mean": 0.0,
}  # fmt: skip
DATA = {"crop_min": 64, "crop_max": 128, "crop_min_std": 8, "resize": "bilinear"}


def tree(**changes):
    return {"scale": "demo", "seed": 5, "data": DATA, "scales": {"data": {"pets": {**PETS, **changes}}}}


@pytest.fixture
def paths(tmp_path):
    return Paths("demo", tmp_path)


@pytest.fixture
def pets(paths, make_tree):
    root = make_tree(paths.raw("pets") / "raw", {"cat": 10, "dog": 10})
    for i in range(7):
        (root / "cat" / f"bad{i}.jpg").write_bytes(b"")
    return root


def test_what_is_written_is_what_is_read_back(paths, pets, caplog):
    with caplog.at_level(logging.INFO, "splitprobe"):
        summary = prepare("pets", Params(tree()), paths)
    assert summary["counts"] == {"train": 8, "validation": 2, "test": 4, "auxiliary": 6}
    assert summary["class_counts"]["auxiliary"] == {"cat": 3, "dog": 3}
    assert summary["classes"] == ["cat", "dog"] and summary["kept"] == 20 and summary["rejected"] == 7
    assert (summary["channels"], summary["side"], summary["bytes"]) == (3, 16, 20 * 16 * 16 * 3)
    assert (summary["title"], summary["source"]) == ("Pets", "folder")
    assert summary["auxiliary_source"] is None and summary["auxiliary_classes"] is None
    assert (summary["provenance"]["scale"], summary["provenance"]["seed"]) == ("demo", 5)
    assert json.loads(paths.summary("pets").read_text()) == summary
    with open(paths.rejected("pets"), newline="") as stream:
        assert next(csv.reader(stream)) == ["file", "reason"]
    dataset, again = open_dataset(paths, "pets")
    assert again == summary and dataset.classes == ("cat", "dog") and dataset.kept == 20
    assert dataset.images.dtype == np.uint8 and dataset.labels.dtype == np.int64 and dataset.split.dtype == np.uint8
    assert (dataset.images[:, 0, 0, 0] // 10 == dataset.labels).all()
    assert [r.file for r in dataset.rejected] == [f"cat/bad{i}.jpg" for i in range(7)]
    assert "kept 20 images, rejected 7 files" in caplog.text and "and 2 more: see" in caplog.text
    assert "cat/bad4.jpg: zero bytes" in caplog.text and "bad5" not in caplog.text
    with pytest.raises(ValueError, match="role = 'holdout': choose one of train, validation"):
        dataset.role("holdout")


def test_identical_pixels_across_roles_are_counted_not_removed(paths, pets, caplog):
    for file in sorted(pets.rglob("?.png")):
        file.write_bytes((pets / "dog/0.png").read_bytes())
    summary = prepare("pets", Params(tree()), paths)
    assert summary["duplicates_auxiliary"] == 6 and summary["duplicates_test"] == 4 and summary["kept"] == 20
    assert "6 auxiliary images occur in another role, 4 test images in train; none removed" in caplog.text


def test_no_false_duplicates(paths, pets):
    summary = prepare("pets", Params(tree()), paths)
    assert summary["duplicates_auxiliary"] == 0 and summary["duplicates_test"] == 0


def test_an_absent_class_is_reported(paths, pets, caplog):
    prepare("pets", Params(tree(validation=1)), paths)
    assert "validation holds no image of" in caplog.text


def test_of_many_absent_classes_a_few_are_named(paths, make_tree, caplog):
    make_tree(paths.raw("pets") / "raw", {f"class{k:02}": 1 for k in range(40)})
    with caplog.at_level(logging.INFO, "splitprobe"):
        prepare("pets", Params(tree(train=20, validation=1, test=10, auxiliary=9)), paths)
    lines = [record.getMessage() for record in caplog.records]
    assert "40 classes: class00, class01, " in caplog.text and "class09 and 30 more" in caplog.text
    (absent,) = [line for line in lines if line.startswith("validation holds no image of")]
    assert absent.endswith(" and 34 more") and absent.count("class") == 5
    assert max(map(len, lines)) < 400


def test_names_that_are_no_utf8_are_written_and_read_back(paths, pets):
    for name in (b"bad\xe9.jpg", b"two\nlines.jpg"):
        Path(os.fsdecode(os.fsencode(pets / "dog") + b"/" + name)).write_bytes(b"")
    prepare("pets", Params(tree()), paths)
    dataset, _ = open_dataset(paths, "pets")
    assert [r.file for r in dataset.rejected][-2:] == [r"dog/bad\udce9.jpg", r"dog/two\nlines.jpg"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"side": 30}, r"pets: side = 30: the cnn needs a multiple of 16, resnet18 and vgg16 one of 32"),
        ({"side": 8}, r"pets: side = 8: the cnn needs a multiple of 16"),
        ({"classes": []}, r"pets\.classes = \[\]: at least 1 items are needed"),
        ({"auxiliary_source": "folder", "auxiliary_classes": []}, r"pets\.auxiliary_classes = \[\]: at least 1 items"),
        ({"source": "celeba", "auxiliary_classes": []}, r"pets\.auxiliary_classes = \[\]: at least 1 items"),
        ({"train": 1}, r"pets\.train = 1: must be at least 2"),
        ({"validation": 0}, r"pets\.validation = 0: must be at least 1"),
        ({"test": 3}, r"pets\.test = 3: must be at least 4"),
        ({"auxiliary": 1}, r"pets\.auxiliary = 1: must be at least 2"),
        ({"auxiliary": 10**15}, r"pets\.auxiliary = 10+: must be at most"),
        (
            {"source": "photos", "raw": None, "classes": ["rocket"]},
            r"pets: classes = \['rocket'\]: only rocket is left",
        ),
        ({"source": "photos"}, r"pets: raw = 'raw': the source 'photos' is embedded"),
    ],
)
def test_what_no_later_stage_can_use_is_refused_at_once(paths, pets, changes, said):
    with pytest.raises(ParamsError, match=rf"scales\.data\.{said}"):
        prepare("pets", Params(tree(**changes)), paths)
    assert not paths.prepared("pets").exists()


@pytest.mark.parametrize("side", [16, 48])
def test_a_side_for_the_cnn_alone_is_warned_of(paths, pets, caplog, side):
    prepare("pets", Params(tree(side=side)), paths)
    assert f"side = {side} fits the cnn alone: other networks need a multiple of 32" in caplog.text


def test_images_that_do_not_fit_into_memory_are_refused(paths, pets, monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError("Unable to allocate 9.31 GiB")

    monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(
        DataError, match=r"scales\.data\.pets: its images do not fit into memory \(Unable to allocate 9"
    ):
        prepare("pets", Params(tree()), paths)


@pytest.mark.parametrize("name", MODELS)
def test_sides_are_those_that_the_networks_take(name):
    """The numbers stand in sections.py because the networks import torch."""
    network = lookup(MODELS, name, "model")
    settings = {"cnn": (5, 0.5), "resnet18": (), "vgg16": (4, (0.3, 0.2))}[name]
    least = SIDE if name == "cnn" else SIDE_OF_ALL
    for side in range(8, 129, 8):
        fits = side % least == 0
        with contextlib.nullcontext() if fits else pytest.raises(ParamsError, match=f"side = {side}: "):
            network.blocks(network.Settings(*settings), 3, side, 4, 8)


def test_auxiliary_images_of_another_source(paths, pets, make_tree, caplog):
    make_tree(paths.raw("pets") / "others", {"DOG": 4, "bird": 4}, start=100)
    (paths.raw("pets") / "others/bird/bad.png").write_bytes(b"")
    other = {"auxiliary_source": "folder", "auxiliary_raw": "others"}
    with caplog.at_level(logging.INFO, "splitprobe"):
        summary = prepare("pets", Params(tree(**other)), paths)
    assert summary["counts"] == {"train": 8, "validation": 2, "test": 4, "auxiliary": 6}
    assert summary["classes"] == ["cat", "dog"] and list(summary["class_counts"]) == ["train", "validation", "test"]
    assert (summary["auxiliary_source"], summary["auxiliary_classes"]) == ("folder", ["DOG", "bird"])
    assert summary["shared_classes"] == 1
    assert "1 class names of the target occur in the auxiliary source too: dog; if the same people" in caplog.text
    assert "auxiliary holds no image of" not in caplog.text
    dataset, _ = open_dataset(paths, "pets")
    images, labels = dataset.role("auxiliary")
    assert images.min(initial=255) == 0 and (images[:, 0, 0, 0] >= 100).all() and set(labels) == {NO_CLASS}
    assert summary["kept"] == 28 and summary["rejected"] == 8
    assert dataset.rejected[-1].file == "others/bird/bad.png"


def test_nothing_is_written_when_the_auxiliary_set_is_missing(paths, pets):
    missing = r"scales\.data\.pets: of the auxiliary source: .*faces_att\.zip is missing: put AT&T's .*Olivetti"
    with pytest.raises(DataError, match=missing):
        prepare("pets", Params(tree(auxiliary_source="folder", auxiliary_raw="faces_att.zip")), paths)
    assert not paths.prepared("pets").exists()


def test_nothing_half_written_is_left(paths, pets, monkeypatch):
    with pytest.raises(DataError, match=r"scales\.data\.pets: .*train asked 500, available 20"):
        prepare("pets", Params(tree(train=500)), paths)
    assert not paths.prepared("pets").exists()

    def fail(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(artifacts, "write_json", fail)
    with pytest.raises(OSError, match="no space left"):
        prepare("pets", Params(tree()), paths)
    assert list(paths.prepared("pets").iterdir()) == []


def test_bad_params_and_unprepared_sets_are_named(paths):
    with pytest.raises(ParamsError, match=r"scales\.data\.birds: missing from params\.yaml; .* holds pets"):
        prepare("birds", Params(tree()), paths)
    with pytest.raises(ParamsError, match=r"scales\.data\.pets\.channels = 2: choose one of 1, 3"):
        prepare("pets", Params(tree(channels=2)), paths)
    with pytest.raises(DataError, match=r"summary\.json is missing: run `dvc repro prepare@pets` first"):
        open_dataset(paths, "pets")


DAMAGE = [
    ({"images": lambda x: x[:, :, :-1]}, r"images\.npz cannot be used: 'images' is uint8, "),
    ({"images": lambda x: x.astype(np.float32)}, r"images\.npz cannot be used: 'images' is float32"),
    ({"images": lambda x: x[:-1]}, r"images\.npz cannot be used: 'labels' is int64"),
    ({"labels": lambda x: x[:, None]}, r"images\.npz cannot be used: 'labels' is int64"),
    ({"labels": lambda x: x * 0.5}, r"images\.npz cannot be used: 'labels' is float64"),
    ({"labels": lambda x: x + 100}, r"images\.npz cannot be used: 'labels' has values outside -1 to \d+;"),
    ({"split": lambda x: x + 4}, r"images\.npz cannot be used: 'split' has values outside 0 to 3;"),
    ({"split": None}, r"images\.npz cannot be used: it has no 'split'"),
    ({"classes": lambda x: []}, r"summary\.json cannot be used: classes = \[\] are no names"),
    ({"classes": lambda x: "cats"}, r"summary\.json cannot be used: classes = 'cats' are no names"),
    ({"channels": None}, r"summary\.json cannot be used: it has no 'channels'"),
    ({"side": lambda x: x + 1}, r"images\.npz cannot be used: 'images' is uint8"),
]


@pytest.mark.parametrize(("changes", "message"), DAMAGE)
def test_damaged_files_of_a_data_set_are_named(paths, pets, changes, message):
    prepare("pets", Params(tree()), paths)
    arrays, summary = {**read_npz(paths.images("pets"))}, {**read_json(paths.summary("pets"))}
    for content in (arrays, summary):
        for name, change in changes.items():
            if name in content:
                content |= {name: change(content[name])} if change else {}
                if change is None:
                    del content[name]
    write_npz(paths.images("pets"), **arrays)
    write_json(paths.summary("pets"), summary)
    with pytest.raises(DamagedFile, match=message + r".*delete it and run `dvc repro prepare@pets`"):
        open_dataset(paths, "pets")


def test_a_damaged_list_of_rejected_files_is_named(paths, pets):
    prepare("pets", Params(tree()), paths)
    paths.rejected("pets").write_text("file,why\n")
    with pytest.raises(DamagedFile, match=r"rejected\.csv cannot be used: its columns are file, why, not file, reason"):
        open_dataset(paths, "pets")


def stage(folder, *arguments):
    command = [sys.executable, str(STAGE), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_what_dvc_does_not_watch_is_refused(paths, pets, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(pets, elsewhere / "raw")
    for raw in (str(elsewhere / "raw"), "../../elsewhere", "~"):
        with pytest.raises(DataError, match=r"scales\.data\.pets: .* lies outside of .*demo/pets, where DVC looks"):
            prepare("pets", Params(tree(raw=raw)), paths)
    (pets / "bird").symlink_to(elsewhere / "raw/cat")
    (paths.raw("pets") / "linked").symlink_to(elsewhere / "raw")
    for raw in ("raw", "linked", "linked/cat"):
        with pytest.raises(DataError, match=r"is a link to a folder, behind which DVC does not look.*cp -al"):
            prepare("pets", Params(tree(raw=raw)), paths)
    # links to files are followed by DVC, and so is the set's folder itself
    (pets / "bird").unlink()
    (pets / "cat/extra.png").symlink_to(elsewhere / "raw/cat/0.png")
    assert prepare("pets", Params(tree()), paths)["kept"] == 21
    shutil.rmtree(paths.raw("pets"))
    paths.raw("pets").symlink_to(elsewhere)
    assert prepare("pets", Params(tree()), paths)["kept"] == 20


def test_stage_script_ends_in_a_clean_line(tmp_path, pets):
    (tmp_path / "params.yaml").write_text("scale: demo\n")
    recipe = {"params": tree(), "cell": None, "seeds": [], "code": {}}
    artifacts.write_json(Paths("demo", tmp_path).recipe("prepare", "pets"), recipe)
    good, missing = stage(tmp_path, "pets"), stage(tmp_path, "birds")
    assert good.returncode == 0, good.stderr
    assert (tmp_path / "data/demo/prepared/pets/summary.json").is_file()
    assert missing.returncode == 1 and missing.stderr.startswith("error: data/demo/recipes/prepare/birds.json is")
    assert "Traceback (most" not in missing.stderr


def test_torch_is_not_imported():
    code = "import sys, splitprobe.datasets.prepare, splitprobe.datasets.cifar10; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
