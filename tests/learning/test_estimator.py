import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from splitprobe.learning.estimator import Estimator, comparison


def squared_error(net, x, z):
    return F.mse_loss(net(z), x)


@pytest.fixture
def pairs():
    """x = 3 z + noise of deviation 0.1, in four batches of 64."""
    generator = torch.Generator().manual_seed(0)
    z, noise = torch.randn(2, 256, 1, generator=generator)
    return list(zip((3 * z + 0.1 * noise).split(64), z.split(64), strict=True))


def make():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Estimator(nn.Linear(1, 1), 0.02, 3, squared_error, squared_error)


def test_it_learns_the_regression_and_counts_its_steps(pairs):
    estimator = make()
    estimator.learn(lambda: pairs, 590, 5)
    assert estimator.steps == 600  # whole epochs of four batches, five steps on each
    assert estimator.net.weight.item() == pytest.approx(3, abs=0.05)
    assert estimator.mean_error(pairs) == pytest.approx(0.01, rel=0.3)
    assert not estimator.net.weight.requires_grad


def test_a_fit_reaches_neither_image_nor_feature(pairs):
    (x, z), *_ = pairs
    x, z = x.clone().requires_grad_(), z.clone().requires_grad_()
    estimator = make()
    before = estimator.error(estimator.net, x, z).item()
    last = estimator.follow(x, z).item()
    assert estimator.steps == 3
    assert estimator.error(estimator.net, x, z).item() < last < before
    assert x.grad is None and z.grad is None


def test_the_mean_error_weighs_images_alike():
    estimator = make()
    with torch.no_grad():
        estimator.net.weight.zero_(), estimator.net.bias.zero_()
    batches = [(torch.ones(3, 1), torch.zeros(3, 1)), (torch.full((1, 1), 3.0), torch.zeros(1, 1))]
    assert estimator.mean_error(batches) == (3 * 1 + 9) / 4


def test_a_fresh_one_starts_anew_and_leaves_the_other(pairs):
    estimator = make()
    estimator.learn(lambda: pairs, 600, 5)
    weight = estimator.net.weight.item()
    fresh = estimator.fresh()
    assert fresh.steps == 0
    assert abs(fresh.net.weight.item()) <= 1  # torch's own range for one input
    fresh.learn(lambda: pairs, 600, 5)
    assert estimator.net.weight.item() == weight
    assert fresh.mean_error(pairs) == pytest.approx(estimator.mean_error(pairs), rel=0.2)


@pytest.mark.parametrize(("error", "outrun"), [(0.011, False), (0.012, False), (0.013, True), (math.nan, True)])
def test_above_the_limit_the_edge_outran_it(error, outrun):
    record = comparison((make(), error), (make(), 0.01), 1.2000001)
    assert record["outrun"] is outrun
    assert record["ratio"] == pytest.approx(error / 0.01, nan_ok=True)
    assert ("ratio_reason" in record) is outrun
    if outrun:
        assert f"its error is {error / 0.01:.2f} times that of a fresh one" in record["ratio_reason"]
