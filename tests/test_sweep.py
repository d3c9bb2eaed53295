"""A sweep's points are what the cell itself would be with that value in params.yaml, to the last digit."""

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
from graph_tools import ROOT, set_key

from splitprobe.artifacts import read_json
from splitprobe.attacks.base import run_attacks
from splitprobe.knobs import Run, runs
from splitprobe.params import Params, ParamsError
from splitprobe.sweep import run_sweep
from splitprobe.training import train_target

CASES = {  # row: its defense, its variant, one of its knobs with a value, where it starts
    "nopeek": ("nopeek", "none", "defense.nopeek.weight", 10.0, "prepared/objects/summary.json"),
    "bido_cka": (
        *("bido", "bido_cka", "variants.bido_cka.defense.bido.lambda_x", 10.0, "prepared/objects/summary.json"),
    ),
    "gaussian_noise": ("gaussian_noise", "none", "defense.gaussian_noise.sigma", 1.6, "targets/cnn/unprotected"),
    "siftfunnel": ("siftfunnel", "none", "defense.siftfunnel.channels", 24, "prepared/objects/summary.json"),
}


@pytest.fixture
def cell(make_cell):
    """The cell of a row of CASES."""

    def make(row: str):
        defense, variant, _, _, start = CASES[row]
        found = replace(make_cell(defense, variant=variant, start=start), name=f"cnn/{row}")
        return replace(found, tune="loss") if defense == "siftfunnel" else found

    return make


def swept(row: str, params: Params) -> Params:
    """Params whose sweep of a row has the value of CASES alone, with seed 2."""
    _, _, key, value, _ = CASES[row]
    params.tree["sweeps"][row] = [{"key": key, "values": [value]}]
    params.tree["scales"]["demo"]["seeds"] |= {"cnn": [1, 2], "sweeps": [2]}
    return params


@pytest.mark.parametrize("row", CASES)
def test_a_point_is_the_cell_with_this_value(row, cell, params, paths, cpu, judge, make_cell):
    _, _, key, value, start = CASES[row]
    own = paths.seeded(2)
    if start.startswith("targets/"):
        train_target(make_cell(), params.seeded(2, "seed"), own, cpu)
    before = {path for path in paths.root.rglob("*") if path.is_file()}
    run_sweep(cell(row), runs(cell(row), swept(row, params), paths), cpu)
    (file,) = {path for path in paths.root.rglob("*") if path.is_file()} - before
    assert file == paths.data / "sweeps" / row / f"{key}={value:g}" / "2.json", "nothing else stays"

    set_by_hand = copy.deepcopy(params.tree)
    set_key(set_by_hand, key, value)
    edited = Params(set_by_hand).seeded(2, "seed")
    train_target(cell(row), edited, own, cpu)
    run_attacks(cell(row).name, edited, own, cpu)
    stages = {name: read_json(own.result(f"cnn/{row}", f"{name}.json")) for name in ("generator", "mle")}
    assert read_json(file) == {
        "knob": {"key": key, "value": value},
        "target": read_json(own.record(f"cnn/{row}")),
        **stages,
    }
    assert file.stat().st_size < 30_000


def test_another_value_is_another_network(cell, params, paths, cpu, judge):
    for value in (3.0, 100.0):
        found = Run("defense.nopeek.weight", value, params.changed("defense.nopeek.weight", value), paths)
        run_sweep(cell("nopeek"), [found], cpu)
    low, high = (read_json(paths.point("cnn/nopeek", "defense.nopeek.weight", value)) for value in (3.0, 100.0))
    assert (low["target"]["settings"]["weight"], high["target"]["settings"]["weight"]) == (3.0, 100.0)
    scores = [point["generator"]["decoders"]["black_box"]["mse"] for point in (low, high)]
    assert scores[0] != scores[1]


def test_a_value_out_of_range_is_refused_before_anything_is_trained(cell, params, paths, cpu):
    key = "defense.gaussian_noise.sigma"
    found = [Run(key, value, params.changed(key, value), paths) for value in (0.2, -1.0)]
    with pytest.raises(ParamsError, match=r"defense\.gaussian_noise\.sigma = -1\.0: must be at least"):
        run_sweep(cell("gaussian_noise"), found, cpu)
    assert not (paths.data / "sweeps").exists()


def test_a_scale_without_sweeps_makes_the_folder_and_never_loads_torch(tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    place = (
        "--group cnn --dataset objects --model cnn --cut 2 --architecture unprotected --variant none --ablation none"
    )
    line = f"cnn/vib {place} --defense vib --tune defense.vib --start prepared/objects/summary.json"
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['main'](sys.argv[2:]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(ROOT / "stages" / "sweep.py"), *line.split()]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}/stages:{ROOT}/src"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    folder = tmp_path / "data" / "demo" / "sweeps" / "vib"
    assert folder.is_dir() and not any(folder.iterdir())
