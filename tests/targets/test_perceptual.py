"""The perceptual distance: by hand on a judge of two blocks, and its order on a real one."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from splitprobe.models.layers import Block
from splitprobe.targets.perceptual import perceptual
from splitprobe.targets.target import QUERY


class Colors(nn.Module):
    """Two channels: x and 1 - x."""

    def forward(self, x):
        return torch.cat([x, 1 - x], 1)


def judge(*after: nn.Module) -> SimpleNamespace:
    """A judge with a first block that gives Colors, and further blocks in its cloud."""
    return SimpleNamespace(edge=nn.Sequential(nn.Identity(), Block(1, 2, 1, Colors())), cloud=nn.Sequential(*after))


def plain(value: float, number: int = 1) -> torch.Tensor:
    return torch.full((number, 1, 8, 8), value)


def as_bytes(x: torch.Tensor) -> torch.Tensor:
    return (x * 255).to(torch.uint8)


def test_directions_by_hand():
    """Black is (0, 1) and white (1, 0), at right angles: 2. Half gray is 45 degrees from both: 2 - sqrt(2)."""
    black, white = as_bytes(plain(0.0)), as_bytes(plain(1.0))
    assert perceptual(judge(), black, plain(1.0)) == pytest.approx(2)
    assert perceptual(judge(), black, plain(0.5)) == pytest.approx(2 - math.sqrt(2))
    assert perceptual(judge(), black, plain(0.0)) == perceptual(judge(), white, plain(1.0)) == 0
    half = plain(0.0)
    half[..., :4] = 1.0
    assert perceptual(judge(), black, half) == pytest.approx(1), "a mean over places"
    # a second block, whose one channel is alive everywhere and so agrees everywhere: half of the mean
    alive = Block(2, 1, 1, nn.Conv2d(2, 1, 1))
    nn.init.constant_(alive[0].weight, 1.0)
    nn.init.constant_(alive[0].bias, 1.0)
    assert perceptual(judge(alive), black, plain(1.0)) == pytest.approx(1)
    # what is no block is passed through and not counted, such as the head
    assert perceptual(judge(nn.Flatten()), black, plain(1.0)) == pytest.approx(2)


def test_a_dead_block_has_no_direction():
    dead = Block(2, 1, 1, nn.Conv2d(2, 1, 1))
    nn.init.zeros_(dead[0].weight)
    nn.init.zeros_(dead[0].bias)
    assert perceptual(judge(dead), as_bytes(plain(0.0)), plain(1.0)) == pytest.approx(1)


def test_it_is_a_mean_over_draws_and_images():
    images = as_bytes(torch.cat([plain(0.0, QUERY), plain(1.0, 20)]))
    same = images.float() / 255
    assert perceptual(judge(), images, torch.cat([same, same])) == 0
    assert perceptual(judge(), images, torch.cat([same, 1 - same])) == pytest.approx(1)
    only = same.clone()
    only[QUERY:] = 0.0
    assert perceptual(judge(), images, only) == pytest.approx(2 * 20 / len(images))
    only[3, 0, 0, 0] = math.nan
    assert math.isnan(perceptual(judge(), images, only))


def test_its_order_on_a_real_judge(make_target):
    """Symmetric, and larger for a blurred image than for faint noise; the judge is untrained, as random features do."""
    real, draws = make_target(model="resnet18", cut=1), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=draws)
    x = images.float() / 255
    noise = (x + 0.002 * torch.randn(x.shape, generator=draws)).clamp(0, 1)
    blurred = nn.functional.avg_pool2d(x, 5, 1, padding=2, count_include_pad=False)
    assert perceptual(real, images, x) == 0
    assert 0 < perceptual(real, images, noise) < 0.1 * perceptual(real, images, blurred) < 0.2
    other = as_bytes(blurred)
    there, back = perceptual(real, images, other.float() / 255), perceptual(real, other, x)
    assert there == pytest.approx(back, rel=1e-5)
