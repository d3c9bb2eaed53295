"""What a sweep tries: every value of every knob for every seed, and mistakes that are named before anything runs."""

import logging
from dataclasses import replace

import pytest

from splitprobe.knobs import runs
from splitprobe.params import Params, ParamsError

SIGMA = {"key": "defense.gaussian_noise.sigma", "values": [0.2, 1.6]}


@pytest.fixture
def planned(params, paths, make_cell):
    """The runs of a sweep with these seeds, and knobs in place of the row's own."""

    def plan(defense="gaussian_noise", knobs=(SIGMA,), seeds=(1,), variant="none", name=""):
        cell = make_cell(defense, variant=variant)
        cell = replace(cell, name=name or cell.name, tune="loss" if defense == "siftfunnel" else cell.tune)
        params.tree["sweeps"][cell.name.partition("/")[2]] = list(knobs) if isinstance(knobs, tuple) else knobs
        params.tree["scales"]["demo"]["seeds"] |= {"cnn": [1, 2, 3], "sweeps": list(seeds)}
        return runs(cell, params, paths)

    return plan


def test_each_value_runs_with_each_seed_and_changes_one_number(planned, params):
    found = planned(seeds=(3, 1))
    assert [(run.value, run.params.seed, run.paths.seed) for run in found] == [
        *((0.2, 3, 3), (0.2, 1, 1), (1.6, 3, 3), (1.6, 1, 1)),
    ]
    assert {run.key for run in found} == {"defense.gaussian_noise.sigma"}
    assert [run.params.raw("defense.gaussian_noise.sigma") for run in found] == [0.2, 0.2, 1.6, 1.6]
    assert params.raw("defense.gaussian_noise.sigma") == 0.8, "the params themselves stay as they are"
    tree = found[0].params.tree
    assert {**tree, "defense": {**tree["defense"], "gaussian_noise": {"sigma": 0.8}}} == params.tree


def test_knobs_are_turned_one_at_a_time_and_whole_numbers_stay_whole(planned):
    knobs = ({"key": "loss.lambda_dcor", "values": [2, 8.0]}, {"key": "defense.siftfunnel.channels", "values": [24.0]})
    found = planned("siftfunnel", knobs)
    both = [[run.params.raw(knob["key"]) for knob in knobs] for run in found]
    assert both == [[2.0, 12], [8.0, 12], [0.8, 24]]
    assert type(both[2][1]) is int


def test_a_variants_own_value_is_the_one_that_is_changed(planned):
    knob = {"key": "variants.bido_cka.defense.bido.lambda_x", "values": [0.1]}
    (run,) = planned("bido", (knob,), variant="bido_cka", name="cnn/bido_cka")
    assert run.params.varied("variants.bido_cka").raw("defense.bido.lambda_x") == 0.1
    assert run.params.raw("defense.bido.lambda_x") == 2.0


def test_without_seeds_or_knobs_there_is_nothing_to_run(planned):
    assert planned(seeds=()) == []
    assert planned(knobs=()) == []


def test_mistakes_are_named_where_nothing_would_run_too(planned):
    with pytest.raises(ParamsError, match=r"defense\.noise\.sigma: missing from params\.yaml"):
        planned(knobs=({"key": "defense.noise.sigma", "values": [1.0]},), seeds=())


def test_the_cells_own_setting_is_no_point_of_its_sweep(planned, caplog):
    caplog.set_level(logging.INFO)
    found = planned(knobs=({"key": "defense.gaussian_noise.sigma", "values": [0.4, 0.8]},))
    assert [run.value for run in found] == [0.4]
    assert "cnn/gaussian_noise: defense.gaussian_noise.sigma = 0.8 is its own setting" in caplog.text


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ("all", r"sweeps\.gaussian_noise = 'all': a list of keys"),
        ([3], r"sweeps\.gaussian_noise\[0\] = 3: a section with the keys"),
        ([SIGMA, {**SIGMA, "unit": "dB"}], r"sweeps\.gaussian_noise\[1\]\.unit = 'dB': unknown key"),
        ([{"key": SIGMA["key"]}], r"sweeps\.gaussian_noise\[0\]\.values: missing"),
        ([{**SIGMA, "values": 3}], r"sweeps\.gaussian_noise\[0\]\.values = 3: a list"),
        ([{**SIGMA, "values": []}], r"sweeps\.gaussian_noise\[0\]\.values = \[\]: at least one value of defense\."),
        ([{**SIGMA, "values": ["x"]}], r"sweeps\.gaussian_noise\[0\]\.values\[0\] = 'x': float is needed"),
        ([{**SIGMA, "values": [0.2, 0.2]}], r"sweeps\.gaussian_noise\[0\]\.values: 0\.2 is listed twice for defense\."),
        ([SIGMA, SIGMA], r"sweeps\.gaussian_noise\[1\]\.values: 0\.2 is listed twice for defense\.gaussian_noise\."),
        ([{**SIGMA, "key": "defense.gaussian_noise.sigmoid"}], r"defense\.gaussian_noise\.sigmoid: missing"),
        (
            [{**SIGMA, "key": "defense.gaussian_noise"}],
            r"\[0\]\.key = 'defense\.gaussian_noise': its value .* no number",
        ),
        (
            [{**SIGMA, "key": "attack.mle.tuned.lr"}],
            r"\[0\]\.key = 'attack\.mle\.tuned\.lr': its value .* is no number",
        ),
        ([{**SIGMA, "key": "training.flip"}], r"\[0\]\.key = 'training\.flip': its value True is no number"),
        ([{**SIGMA, "key": "training.jitter"}], r"\[0\]\.key = 'training\.jitter': changes no setting of cnn/gaussian"),
        (
            [{**SIGMA, "key": "defense.dropout.rate"}],
            r"cnn/gaussian_noise, which come from defense\.gaussian_noise, var",
        ),
    ],
)
def test_a_sweep_that_cannot_be_run_is_refused(planned, knobs, message):
    with pytest.raises(ParamsError, match=message):
        planned(knobs=knobs)


def test_a_value_that_the_variant_sets_is_refused(planned):
    knob = {"key": "defense.bido.lambda_x", "values": [0.1]}
    with pytest.raises(ParamsError, match=r"sweeps\.bido_cka\[0\]\.key = .*: changes no setting of cnn/bido_cka"):
        planned("bido", (knob,), variant="bido_cka", name="cnn/bido_cka")


def test_seeds_must_be_those_of_the_unprotected_network(planned):
    message = r"scales\.demo\.seeds\.sweeps = \[1, 4\]: .* scales\.demo\.seeds\.cnn = \[1, 2, 3\] has no 4"
    with pytest.raises(ParamsError, match=message):
        planned(seeds=(1, 4))
    with pytest.raises(ParamsError, match=r"scales\.demo\.seeds\.sweeps = \[1, 1\]: a list of distinct seeds"):
        planned(seeds=(1, 1))


def test_what_is_read_is_recorded(planned, params: Params):
    params.read.clear()
    planned()
    group = {"scales.demo.seeds.cnn", "scales.demo.seeds.sweeps"}
    assert {"sweeps.gaussian_noise", "variants.none", "ablation.none"} | group == params.read
