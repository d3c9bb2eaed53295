"""BiDO (Peng and others, KDD 2022): every hidden feature should depend on x little and on y much.

L = CE + sum over hidden features j of [lambda_x d(x, z_j) - lambda_y d(z_j, y)], with one of two estimators of the
dependence d. ``nocco`` is the one that BiDO's code runs under the name of HSIC: a normalized kernel correlation with a
fixed bandwidth relative to the dimension. It saturates on images: a shuffled x scores nearly what the true x scores
(the training curve shows both numbers). The published weights (2; 20) therefore push mostly on kernel ranks. ``cka`` is
the fair form: HSIC normalized to [0, 1], with the bandwidth at the median distance.

A fixed bandwidth gives the scale of x a meaning. The SiftFunnel paper's x is normalized, as the network sees it, and
its weights belong to this: ``x_scale = normalized``. With ``unit``, x stays in [0, 1], where squared distances are some
25 times smaller and the kernel of x is nearly constant. With the median distance the scale of x hardly matters.

Expected: with ``nocco`` the training is unsteady; with ``cka`` z says somewhat less about x.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Defense, Site
from splitprobe.learning.losses import one_hot, pairwise_distances


@dataclass(frozen=True)
class Settings:
    """The section ``defense.bido``: weights, estimator and its constants, and which features count.

    ``bandwidth`` null means the median distance; ``features`` is "all" hidden ones or only z, at the "cut"; ``x_scale``
    is that of images in the kernel: "unit", in [0, 1], or "normalized", as the network sees them.
    """

    lambda_x: float = bounded(0.0, 1000.0)
    lambda_y: float = bounded(0.0, 1000.0)
    estimator: str = bounded(choices=("nocco", "cka"))
    bandwidth: float | None = bounded(1e-6, 1e6)
    epsilon: float = bounded(1e-9, 1.0)
    features: str = bounded(choices=("all", "cut"))
    x_scale: str = bounded(choices=("unit", "normalized"))


def gaussian_kernel(points: Tensor, bandwidth: float | None) -> Tensor:
    """The Gaussian kernel exp(-||a - b||^2 / (2 s^2)) of points (B, ...), as (B, B) in float64.

    s = ``bandwidth`` sqrt(D), as in BiDO's code. Where ``bandwidth`` is None, s is the median distance between two
    points, or 1 if all points coincide.
    """
    distances = pairwise_distances(points).double()
    if bandwidth is not None:
        return torch.exp(-distances.square() / (2 * bandwidth**2 * points[0].numel()))
    # detached: the bandwidth is a constant of the batch, through which no gradient flows
    median = off_diagonal(distances.detach()).median()  # NaN for a single point
    scale = torch.where(median > 1e-4, median, 1.0)  # pairwise_distances puts 1e-5 between equal points
    return torch.exp(-(distances / scale).square() / 2)


def off_diagonal(values: Tensor) -> Tensor:
    """All values (n, n) but those on the diagonal, (n^2 - n,), row by row; a mask would make Python wait for a GPU."""
    n = len(values)
    return values.flatten()[1:].view(n - 1, n + 1)[:, :n].flatten()


def centered(kernel: Tensor) -> Tensor:
    """The centered kernel H K H with H = I - 11'/B, for K (B, B)."""
    return kernel - kernel.mean(0, keepdim=True) - kernel.mean(1, keepdim=True) + kernel.mean()


def regression(kernel: Tensor, epsilon: float) -> Tensor:
    """The symmetric matrix C (C + epsilon B I)^-1 with C = H K H, for a kernel K (B, B).

    ``nocco`` of two kernels is the sum of the entrywise product of their matrices. It lies in [0, B - 1], is 0 for a
    constant, and equals the trace with the one-sided K H (K H + epsilon B I)^-1 of BiDO's code.
    """
    c, ridge = centered(kernel), epsilon * len(kernel)
    identity = torch.eye(len(c), dtype=c.dtype, device=c.device)
    # cholesky_ex does not raise: a feature that diverged gives NaN, which training notices
    # symmetrized, because rounding may leave C slightly asymmetric
    factor, _ = torch.linalg.cholesky_ex((c + c.T) / 2 + ridge * identity)
    return identity - ridge * torch.cholesky_inverse(factor)  # C (C + r I)^-1 = I - r (C + r I)^-1


def direction(kernel: Tensor) -> Tensor:
    """The matrix C / ||C|| with C = H K H, for a kernel K (B, B); 0 for a constant kernel.

    ``cka`` of two kernels a and b is the sum of the entrywise product of their matrices. It lies in [0, 1] and is
    HSIC(a, b) / sqrt(HSIC(a, a) HSIC(b, b)).
    """
    c = centered(kernel)
    energy = c.square().sum()
    varies = energy > 1e-20
    # where() on the denominator: the gradient of an unused 0/0 would still be NaN
    return varies * c / torch.where(varies, energy, 1.0).sqrt()


class Bido(Defense):
    """Lowers the kernel dependence of hidden features on x and raises that on y."""

    title = "BiDO"
    Settings = Settings

    def prepare(self, site: Site) -> None:
        """Note how the network normalizes images."""
        self.normalize = site.normalize

    def form(self, kernel: Tensor) -> Tensor:
        """The matrix (B, B) that the estimator makes of a kernel (B, B)."""
        return direction(kernel) if self.settings.estimator == "cka" else regression(kernel, self.settings.epsilon)

    def kernel(self, points: Tensor) -> Tensor:
        """The estimator's matrix (B, B) of the Gaussian kernel of points (B, ...)."""
        return self.form(gaussian_kernel(points, self.settings.bandwidth))

    def image_kernel(self, x: Tensor) -> Tensor:
        """The same of images x (B, C, H, W) in [0, 1], on the scale that the settings name."""
        return self.kernel(self.normalize(x) if self.settings.x_scale == "normalized" else x)

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted dependence of the hidden features on x and, negative, that on y; each summed over the features.

        The kernel of the labels is linear on one-hot vectors, as in BiDO's code.
        """
        classes = one_hot(batch.y, batch.logits.shape[1]).double()
        # the last activation is the logits, which is no hidden feature
        hidden = batch.activations[:-1] if self.settings.features == "all" else (batch.z,)
        # dependence is linear in the matrix of each feature, so their sum is compared once with x and once with y
        x, y, total = self.image_kernel(batch.x), self.form(classes @ classes.T), sum(self.kernel(h) for h in hidden)
        return {
            "dependence_x": (self.settings.lambda_x * (x * total).sum()).float(),
            "dependence_y": (-self.settings.lambda_y * (total * y).sum()).float(),
        }

    @torch.no_grad()
    def watch(self, batch: Batch) -> dict[str, Tensor]:
        """The dependence of z on x, and that on shuffled images, which is what an independent x would score."""
        x, z = self.image_kernel(batch.x), self.kernel(batch.z)
        shuffled = x.roll((1, 1), (0, 1))  # each z meets its neighbor's image; the batch's order is random
        return {"z_on_x": (x * z).sum(), "z_on_shuffled_x": (shuffled * z).sum()}
