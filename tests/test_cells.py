"""Repetitions of a cell: which there are, and a group that is left out."""

import pytest

from splitprobe.cells import Paths, repetitions
from splitprobe.params import Params, ParamsError


def params(seeds) -> Params:
    return Params({"scale": "demo", "seed": 7, "scales": {"demo": {"seeds": {"cnn": seeds}}}})


def test_each_seed_is_a_repetition(tmp_path):
    found = list(repetitions("cnn", params([3, 1]), Paths("demo", tmp_path)))
    assert [(own.seed, place.seed) for own, place in found] == [(3, 3), (1, 1)]


def test_no_seed_leaves_a_group_out(tmp_path):
    paths = Paths("demo", tmp_path)
    assert list(repetitions("cnn", params([]), paths)) == []
    assert not paths.left_out("cnn/ae"), "before its stages ran, nobody knows"
    paths.promise("train_target", "cnn/ae")
    paths.promise("probe_target", "cnn/ae")
    assert paths.left_out("cnn/ae")
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if not any(p.iterdir())) == [
        "data/demo/results/cnn/ae", "data/demo/targets/cnn/ae",
        "plots/demo/curves/cnn/ae/probes", "plots/demo/curves/cnn/ae/target",
    ]  # fmt: skip
    paths.seeded(1).result("cnn/ae", "mle.json").parent.mkdir()
    assert not paths.left_out("cnn/ae")
    assert not paths.left_out("cnn/vib"), "its neighbor has results, so its own are missing"


def test_a_probe_that_was_broken_off_is_not_left_out(tmp_path):
    paths = Paths("demo", tmp_path)
    paths.promise("train_target", "cnn/ae")
    paths.promise("probe_target", "cnn/ae")
    paths.seeded(1).target("cnn/ae").touch()
    assert not paths.left_out("cnn/ae")


def test_the_cuts_of_a_network_are_left_out_together(tmp_path):
    paths = Paths("demo", tmp_path)
    paths.promise("measure_depth", "depth_cnn")
    assert paths.left_out("depth_cnn/cut1")
    assert paths.left_out("depth_cnn/cut4")


def test_what_is_measured_once_needs_a_repetition(tmp_path):
    paths = Paths("demo", tmp_path)
    with pytest.raises(ParamsError, match=r"cnn/ae has no target: scales\.demo\.seeds needs a seed for its group"):
        paths.first("cnn/ae")
    for seed in (12, 4):
        target = paths.seeded(seed).target("cnn/ae")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    assert paths.first("cnn/ae").seed == 4


@pytest.mark.parametrize("seeds", [1, None, [1, 1], "1"])
def test_seeds_are_a_list_of_distinct_numbers(tmp_path, seeds):
    with pytest.raises(ParamsError, match=r"scales\.demo\.seeds\.cnn = .*: a list of distinct seeds is needed"):
        list(repetitions("cnn", params(seeds), Paths("demo", tmp_path)))
