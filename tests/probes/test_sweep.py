"""A sweep's points are what the cell itself would be with that value in params.yaml, to the last digit."""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from splitprobe.attacks.generator import train_generator
from splitprobe.attacks.optimized import run_mle
from splitprobe.core.artifacts import read_json, write_json
from splitprobe.core.params import Params, ParamsError
from splitprobe.core.recipe import Study
from splitprobe.probes.knobs import Run
from splitprobe.probes.sweep import run_sweep
from splitprobe.targets.training import train_target

ROOT, FRESH = Path(__file__).parents[2], "prepared/objects/summary.json"
CASES = {  # row: its defense, its variant, one of its knobs with a value, where it starts
    "nopeek": ("nopeek", "none", "defense.nopeek.weight", 10.0, FRESH),
    "bido_cka": ("bido", "bido_cka", "defense.bido.lambda_x", 10.0, FRESH),
    "gaussian_noise": ("gaussian_noise", "none", "defense.gaussian_noise.sigma", 1.6, "targets/cnn/unprotected"),
    "siftfunnel": ("siftfunnel", "none", "defense.siftfunnel.channels", 24, FRESH),
}


@pytest.mark.slow
@pytest.mark.parametrize("row", CASES)
def test_a_point_is_the_cell_with_this_value(row, params, paths, cpu, judge, prior, make_cell):
    defense, variant, key, value, start = CASES[row]
    cell, varied = replace(make_cell(defense, start=start), name=f"cnn/{row}"), params.varied(f"variants.{variant}")
    own = paths.seeded(2)
    if start.startswith("targets/"):
        train_target(make_cell(), params.seeded(2, "seed"), own, cpu)
    before = {path for path in paths.root.rglob("*") if path.is_file()}
    run_sweep(cell, [Run(key, value, varied.changed(key, value).seeded(2, "seed"), own)], cpu)
    (file,) = {path for path in paths.root.rglob("*") if path.is_file()} - before
    assert file == paths.data / "sweeps" / row / f"{key}={value:g}" / "2.json", "nothing else stays"

    set_by_hand = copy.deepcopy(varied.tree)
    section, method, name = key.split(".")
    set_by_hand[section][method][name] = value
    edited = Params(set_by_hand).seeded(2, "seed")
    train_target(cell, edited, own, cpu)
    for attack in (train_generator, run_mle):
        attack(cell.name, edited, own, cpu)
    stages = {name: read_json(own.result(cell.name, f"{name}.json")) for name in ("target", "generator", "mle")}
    assert read_json(file) == {"knob": {"key": key, "value": value}, **stages}
    assert file.stat().st_size < 30_000


@pytest.mark.slow
def test_another_value_is_another_network(params, paths, cpu, judge, make_cell):
    key = "defense.nopeek.weight"
    run_sweep(make_cell("nopeek"), [Run(key, value, params.changed(key, value), paths) for value in (3.0, 100.0)], cpu)
    low, high = (read_json(paths.point("cnn/nopeek", key, value)) for value in (3.0, 100.0))
    assert (low["target"]["settings"]["weight"], high["target"]["settings"]["weight"]) == (3.0, 100.0)
    scores = [point["generator"]["decoders"]["black_box"]["mse"] for point in (low, high)]
    assert scores[0] != scores[1]


def test_a_value_out_of_range_is_refused_before_anything_is_trained(params, paths, cpu, make_cell):
    key = "defense.gaussian_noise.sigma"
    found = [Run(key, value, params.changed(key, value), paths) for value in (0.2, -1.0)]
    with pytest.raises(ParamsError, match=r"defense\.gaussian_noise\.sigma = -1\.0: must be at least"):
        run_sweep(make_cell("gaussian_noise"), found, cpu)
    assert not (paths.data / "sweeps").exists()


@pytest.mark.parametrize(
    ("script", "key", "made"),
    [
        ("sweep", "vib", "sweeps/vib"),
        ("train_target", "cnn/vib", "targets/cnn/vib"),
        ("train_generator", "cnn/vib", "decoders/cnn/vib"),
        ("run_mle", "cnn/vib", "results/cnn/vib/mle"),
        ("train_mine", "cnn/vib", "results/cnn/vib/information"),
    ],
)
def test_what_is_left_out_makes_its_folder_and_never_loads_torch(tmp_path, script, key, made):
    study = Study(ROOT, "demo")
    study.params.tree["scales"]["repeats"] |= {"cnn": 0, "sweeps": 0}
    (tmp_path / "params.yaml").write_text("scale: demo\n")
    write_json(tmp_path / "data" / "demo" / "recipes" / script / f"{key}.json", study.recipe(script, key))
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['main'](sys.argv[2:]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(ROOT / "stages" / f"{script}.py"), key]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    assert not any((tmp_path / "data" / "demo" / made).iterdir())
