"""What a sweep tries: every value of every knob for every seed, and mistakes that are named before anything runs."""

import logging
import math
from dataclasses import replace

import pytest

from splitprobe.core.params import ParamsError
from splitprobe.core.recipe import Recipe
from splitprobe.probes.knobs import runs

SIGMA = "defense.gaussian_noise.sigma"


@pytest.fixture
def planned(params, make_cell):
    """The runs of a sweep with these seeds, and knobs in place of the row's own."""

    def plan(defense="gaussian_noise", knobs=None, seeds=(1,), **cell):
        params.tree["sweeps"][defense] = {SIGMA: [0.2, 1.6]} if knobs is None else knobs
        return runs(Recipe(params, make_cell(defense, **cell), seeds))

    return plan


def test_each_value_runs_with_each_seed_and_changes_one_number(planned, params):
    found = planned(seeds=(3, 1))
    assert [(run.value, run.params.seed, run.paths.seed) for run in found] == [
        *((0.2, 3, 3), (0.2, 1, 1), (1.6, 3, 3), (1.6, 1, 1)),
    ]
    assert {run.key for run in found} == {SIGMA}
    assert [run.params.raw(SIGMA) for run in found] == [0.2, 0.2, 1.6, 1.6]
    assert params.raw(SIGMA) == 0.8, "the params themselves stay as they are"
    tree = found[0].params.tree
    assert {**tree, "defense": {**tree["defense"], "gaussian_noise": {"sigma": 0.8}}} == params.tree


def test_knobs_are_turned_one_at_a_time_and_whole_numbers_stay_whole(planned):
    knobs = {"loss.lambda_dcor": [2, 8.0], "defense.siftfunnel.channels": [24.0]}
    both = [[run.params.raw(key) for key in knobs] for run in planned("siftfunnel", knobs)]
    assert both == [[2.0, 12], [8.0, 12], [0.8, 24]]
    assert type(both[2][1]) is int


def test_a_row_is_named_by_its_cell(params, make_cell):
    cell = replace(make_cell("bido"), name="cnn/bido_cka")
    (run,) = runs(
        Recipe(
            params.varied("variants.bido_cka").changed("sweeps.bido_cka", {"defense.bido.lambda_x": [1, 9]}), cell, (1,)
        )
    )
    assert (run.params.raw("defense.bido.lambda_x"), run.params.raw("defense.bido.estimator")) == (9.0, "cka")


def test_without_seeds_or_knobs_there_is_nothing_to_run(planned):
    assert planned(seeds=()) == []
    assert planned(knobs={}) == []


def test_mistakes_are_named_where_nothing_would_run_too(planned):
    with pytest.raises(ParamsError, match=r"defense\.noise\.sigma: missing from params\.yaml"):
        planned(knobs={"defense.noise.sigma": [1.0]}, seeds=())


def test_the_cells_own_setting_is_no_point_of_its_sweep(planned, caplog):
    caplog.set_level(logging.INFO)
    assert [run.value for run in planned(knobs={SIGMA: [0.4, 0.8]})] == [0.4]
    assert "cnn/gaussian_noise: defense.gaussian_noise.sigma = 0.8 is its own setting" in caplog.text


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ("all", r"sweeps\.gaussian_noise = 'all': keys with values are needed; \{\} tries nothing"),
        ([SIGMA], r"sweeps\.gaussian_noise = .*: keys with values"),
        ({SIGMA: "1, 2"}, r"sweeps\.gaussian_noise: defense\.gaussian_noise\.sigma = '1, 2': at least one number"),
        ({SIGMA: []}, r"sigma = \[\]: at least one number is needed"),
        ({SIGMA: ["x"]}, r"sigma = \['x'\]: at least one number"),
        ({SIGMA: [0.2, 0.2]}, r"sigma = .*: 0\.2 is listed twice"),
        ({SIGMA: [10**400]}, rf"{SIGMA} = 1000.*000: a finite number is needed"),
        ({SIGMA: [16**5000, 0]}, rf"{SIGMA} = a int too long to print: a finite number is needed"),
        ({SIGMA: [math.nan]}, rf"{SIGMA} = nan: a finite number is needed"),
        ({3: [1]}, "3: a setting of cnn/gaussian_noise's defense is needed, under"),
        ({"defense.gaussian_noise.sigmoid": [1]}, r"defense\.gaussian_noise\.sigmoid: missing"),
        ({"defense.gaussian_noise": [1]}, r"defense\.gaussian_noise: its value .* is no number"),
        ({"defense.siftfunnel.bias": [1]}, r"defense\.siftfunnel\.bias: its value True is no number"),
        ({"training.jitter": [0.1]}, r"training\.jitter: a setting of cnn/gaussian_noise's defense is needed, under"),
    ],
)
def test_a_sweep_that_cannot_be_run_is_refused(planned, knobs, message):
    with pytest.raises(ParamsError, match=message):
        planned(knobs=knobs)


def test_the_networks_that_a_cell_borrows_are_not_its_own_setting(planned):
    with pytest.raises(ParamsError, match=r"channels: a setting of cnn/nls's defense is needed"):
        planned("nls", {"defense.siftfunnel.channels": [24]}, architecture="siftfunnel")
