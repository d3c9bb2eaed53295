"""Points of sweeps: read as cells are, seed by seed, in a fixed order; numbers that are absent are no points."""

import pytest

from splitprobe.report import matched, sweeps
from splitprobe.report.results import collect
from splitprobe.report.scores import accuracy, strongest

SIGMA, STAGES = "defense.gaussian_noise.sigma", ("target", "generator", "mle")


def test_without_a_sweep_there_is_no_point(repository):
    assert sweeps.points(repository.paths) == []
    repository.paths.promise("sweep", "cnn/gaussian_noise")  # a scale that leaves the sweeps out
    assert sweeps.points(repository.paths) == []
    assert repository.paths.swept("cnn/gaussian_noise").is_dir()


def test_points_are_read_as_cells_are(repository):
    repository.point("cnn/gaussian_noise", SIGMA, 0.2, 0.76, 24.1)
    results = collect(repository.params(), repository.paths, "tradeoff", STAGES)
    (point,) = sweeps.points(repository.paths)
    assert (point.cell, point["knob"]) == ("cnn/gaussian_noise", {"key": SIGMA, "value": 0.2})
    assert (point.row, point.seed, point.seeds) == ("gaussian_noise", 0, (point,))
    assert strongest(point) == 24.1
    record = {"accuracy_percent": 76.0, "accuracy_change_points": pytest.approx(-1.5)}
    assert accuracy(results, point) == record


def test_points_are_in_the_order_of_their_values(repository):
    for value in (10.0, 2.0, 0.5):
        repository.point("cnn/gaussian_noise", SIGMA, value, 0.7, 20.0)
    repository.point("cnn/ae", "defense.ae.l1", 1e-5, 0.7, 20.0)
    found = [(point.cell, point["knob"]["value"]) for point in sweeps.points(repository.paths)]
    noise = "cnn/gaussian_noise"
    assert found == [("cnn/ae", 1e-5), (noise, 0.5), (noise, 2.0), (noise, 10.0)]


def test_a_point_of_several_seeds_is_their_mean(repository):
    for seed, percent, psnr in ((10, 0.74, 23.5), (2, 0.70, 24.5)):
        repository.point("cnn/gaussian_noise", SIGMA, 0.2, percent, psnr, seed)
    (point,) = sweeps.points(repository.paths)
    assert [run.seed for run in point.seeds] == [2, 10]
    assert (point["target"]["accuracy"], strongest(point)) == (pytest.approx(0.72), 24.0)
    assert strongest(point).sd == pytest.approx(0.5**0.5)
    assert point["knob"] == {"key": SIGMA, "value": 0.2}


def test_absent_numbers_are_no_points(repository):
    noise = "cnn/gaussian_noise"
    for value, percent, psnr in ((0.2, None, 24.0), (0.4, 0.7, None), (1.6, 0.5, 20.0)):
        repository.point(noise, SIGMA, value, percent, psnr)
    results = {r.cell: r for r in collect(repository.params(), repository.paths, "tradeoff", STAGES)}
    found = matched.swept(list(results.values()), results[noise], sweeps.points(repository.paths))
    assert found == {SIGMA: [(27.5, 20.0)]}
