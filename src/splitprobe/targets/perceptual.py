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
    if not torch.isfinite(x_hat).all():
        return math.nan
    total = torch.zeros((), dtype=torch.float64, device=x_hat.device)
    for parts in zip(images.split(QUERY), *(draw.split(QUERY) for draw in x_hat.split(len(images))), strict=True):
        seen = directions(judge, torch.cat([parts[0].float() / 255, *parts[1:]]))
        distances = [(maps[len(parts[0]) :] - maps[: len(parts[0])].repeat(len(parts) - 1, 1, 1, 1)) for maps in seen]
        total += sum(d.square().sum(1).mean((1, 2)).double().sum() for d in distances) / len(distances)
    return (total / len(x_hat)).item()
