"""BiDO (Peng and others, KDD 2022): every hidden feature should depend on x little and on y much.

L = CE + sum over hidden features j of [lambda_x d(x, z_j) - lambda_y d(z_j, y)]. ``nocco`` is the estimator that its
code runs under the name of HSIC: a normalized kernel correlation with a fixed bandwidth relative to the dimension. It
saturates on images: a shuffled x scores nearly what x scores (the curve has both), so the paper's weights (2; 20) push
mostly on kernel ranks. ``cka`` is the fair form: HSIC normalized to [0, 1], bandwidth at the median distance.
Expected: with ``nocco`` an unsteady training; with ``cka`` some decrease of what z says about x.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from splitprobe.defenses.base import Batch, Defense
from splitprobe.losses import pairwise_distances
from splitprobe.params import bounded


@dataclass(frozen=True)
class Settings:
    """The section ``defense.bido``."""

    lambda_x: float = bounded(0.0, 1000.0)
    lambda_y: float = bounded(0.0, 1000.0)
    estimator: str = bounded(choices=("nocco", "cka"))
    bandwidth: float | None = bounded(1e-6, 1e6)
    epsilon: float = bounded(1e-9, 1.0)
    features: str = bounded(choices=("all", "cut"))


def gaussian_kernel(points: Tensor, bandwidth: float | None) -> Tensor:
    """exp(-||a - b||^2 / (2 s^2)) for points (B, ...), as (B, B) in float64.

    s = ``bandwidth`` sqrt(D) as in BiDO's code; None takes the median distance, and 1 where all points coincide.
    """
    distances = pairwise_distances(points).double()
    if bandwidth is not None:
        return torch.exp(-distances.square() / (2 * bandwidth**2 * points[0].numel()))
    pairs = distances.detach()[~torch.eye(len(points), dtype=torch.bool, device=points.device)]
    median = pairs.median() if len(pairs) else pairs.new_tensor(0.0)
    scale = torch.where(median > 1e-4, median, 1.0)  # pairwise_distances puts 1e-5 between equal points
    return torch.exp(-(distances / scale).square() / 2)


def centered(kernel: Tensor) -> Tensor:
    """H K H with H = I - 11'/B."""
    return kernel - kernel.mean(0, keepdim=True) - kernel.mean(1, keepdim=True) + kernel.mean()


def regression(kernel: Tensor, epsilon: float) -> Tensor:
    """C (C + epsilon B I)^-1 with C = H K H, symmetric; the sum of a product of two of these is ``nocco``.

    It lies in [0, B - 1], is 0 for a constant, and equals the trace with the one-sided K H (K H + epsilon B I)^-1 of
    BiDO's code.
    """
    c, ridge = centered(kernel), epsilon * len(kernel)
    one = torch.eye(len(c), dtype=c.dtype, device=c.device)
    # _ex: a feature that diverged shall give NaN, which training notices, not an exception
    factor, _ = torch.linalg.cholesky_ex((c + c.T) / 2 + ridge * one)
    return one - ridge * torch.cholesky_inverse(factor)  # C (C + r)^-1 = I - r (C + r)^-1


def direction(kernel: Tensor) -> Tensor:
    """C / ||C|| with C = H K H; the sum of a product of two of these is ``cka``, in [0, 1], 0 for a constant.

    That is HSIC(a, b) / sqrt(HSIC(a, a) HSIC(b, b)).
    """
    c = centered(kernel)
    energy = c.square().sum()
    varies = energy > 1e-20
    # the denominator's where(): an unused 0/0 would still have a NaN gradient
    return varies * c / torch.where(varies, energy, 1.0).sqrt()


class Bido(Defense):
    """Kernel dependence of hidden features on x (lowered) and on y (raised)."""

    title = "BiDO"
    Settings = Settings

    def form(self, kernel: Tensor) -> Tensor:
        """What the estimator makes of a kernel, once for all its partners."""
        return direction(kernel) if self.settings.estimator == "cka" else regression(kernel, self.settings.epsilon)

    def kernel(self, points: Tensor) -> Tensor:
        """The Gaussian kernel of images or features in the estimator's form."""
        return self.form(gaussian_kernel(points, self.settings.bandwidth))

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """Both sums, weighted; the labels' kernel is linear on one-hot vectors, as in BiDO's code."""
        classes = F.one_hot(batch.y, batch.logits.shape[1]).double()
        hidden = batch.activations[:-1] if self.settings.features == "all" else (batch.z,)
        x, y, total = self.kernel(batch.x), self.form(classes @ classes.T), sum(self.kernel(h) for h in hidden)
        return {
            "dependence_x": (self.settings.lambda_x * (x * total).sum()).float(),
            "dependence_y": (-self.settings.lambda_y * (total * y).sum()).float(),
        }

    @torch.no_grad()
    def watch(self, batch: Batch) -> dict[str, Tensor]:
        """Dependence of z on x, and the same with the images shuffled: what an independent x would score."""
        x, z = self.kernel(batch.x), self.kernel(batch.z)
        shuffled = x.roll((1, 1), (0, 1))  # each z meets its neighbor's image; the batch's order is random
        return {"z_on_x": (x * z).sum(), "z_on_shuffled_x": (shuffled * z).sum()}
