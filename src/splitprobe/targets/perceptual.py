"""How differently a judge sees x_hat and x: a distance in its features, beside the distances in pixels.

It is LPIPS (Zhang et al. 2018) without learned weights and in the data set's own judge, since nothing is downloaded:
behind each of the judge's blocks that gives maps, the channels at each place are scaled to length 1, and the squared
distances of these vectors are averaged over places, images and blocks. 0: identical; 2: vectors at right angles, the
most that maps without negative entries can have. A judge that has learned little sees little: it ranks attacks on one
data set and has no meaning across data sets or scales.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from splitprobe.learning.parts import all_finite
from splitprobe.models.layers import Block
from splitprobe.targets.target import QUERY, Target

LEAST = 1e-10  # length under which channels at a place are taken for dead, and have no direction


def directions(judge: Target, x: Tensor) -> Iterator[Tensor]:
    """Behind each block of the judge that gives maps, these for x (N, C, H, W) in [0, 1], at each place of length 1."""
    for block in (*judge.edge, *judge.cloud):
        x = block(x)
        if isinstance(block, Block):
            yield x / x.norm(dim=1, keepdim=True).clamp_min(LEAST)


@torch.no_grad()
def perceptual(judge: Target, images: Tensor, x_hat: Tensor) -> float:
    """Mean distance of x_hat (draws * N, C, H, W) in [0, 1], draw by draw, from N uint8 images.

    NaN where x_hat has a value that is not finite.
    """
    if not all_finite(x_hat):
        return math.nan
    total = torch.zeros((), dtype=torch.float64, device=x_hat.device)
    for parts in zip(images.split(QUERY), *(draw.split(QUERY) for draw in x_hat.split(len(images))), strict=True):
        sums = [*distances(judge, torch.cat([parts[0].float() / 255, *parts[1:]]), len(parts[0]))]
        total += sum(sums) / len(sums)
    return (total / len(x_hat)).item()


def distances(judge: Target, x: Tensor, originals: int) -> Iterator[Tensor]:
    """Behind each block that gives maps, the squared distances of images from their originals, summed over all.

    x (N, C, H, W) in [0, 1] begins with the originals, and goes on with their reconstructions, draw by draw.
    """
    draws = len(x) // originals - 1
    for maps in directions(judge, x):  # one at a time: the maps of all blocks would fill the memory
        away = maps[originals:] - maps[:originals].repeat(draws, 1, 1, 1)
        yield away.square_().sum(1).mean((1, 2)).double().sum()
