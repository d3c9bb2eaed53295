import contextlib
import errno
import io
import json
import math
import os
import pickle
import resource
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from graph_tools import ROOT, read_yaml

from splitprobe.core import artifacts
from splitprobe.core.cells import Paths, writer
from splitprobe.core.params import Params, ParamsError


def test_json_is_strict_and_says_why_a_number_is_null(tmp_path):
    path = tmp_path / "deep" / "a.json"
    value = {"a": math.inf, "b": np.float32(0.5), "c": {"d": math.nan}, "e": [1, math.nan], "f": True}
    artifacts.write_json(path, value)
    text = path.read_text()
    assert "Infinity" not in text
    assert "NaN" not in text
    value = json.loads(text)
    assert value == {
        "a": None, "a_reason": "not finite (inf)", "b": 0.5, "c": {"d": None, "d_reason": "not finite (nan)"},
        "e": [1, None], "f": True,
    }  # fmt: skip


def test_nothing_half_written_is_left(tmp_path):
    path = tmp_path / "a.json"
    artifacts.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        artifacts.write_json(path, {"a": object()})
    with pytest.raises(RuntimeError), artifacts.atomic(path) as stream:
        stream.write("half")
        raise RuntimeError
    assert artifacts.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_csv_leaves_unknown_values_empty(tmp_path):
    path = tmp_path / "a.csv"
    artifacts.write_csv(path, [{"a": 1, "b": math.nan}, {"a": 2.5}], ["a", "b"])
    assert path.read_text() == "a,b\n1,\n2.5,\n"
    assert artifacts.read_csv(path) == [{"a": "1", "b": ""}, {"a": "2.5", "b": ""}]


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in "ab":
        artifacts.write_npz(tmp_path / name / "x.npz", x=np.arange(5))
        artifacts.write_checkpoint(tmp_path / name / "x.pt", {"w": torch.arange(3.0), "n": "text"})
    assert (tmp_path / "a/x.npz").read_bytes() == (tmp_path / "b/x.npz").read_bytes()
    assert (tmp_path / "a/x.pt").read_bytes() == (tmp_path / "b/x.pt").read_bytes()


# ---------------------------------------------------------------- damaged files

RESULT = "data/demo/results/cnn/ae/mle/1"


def archive(**members: bytes) -> bytes:
    """A .npz with these bytes as members."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as stream:
        for name, member in members.items():
            stream.writestr(f"{name}.npy", member)
    return content.getvalue()


def array(value: object, **how: object) -> bytes:
    """The bytes of a .npy."""
    content = io.BytesIO()
    np.save(content, value, **how)
    return content.getvalue()


def checkpoint(value: object) -> bytes:
    """The bytes of a .pt."""
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


WHOLE = archive(x=array(np.arange(100)))
DAMAGED = [
    (artifacts.read_json, b"", "Expecting value"),
    (artifacts.read_json, b'{"a": 1', "delimiter"),
    (artifacts.read_json, b"not what it should be", "Expecting value"),
    (artifacts.read_json, b'{"a": NaN}', "NaN, which is no number"),
    (artifacts.read_json, b'{"a": {"b": [Infinity]}}', "Infinity, which is no number"),
    (artifacts.read_json, b'{"a": -Infinity}', "-Infinity, which is no number"),
    (artifacts.read_json, b'{"a": 1e999}', "1e999, which is no number"),
    (artifacts.read_json, b"[1]", "a list, not an object"),
    (artifacts.read_json, b"null", "a NoneType, not an object"),
    (artifacts.read_json, b'{"a": "\xff"}', "can't decode"),
    (artifacts.read_json, b"9" * 5000, "5000 digits"),
    (artifacts.read_json, b"[" * 200_000, "recursion"),
    (artifacts.read_csv, b"", "it is empty"),
    (artifacts.read_csv, b"a,b\n1,2\n3\n", "row 2 has more or fewer fields"),
    (artifacts.read_csv, b"a,b\n1,2,3\n", "row 1 has more or fewer fields"),
    (artifacts.read_csv, b'a,b\n"1,2\n', "unexpected end of data"),
    (artifacts.read_csv, b"a,b\n\xff,2\n", "can't decode"),
    (lambda path: artifacts.read_csv(path, ("a", "c")), b"a,b\n1,2\n", "its columns are a, b, not a, c"),
    (artifacts.read_npz, b"", "No data left"),
    (artifacts.read_npz, b"not what it should be", "no archive of arrays"),
    (artifacts.read_npz, WHOLE[:-30], "zip"),
    (artifacts.read_npz, WHOLE.replace(bytes(array(np.arange(100))[-80:]), b"x" * 80), "CRC"),
    (artifacts.read_npz, array(np.arange(3)), "no archive of arrays"),
    (artifacts.read_npz, archive(x=array(np.array([{}]), allow_pickle=True)), "holds more than numbers"),
    (artifacts.read_npz, pickle.dumps({"x": 1}), "no archive of arrays"),
    (artifacts.read_checkpoint, b"", "no checkpoint"),
    (artifacts.read_checkpoint, b"not what it should be", "no checkpoint"),
    (artifacts.read_checkpoint, checkpoint({"a": torch.arange(100)})[:-30], "no checkpoint"),
    (artifacts.read_checkpoint, checkpoint({"a": print}), "holds more than tensors"),
    (artifacts.read_checkpoint, checkpoint([1]), "a list, not entries"),
]


@pytest.mark.parametrize(("read", "content", "why"), DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_named_in_one_line_with_the_way_out(tmp_path, read, content, why):
    path = tmp_path / RESULT
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(artifacts.DamagedFile) as caught:
        read(path)
    said = str(caught.value)
    assert said.startswith(f"{path} cannot be used: ") and "\n" not in said and len(said) < 600
    assert why in said
    assert said.endswith("; delete it and run `dvc repro run_mle@cnn/ae`")


@pytest.mark.parametrize(
    "read", [artifacts.read_json, artifacts.read_csv, artifacts.read_npz, artifacts.read_checkpoint]
)
def test_an_absent_file_and_a_folder_in_its_place_are_what_the_system_says(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="absent"):
        read(tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        read(tmp_path)


def test_what_a_file_lacks_is_named(tmp_path):
    for name in ("json", "npz", "pt"):
        (tmp_path / f"{RESULT}.{name}").parent.mkdir(parents=True, exist_ok=True)
    artifacts.write_json(tmp_path / f"{RESULT}.json", {"a": {"b": 1, "c": [{"d": 2}]}})
    artifacts.write_npz(tmp_path / f"{RESULT}.npz", x=np.arange(3))
    artifacts.write_checkpoint(tmp_path / f"{RESULT}.pt", {"edge": {}})
    record = artifacts.read_json(tmp_path / f"{RESULT}.json")
    assert record == {"a": {"b": 1, "c": [{"d": 2}]}} and record.get("z") is None and "z" not in record
    arrays = artifacts.read_npz(tmp_path / f"{RESULT}.npz")
    state = artifacts.read_checkpoint(tmp_path / f"{RESULT}.pt")
    for content, suffix in ((record, "json"), (record["a"], "json"), (record["a"]["c"][0], "json"), (arrays, "npz"),
                            (state, "pt")):  # fmt: skip
        with pytest.raises(artifacts.DamagedFile, match=rf"1\.{suffix} cannot be used: it has no 'z'; delete it"):
            content["z"]


def test_an_array_must_be_of_its_kind_and_shape(tmp_path):
    path = tmp_path / f"{RESULT}.npz"
    artifacts.write_npz(path, x=np.zeros((2, 4, 4, 3), np.uint8), y=np.float32(1))
    arrays = artifacts.read_npz(path)
    assert artifacts.checked(arrays, "x", np.uint8, None, 4, 4, 3) is arrays["x"]
    for name, kind, *shape in (
        ("x", np.floating, None, 4, 4, 3), ("x", np.uint8, None, 4, 4, 1), ("x", np.uint8, None, None), ("y", np.uint8),
    ):  # fmt: skip
        with pytest.raises(artifacts.DamagedFile, match=rf"1\.npz cannot be used: '{name}' is .* is needed"):
            artifacts.checked(arrays, name, kind, *shape)


def test_weights_that_are_not_finite_are_reported(tmp_path, caplog):
    """They are not refused: a network that diverged is a result."""
    for name, value in (("fine", 1.0), ("nan", math.nan), ("inf", math.inf)):
        path = tmp_path / "data/demo/targets/cnn" / name / "1.pt"
        artifacts.write_checkpoint(path, {"edge": {"0.weight": torch.tensor([0.0, value])}, "record": {"lr": 1.0}})
        artifacts.read_checkpoint(path)
    assert [record.args[0].parent.name for record in caplog.records] == ["nan", "inf"]
    assert "dvc repro train_target@cnn/nan" in caplog.text


def test_the_writer_of_every_artifact_is_known(tmp_path):
    own, cell = Paths("demo", tmp_path, 1), "cnn/ae"
    stages = {
        own.recipe("run_mle", cell): "write_recipes",
        own.images("objects"): "prepare@objects",
        own.summary("objects"): "prepare@objects",
        own.rejected("objects"): "prepare@objects",
        own.judge("objects"): "train_judge@objects",
        own.judge("objects").with_suffix(".json"): "train_judge@objects",
        own.target(cell): "train_target@cnn/ae",
        own.result(cell, "target.json"): "train_target@cnn/ae",
        own.curve(cell, "target"): "train_target@cnn/ae",
        own.decoders(cell): "train_generator@cnn/ae",
        own.result(cell, "generator.npz"): "train_generator@cnn/ae",
        own.curve(cell, "mle"): "run_mle@cnn/ae",
        own.result(cell, "information.json"): "train_mine@cnn/ae",
        own.point(cell, "loss.weight", 2.0): "sweep@ae",
        own.knowledge(cell): "measure_knowledge@cnn/ae",
        own.releases(cell): "measure_releases@cnn/ae",
        own.cost(cell): "measure_cost@cnn/ae",
        own.calibration: "calibrate_information",
        own.numbers("cnn"): "collect_numbers@cnn",
        tmp_path / "plots/demo/images/cnn.npz": "collect_numbers@cnn",
        tmp_path / "params.yaml": "",
    }
    assert {path: writer(path) for path in stages} == stages
    known = read_yaml(ROOT / "dvc.yaml")["stages"].keys()
    assert {stage.partition("@")[0] for stage in stages.values()} - {""} <= known
    assert "git restore" in artifacts.remedy(own.numbers("cnn")) and "delete" in artifacts.remedy(own.target(cell))


# ---------------------------------------------------------------- a full disk


@contextlib.contextmanager
def no_longer_files(size: int):
    """No file may be longer; the kernel refuses the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def full_disk(monkeypatch):
    """What is written goes to a device that is always full, so that the first write, or the last, fails."""
    opened = tempfile.NamedTemporaryFile

    def full(*place: object, **how: object):
        stream, device = opened(*place, **how), os.open("/dev/full", os.O_WRONLY)
        os.dup2(device, stream.fileno())
        os.close(device)
        return stream

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "NamedTemporaryFile", full)
        yield


WRITES = {
    "long JSON": lambda path: artifacts.write_json(path, {"a": ["text"] * 20_000}),
    "short JSON": lambda path: artifacts.write_json(path, {"a": "x" * 2000}),  # fits a buffer: closing fails
    "CSV": lambda path: artifacts.write_csv(path, [{"a": i} for i in range(20_000)], ["a"]),
    "arrays": lambda path: artifacts.write_npz(path, x=np.zeros(100_000), y=np.zeros(100_000)),
    "checkpoint": lambda path: artifacts.write_checkpoint(path, {"a": torch.zeros(100_000), "b": torch.zeros(9)}),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("how", ["full", "limit"])
def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path, monkeypatch, write, how):
    path = tmp_path / "result"
    path.write_text("before")
    with full_disk(monkeypatch) if how == "full" else no_longer_files(1000), pytest.raises(artifacts.DiskFull) as error:
        write(path)
    what = {"full": "the disk is full", "limit": "a file grew too large"}[how]
    assert str(error.value).startswith(f"{what}: there is no space for {path};") and "\n" not in str(error.value)
    assert path.read_text() == "before" and [*tmp_path.iterdir()] == [path]


def test_a_disk_without_room_for_a_name_is_full_too(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    with pytest.raises(artifacts.DiskFull, match="the disk is full: there is no space for"):
        artifacts.write_json(tmp_path / "a.json", {})


def test_another_error_while_writing_is_itself(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
        artifacts.write_json(tmp_path / "file" / "a.json", {})


# ---------------------------------------------------------------- what a file from a stranger can do


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "it ran")


def test_no_file_that_is_read_runs_code(tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "file"
    pickle.loads(pickle.dumps(Malice(trace)))
    assert trace.exists(), "it would run"
    trace.unlink()
    for read, content in (
        (artifacts.read_checkpoint, checkpoint({"a": Malice(trace)})),
        (artifacts.read_npz, archive(x=array(np.array([Malice(trace)], object), allow_pickle=True))),
        (artifacts.read_npz, pickle.dumps(Malice(trace))),
    ):
        path.write_bytes(content)
        with pytest.raises(artifacts.DamagedFile):
            read(path)
    path.write_text(f"!!python/object/apply:pathlib.Path.write_text [{trace}, it ran]")
    with pytest.raises(ParamsError, match="not valid YAML"):
        Params.load(path)
    assert not trace.exists()
