from types import SimpleNamespace

import pytest
import torch

from splitprobe.artifacts import read_json
from splitprobe.depth import measure_depth
from splitprobe.target import load_target


@pytest.fixture
def sweep(params, paths, cpu, make_target, judge) -> list:
    """All cuts of one network, probed."""
    make_target().save(paths.target("cnn/unprotected"))
    how = {"group": "depth_cnn", "dataset": "objects", "model": "cnn", "start": "targets/cnn/unprotected"}
    return measure_depth(SimpleNamespace(**how, cuts=4), params, paths, cpu)


def test_each_cut_is_probed_with_the_same_weights(sweep, paths, cpu):
    assert [cell.name for cell in sweep] == [f"depth_cnn/cut{cut}" for cut in (1, 2, 3, 4)]
    whole = load_target(paths.target("cnn/unprotected"), cpu)
    weights = {**whole.edge.state_dict(), **whole.cloud.state_dict()}
    records = [read_json(paths.result(cell.name, "target.json")) for cell in sweep]
    for cell, record in zip(sweep, records, strict=True):
        target = load_target(paths.target(cell.name), cpu)
        ours = {**target.edge.state_dict(), **target.cloud.state_dict()}
        assert ours.keys() == weights.keys() and all(torch.equal(ours[k], weights[k]) for k in ours)
        assert record["training"]["reused_from"] == "cnn/unprotected"
        for name in ("information", "generator", "mle"):
            assert read_json(paths.result(cell.name, f"{name}.json"))["cell"] == cell.name
    assert len({record["accuracy"] for record in records}) == 1
    # width 8: the side halves and the channels double at each block
    assert [record["z_shape"] for record in records] == [[8, 16, 16], [16, 8, 8], [32, 4, 4], [64, 2, 2]]
