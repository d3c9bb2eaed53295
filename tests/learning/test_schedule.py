import math

import pytest
import torch
from torch import nn

from splitprobe.learning.schedule import Adam, Course, Rate, Schedule, UntilConverged, batches, renew_statistics


def test_an_epoch_shuffles_all_full_batches():
    generator = torch.Generator().manual_seed(0)
    parts = list(batches(10, 4, generator))
    assert [len(p) for p in parts] == [4, 4]
    assert len(set(torch.cat(parts).tolist())) == 8
    assert [len(p) for p in batches(3, 4, generator)] == [3]


def test_statistics_are_those_of_the_inputs():
    """Not of what was seen before, however much smaller the inputs are."""
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=0.1), nn.Dropout(0.5)).eval()
    x = 1e-3 * torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.5
    renew_statistics(net, net, x.split(16))
    assert torch.allclose(net[0].running_mean, x.mean((0, 2, 3)), atol=1e-6)
    variances = torch.stack([part.var((0, 2, 3)) for part in x.split(16)])
    assert torch.allclose(net[0].running_var, variances.mean(0), rtol=1e-4)
    assert net[0].momentum == 0.1 and not net[0].training and not net.training


def test_a_small_set_gets_more_epochs():
    schedule = Schedule(3, 1e-3, "cosine", 100)
    assert schedule.on(1000, 100) == Schedule(10, 1e-3, "cosine", 100)
    assert schedule.on(990, 100).epochs == 12  # nine full batches each
    assert schedule.on(5000, 100).epochs == 3
    assert schedule.on(50, 100).epochs == 100


def test_rates():
    def run(kind, losses, factor=0.5, patience=1):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
        settings = Adam(16, (0.5, 0.9), True, factor, patience, 1)
        rate, seen = Rate(optimizer, Schedule(len(losses), 1.0, kind, 0), settings), []
        for loss in losses:
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            rate.step(loss)
        return seen

    assert run("constant", [1, 1, 1]) == [1, 1, 1]
    assert run("cosine", [1, 1, 1, 1]) == pytest.approx([(1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])
    assert run("plateau", [1, 1, 1, 1, 0.5]) == [1, 1, 1, 0.5, 0.5]


def test_a_warm_up_rises_from_step_to_step_beneath_the_schedule():
    def run(kind, warmup, losses=(1, 1, 1, 1), steps=2):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
        course = Course(len(losses), 1.0, kind, 0, warmup)
        settings = Adam(16, (0.5, 0.9), True, 0.5, 1, 1)
        rate, seen = Rate(optimizer, course, settings, course.warmup_steps(steps * len(losses))), []
        for loss in losses:
            for _ in range(steps):
                rate.begin_step()
                seen.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
            rate.step(loss)
        return seen

    a, b, c, d = ((1 + math.cos(math.pi * i / 4)) / 2 for i in range(4))
    assert run("cosine", 0.0) == pytest.approx([a, a, b, b, c, c, d, d])
    assert run("cosine", 3.0) == pytest.approx([1 / 3, 2 / 3, b, b, c, c, d, d])
    assert run("cosine", 0.5) == pytest.approx([1 / 4, 2 / 4, 3 / 4 * b, b, c, c, d, d])  # half of eight steps
    assert run("constant", 1.0) == [1] * 8
    assert run("constant", 16.0) == pytest.approx([i / 16 for i in range(1, 9)])
    # a plateau within the warm-up lowers the rate that it rises to
    assert run("plateau", 8.0) == pytest.approx([1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 16, 8 / 16])


def converged(errors, epochs, patience, cooldown):
    """The schedule after an epoch for each error until it ends, and the rates of these epochs, of 1 at first."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    rate, rates = UntilConverged(optimizer, epochs, patience, cooldown), []
    for error in errors:
        rates.append(optimizer.param_groups[0]["lr"])
        rate.step(error)
        if rate.done:
            break
    return rate, rates


def test_training_ends_where_the_held_out_error_has_stopped_falling():
    """The least error is that of epoch 6; patience ends 3 epochs later, and a quarter of 12 epochs is the way down."""
    errors = [9, 8, 7, 8, 7, 5, 6, 5, 6, *[7] * 91]
    rate, rates = converged(errors, 100, 3, 0.25)
    assert (rate.best, rate.lowest, rate.still_falling) == (6, 5, False)
    assert rates == pytest.approx([1.0] * 9 + [5 / 6, 3 / 6, 1 / 6])


def test_training_that_never_stops_improving_ends_at_the_bound_and_says_so():
    rate, rates = converged([100 - i for i in range(100)], 10, 3, 0.4)
    assert rate.still_falling
    assert rates == pytest.approx([1.0] * 6 + [7 / 8, 5 / 8, 3 / 8, 1 / 8])
    assert [len(converged([3, 2, 1], epochs, 3, 0.3)[1]) for epochs in (1, 2, 3)] == [1, 2, 3]


def test_training_that_stops_just_before_the_bound_comes_down_within_it():
    rate, rates = converged([5, 4, 3, 3, 3, 3, 3, 3], 7, 3, 0.1)
    assert not rate.still_falling
    assert rates == pytest.approx([1.0] * 6 + [0.5])
    rate, rates = converged([math.nan] * 100, 50, 3, 0.5)  # never a lowest one
    assert (rate.best, rate.still_falling, len(rates)) == (0, False, 6)
