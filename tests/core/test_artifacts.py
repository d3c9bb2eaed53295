import json
import math

import numpy as np
import pytest
import torch

from splitprobe.core import artifacts


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


@pytest.mark.parametrize("reader", [artifacts.read_npz, artifacts.read_checkpoint, artifacts.read_json])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, reader):
    path = tmp_path / "damaged"
    path.write_bytes(b"not what it should be")
    with pytest.raises(ValueError, match=r"damaged.*dvc repro"):
        reader(path)
    with pytest.raises(FileNotFoundError):
        reader(tmp_path / "absent")


def test_a_checkpoint_runs_no_code(tmp_path):
    torch.save({"a": print}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="holds more than tensors"):
        artifacts.read_checkpoint(tmp_path / "x.pt")
