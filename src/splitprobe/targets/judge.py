"""The judge: a classifier that says whether a reconstruction still shows the class of its original.

An image can differ from the original in every pixel and still give its class away, or be near to it and show nothing.
One judge serves all cells of a data set. It is no target: it has its own network and random numbers, is trained on the
original images (see judge_training) and never sees a reconstruction in training. Shares of recognized images are read
between chance and the judge's accuracy on the originals.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from splitprobe.core.cells import Paths
from splitprobe.core.runtime import Runtime
from splitprobe.learning.parts import all_finite, pixels
from splitprobe.targets.target import QUERY, Target, load_target


def load_judge(paths: Paths, dataset: str, runtime: Runtime) -> Target:
    """The judge of a data set, frozen; its edge and cloud are one network, and nothing is released between them.

    Raises FileNotFoundError or ValueError as :func:`load_target` does.
    """
    return load_target(paths.judge(dataset), runtime)


@torch.no_grad()
def recognized(judge: Target, x_hat: Tensor, labels: Tensor) -> float:
    """Share of x_hat (N, C, H, W), uint8 or floats in [0, 1], that the judge gives their labels (N,).

    NaN where x_hat has a value that is not finite, as the other scores of a diverged reconstruction.
    """
    if not all_finite(x_hat):
        return math.nan
    pairs = zip(x_hat.split(QUERY), labels.split(QUERY), strict=True)
    return torch.cat([judge.cloud(judge.edge(pixels(x))).argmax(1) == y for x, y in pairs]).double().mean().item()


def landmarks(judge: Target, x: Tensor, labels: Tensor) -> dict[str, float]:
    """What a share of recognized images is read against: the judge's accuracy on the originals x, and chance."""
    return {
        "accuracy_on_originals": recognized(judge, x, labels),
        "chance": 1 / judge.blueprint.shape.classes,
    }
