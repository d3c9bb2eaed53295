"""Terms of the training losses: distance and Pearson correlation, smoothed labels, Gaussian KL. All in float32.

Source: the paper's equations (12)-(15), unless a function says otherwise. Each is tested against a slow form that
follows its formula line by line.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from splitprobe.learning.parts import exactly

EPSILON = 1e-10  # under the root of a distance, as in the paper's code: keeps gradients of equal points finite
NEGLIGIBLE = 1e-10  # a distance variance below this share of the mean squared distance is rounding, not variance


def pairwise_distances(points: Tensor) -> Tensor:
    """Distances sqrt(||p_i - p_j||^2 + 1e-10) between points (B, ...), as (B, B).

    Memory is O(B^2 + B D), through the Gram matrix.
    """
    # float32 even where networks run in bfloat16, in which small distances would be lost
    with exactly(points):
        flat = points.flatten(1).float()
        flat = flat - flat.mean(0)  # distances stay the same; the Gram form loses fewer digits
        squares = flat.square().sum(1)
        distances = (squares[:, None] + squares[None, :] - 2 * flat @ flat.T).clamp_min(0)
        # rounding leaves the diagonal not quite 0
        distances = distances - torch.diag(distances.diagonal())
        return (distances + EPSILON).sqrt()


def _centered(distances: Tensor) -> Tensor:
    """Distances (B, B) less the means of their rows and columns, plus the total mean."""
    return distances - distances.mean(0, keepdim=True) - distances.mean(1, keepdim=True) + distances.mean()


def distance_correlation(x: Tensor, z: Tensor) -> Tensor:
    """Squared distance correlation of x (B, ...) and z (B, ...), a scalar in [0, 1]; equation (12).

    This is the biased V-statistic that the paper trains with: independent data score well above 0, the more so the
    smaller the batch. It is 0 where x or z does not vary (a batch of one, a dead feature), with finite gradients.
    """
    a, b = pairwise_distances(x), pairwise_distances(z)
    centered_a, centered_b = _centered(a), _centered(b)
    product = centered_a.square().mean() * centered_b.square().mean()
    varies = product > NEGLIGIBLE**2 * a.square().mean() * b.square().mean()
    # where() on the denominator, not on the ratio: the gradient of an unused 0/0 would still be NaN
    return varies * (centered_a * centered_b).mean() / torch.where(varies, product, 1.0).sqrt()


def pearson(z: Tensor) -> Tensor:
    """Mean squared correlation between the channels of z (B, c, h, w), a scalar; equation (13).

    As in the paper's code, the diagonal counts, covariances divide by N and deviations by N - 1. A channel that is
    constant over an image counts as uncorrelated in that image. A 1x1 map has no correlation and gives 0.
    """
    values = z.flatten(2).float()
    n = values.shape[2]
    if n < 2:
        return values.sum() * 0.0  # a zero with a gradient, as the caller's backward pass needs
    with exactly(z):
        values = values - values.mean(2, keepdim=True)
        covariance = values @ values.mT / n
        variance = covariance.diagonal(dim1=1, dim2=2) * n / (n - 1)
        varies = variance > 0
        deviation = torch.where(varies, variance, 1.0).sqrt() * varies
        correlation = covariance / (deviation[:, :, None] * deviation[:, None, :] + 1e-12)
        return correlation.square().mean()


def one_hot(y: Tensor, classes: int) -> Tensor:
    """1 for the true class and 0 for the others, (B, classes); torch's own looks at the labels first."""
    return (y[:, None] == torch.arange(classes, device=y.device)).float()


def smoothed_labels(y: Tensor, classes: int, smoothing: float) -> Tensor:
    """Targets (B, classes): 1 - smoothing for the true class, the rest shared equally; equation (14)."""
    targets = torch.full((len(y), classes), smoothing / (classes - 1), device=y.device)
    return targets.scatter_(1, y[:, None], 1 - smoothing)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum(targets log p), averaged over the batch; unlike torch's own, it counts negative targets."""
    return -(targets * F.log_softmax(logits.float(), 1)).sum(1).mean()


def kl_divergence(logits: Tensor, targets: Tensor) -> Tensor:
    """KL(targets || p), averaged over the batch; targets (B, classes) are probabilities, so none is negative."""
    return soft_cross_entropy(logits, targets) + torch.special.xlogy(targets, targets).sum(1).mean()


def gaussian_kl(mean: Tensor, deviation: Tensor) -> Tensor:
    """KL(N(mean, deviation^2) || N(0, 1)) in nats for each entry, for tensors of one shape."""
    mean, deviation = mean.float(), deviation.float()
    return (mean.square() + deviation.square() - 1) / 2 - deviation.log()
