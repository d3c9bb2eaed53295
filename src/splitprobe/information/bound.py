"""A lower bound on I(x; z) from what a decoder rebuilds: error against variance, component by component.

x_hat is made of z, so I(x; z) >= I(x; x_hat) whatever the decoder. For independent Gaussian coordinates of x the right
side is at least what rate-distortion theory asks for (Cover and Thomas, chapter 10). With lambda_i the variance of x
along component i and d_i the mean square, bias included, of x - x_hat along it,

    I(x; z) >= sum_i max(0, 1/2 log(lambda_i / d_i)).

The components are the leading principal ones of other images of the same kind. They are an orthonormal basis in which x
is uncorrelated; in the basis of another kind of images the sum would count twice what correlated coordinates share. The
remaining components are left out, which only lowers the sum.

If x is Gaussian, the sum is a true bound up to sampling. Images are not. A distribution of equal variance and less
entropy needs fewer nats for the same error, so for images the sum is an estimate. d_i is at least the variance of
rounding to 8 bits, below which no image tells x and x_hat apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from splitprobe.information.pairs import null

ROUNDING = 1 / 12 / 255**2  # variance of rounding to 8 bits, images in [0, 1]
CHUNK = 1024  # images at once; changes memory, not results


def principal(images: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and leading principal components (D, components) of points (B, D), orthonormal, in float64.

    Through the smaller of the two Gram matrices: memory O(B D + min(B, D)^2), time O(min(B, D)^3).
    """
    mean = images.mean(0)
    centered = images - mean
    if len(images) > images.shape[1]:
        return mean, torch.linalg.eigh(centered.T @ centered).eigenvectors[:, -components:].flip(1)
    basis = centered.T @ torch.linalg.eigh(centered @ centered.T).eigenvectors[:, -components:].flip(1)
    # fewer independent images than components leave columns of mere rounding: QR makes the basis orthonormal anyway
    return mean, torch.linalg.qr(basis).Q


def _flat_points(images: Tensor) -> Tensor:
    """Images, uint8 or float in [0, 1], flattened to points (N, D) in float64."""
    images = images.double().div_(255) if images.dtype == torch.uint8 else images.double()
    return images.flatten(1)


def _project(images: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Coordinates (N, components) of images along the directions."""
    # in parts: all images in float64 at once would take too much memory
    return torch.cat([(_flat_points(part) - mean) @ directions for part in images.split(CHUNK)])


@torch.no_grad()
def decoder_bound(
    basis_images: Tensor, x: Tensor, x_hat: Tensor, components: int, shuffles: Sequence[Tensor] = ()
) -> dict[str, Any]:
    """The bound in nats, the number of components in it, the most it can reach, and the number of images.

    ``shuffles`` are indices (N,) that give each image the x_hat of another. The result then has mean and deviation of
    the bound over these, which prove nothing: the decoder's null, without fitting it anew.

    ``basis_images`` (B, ...), x and x_hat (N, ...) are uint8 or float in [0, 1]. The basis must come from other images
    than x, of the same distribution. Variance and error are means over the same N images, so a constant x_hat scores 0.
    At most ``components`` are used, and fewer than there are basis images or images of x.

    Raises ValueError for shapes that differ and for fewer than 2 images.
    """
    if x.shape != x_hat.shape or x.shape[1:] != basis_images.shape[1:]:
        shapes = [tuple(images.shape) for images in (basis_images, x, x_hat)]
        raise ValueError(f"basis images, x and x_hat of shapes {shapes}: x and x_hat must agree, all in an image's")
    if min(len(basis_images), len(x)) < 2:
        raise ValueError(f"{len(basis_images)} basis images and {len(x)} of x: at least 2 of each are needed")
    # with as many components as images, a basis fits its images by chance and so do errors
    used = min(components, x[0].numel(), len(basis_images) - 1, len(x) - 1)
    basis = principal(_flat_points(basis_images), used)
    points, rebuilt = (_project(images, *basis) for images in (x, x_hat))
    variance = points.var(0, correction=0)

    def nats(error: Tensor) -> Tensor:
        # images of 8 bits carry no smaller error
        return (variance / error.clamp_min(ROUNDING)).clamp_min(1).log().sum() / 2

    def error(rebuilt: Tensor) -> Tensor:
        return (points - rebuilt).square().mean(0)

    found = {"mi_nats": nats(error(rebuilt)).item(), "components": used, "cap_nats": nats(variance * 0).item()}
    return found | null("nats", [nats(error(rebuilt[other])) for other in shuffles]) | {"images": len(x)}
