"""How close x_hat is to x: MSE, PSNR and SSIM per image, the paper's variants of them, and whether x is nearest.

x and x_hat are (N, C, H, W) in [0, 1], uint8 or float. All sums run in float64, in chunks, so that the numbers do not
depend on how the images are batched. SSIM follows scikit-image's defaults, which the tests use as the reference: a
uniform 7x7 window, N - 1 covariance, K1 = .01, K2 = .03, and a border of 3 pixels left out.
"""

import math

import torch
from torch import Tensor

from splitprobe.learning.parts import all_finite

WINDOW = 7
PAPER_BATCH = 32  # the paper's PSNR and SSIM are means over batches of this size
CHUNK = 64  # images at once: few enough for the processor's cache
SCORES = ("mse", "psnr_db", "psnr_db_std", "ssim", "ssim_std", "mse_paper", "psnr_db_paper", "ssim_paper")


def unit(images: Tensor) -> Tensor:
    """Images (N, C, H, W), uint8 or float in [0, 1], as float64 in [0, 1].

    Raises ValueError for another range, another number of dimensions, or no image.
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images of shape {tuple(images.shape)}: (N, C, H, W) with at least one image is needed")
    if images.dtype == torch.uint8:
        return images.double().div_(255)
    values = images.double()
    low, high = values.min().item(), values.max().item()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"image values from {low:.3g} to {high:.3g}: [0, 1] (or uint8) is needed; scale or clamp them")
    return values


def mse(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean squared error per element, one number per image: (N,)."""
    return _in_chunks(lambda a, b: (a - b).square().mean((1, 2, 3)), x, x_hat, CHUNK)


def psnr(squared_error: Tensor) -> Tensor:
    """PSNR in decibels of mean squared errors, for a peak of 1; infinite for an exact copy."""
    return -10 * squared_error.log10()


def ssim(x: Tensor, x_hat: Tensor) -> Tensor:
    """Structural similarity, one number per image: (N,). The image must be at least 7x7."""
    return _in_chunks(lambda a, b: _ssim_map(a, b, 2).mean((1, 2, 3)), x, x_hat, CHUNK)


def ssim_in_training(x: Tensor, x_hat: Tensor) -> Tensor:
    """As :func:`ssim`, (N,), for losses: in the images' own precision, whose range is not checked."""
    return _ssim_map(x, x_hat, 2).mean((1, 2, 3))


def ssim_paper(x: Tensor, x_hat: Tensor) -> Tensor:
    """The paper's SSIM, one number per batch of 32: the window slides over the batch axis too, as if it were space.

    It rises with the similarity of neighbors in the batch and depends on their order. A last batch below 7 is left out.
    For comparison with the printed tables only.
    """

    def volumes(a: Tensor, b: Tensor) -> Tensor:
        if len(a) < WINDOW:
            return a.new_empty(0)
        a, b = (t.transpose(0, 1).contiguous() for t in (a, b))  # (C, N, H, W)
        return _ssim_map(a, b, 3).mean()[None]

    return _in_chunks(volumes, x, x_hat, PAPER_BATCH)


def scores(x: Tensor, x_hat: Tensor) -> dict[str, float]:
    """All measures of a set of images, by name, with their deviation over images.

    ``psnr_db`` is the mean of the images' decibels, not the decibels of the mean error. A measure that is not defined
    is NaN or infinite. If any value of x_hat is not finite, all are NaN.
    """
    if not all_finite(x_hat):
        return dict.fromkeys(SCORES, math.nan)
    error = mse(x, x_hat)
    decibels, similarity = psnr(error), ssim(x, x_hat)
    batches = torch.stack([batch.mean() for batch in error.split(PAPER_BATCH)])
    return {
        "mse": error.mean().item(),
        "psnr_db": decibels.mean().item(),
        "psnr_db_std": _spread(decibels),
        "ssim": similarity.mean().item(),
        "ssim_std": _spread(similarity),
        "mse_paper": error.mean().item() * x.shape[1],
        "psnr_db_paper": psnr(batches).mean().item(),
        "ssim_paper": ssim_paper(x, x_hat).mean().item(),
    }


def identified(x: Tensor, x_hat: Tensor) -> float:
    """Share of x_hat whose nearest original among x (N, C, H, W), by mean squared error, is its own.

    x_hat (draws * N, C, H, W) holds the images in the order of x, draw by draw. If k originals are equal in every
    pixel, none is nearer than the others: a hit among them counts 1 / k, what a guess among them would score. Chance is
    1 / N. NaN where a value of x_hat is not finite. Raises ValueError for shapes that do not fit.
    """
    if x.shape[1:] != x_hat.shape[1:] or len(x_hat) % len(x):
        raise ValueError(f"x is {tuple(x.shape)} and x_hat {tuple(x_hat.shape)}: each image is needed equally often")
    if not all_finite(x_hat):
        return math.nan
    # before they are made float64: bytes of equal pixels are equal, and eight times fewer
    originals, own_index, copies = x.unique(dim=0, return_inverse=True, return_counts=True)
    originals = unit(originals).flatten(1)
    # |x_hat - x|^2 / 2 without |x_hat|^2 / 2, which is the same for every x
    half_energy = torch.cat([part.square().sum(1) for part in originals.split(CHUNK)]) / 2
    parts = (unit(part).flatten(1) for part in x_hat.split(CHUNK))
    nearest = torch.cat([(half_energy - part @ originals.T).argmin(1) for part in parts])
    own_index = own_index.repeat(len(x_hat) // len(x))
    return ((nearest == own_index) / copies[own_index]).double().mean().item()


def blind(x: Tensor, auxiliary: Tensor) -> dict[str, Tensor]:
    """Three answers (N, C, H, W) that use no feature: constant gray, the auxiliary mean image, each image's mean color.

    The last is an oracle (it looks at x), a landmark and not an attack. ``auxiliary`` is (M, C, H, W), uint8 or float.
    """
    color = torch.cat([unit(part).float().mean((2, 3), keepdim=True) for part in x.split(4096)]).clamp(0, 1)
    # in parts, weighted by size: all auxiliary images as floats would take four times their memory
    mean_image = torch.stack([part.float().mean(0) for part in auxiliary.split(4096)])
    weights = torch.tensor([len(part) for part in auxiliary.split(4096)], device=auxiliary.device) / len(auxiliary)
    mean_image = (mean_image * weights[:, None, None, None]).sum(0) / (255 if auxiliary.dtype == torch.uint8 else 1)
    return {
        "gray": color.new_tensor(0.5).expand(x.shape),
        "mean_image": mean_image.clamp(0, 1).expand(x.shape),
        "mean_color": color.expand(x.shape),
    }


def _spread(values: Tensor) -> float:
    """Standard deviation of values (N,); NaN for a single value."""
    return values.std().item() if len(values) > 1 else math.nan


def _in_chunks(measure: object, x: Tensor, x_hat: Tensor, size: int) -> Tensor:
    """Apply a measure of two float64 batches to ``size`` images at a time. Raises ValueError for unequal shapes."""
    if x.shape != x_hat.shape:
        raise ValueError(f"x is {tuple(x.shape)} and x_hat {tuple(x_hat.shape)}: the shapes must agree")
    return torch.cat([measure(unit(a), unit(b)) for a, b in zip(x.split(size), x_hat.split(size), strict=True)])


def _window_means(values: Tensor, axes: int) -> Tensor:
    """The mean of every full window over the last ``axes`` axes."""
    for axis in range(-axes, 0):
        # axis after axis: 7 additions for each, not 49 or 343 in all
        positions = values.shape[axis] - WINDOW + 1
        values = sum(values.narrow(axis, i, positions) for i in range(WINDOW))
    return values / WINDOW**axes


def _ssim_map(a: Tensor, b: Tensor, axes: int) -> Tensor:
    """The SSIM of every full window over the last ``axes`` axes.

    Raises ValueError for images that are smaller than the window.
    """
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"images of {tuple(a.shape[-2:])} pixels: SSIM's window needs at least {WINDOW}x{WINDOW}")
    mean_a, mean_b, aa, bb, ab = (_window_means(t, axes) for t in (a, b, a * a, b * b, a * b))
    unbiased = WINDOW**axes / (WINDOW**axes - 1)
    variance_a, variance_b = unbiased * (aa - mean_a * mean_a), unbiased * (bb - mean_b * mean_b)
    covariance = unbiased * (ab - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return luminance * (2 * covariance + c2) / (variance_a + variance_b + c2)
