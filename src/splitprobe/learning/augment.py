"""Flips and color jitter of a whole batch at once, on the device, with separate draws for each image."""

import functools
import math

import torch
from torch import Tensor

# luma weights, and the axes of the color plane in which a hue shift is a rotation (the YIQ basis)
TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def augment(x: Tensor, flip: bool, jitter: float, generator: torch.Generator) -> Tensor:
    """Flip half of the images and jitter brightness, contrast, saturation and hue by +-``jitter``.

    Takes and returns x (B, C, H, W) in [0, 1]. Brightness, contrast and saturation are factors in [1 - jitter, 1 +
    jitter]; hue turns by up to ``jitter`` of a full circle. On gray images saturation and hue do nothing. Differs from
    torchvision's ColorJitter: the order is fixed, there is one clamp at the end, and hue is a rotation in YIQ.
    """
    if flip:
        is_flipped = torch.rand(len(x), device=x.device, generator=generator) < 0.5
        x = torch.where(is_flipped[:, None, None, None], x.flip(3), x)
    if not jitter:
        return x
    # all four changes together are one affine map of the colors, so the pixels are touched once
    draws = torch.rand(4, len(x), device=x.device, generator=generator) * 2 - 1
    brightness, contrast, saturation = 1 + jitter * draws[:3]
    if x.shape[1] == 1:
        matrix = torch.ones(len(x), 1, 1, device=x.device)
    else:
        matrix = _chroma(saturation, 2 * math.pi * jitter * draws[3])
    # contrast pulls toward the image's mean luma, which the chroma map leaves unchanged
    means = x.mean((2, 3)) * brightness[:, None]
    luma = means if x.shape[1] == 1 else means @ _bases(x.device)[0][0, :, None]
    offset = (1 - contrast)[:, None] * luma
    matrix = matrix * (brightness * contrast)[:, None, None]
    mixed = torch.einsum("boc,bchw->bohw", matrix, x) + offset[:, :, None, None]
    return mixed.clamp_(0, 1).contiguous(memory_format=torch.channels_last)


def _chroma(saturation: Tensor, angle: Tensor) -> Tensor:
    """RGB maps (B, 3, 3) that scale the chroma by ``saturation`` (B,) and turn it by ``angle`` (B,), in radians."""
    basis, back = _bases(angle.device)
    turned = torch.zeros(len(angle), 3, 3, device=angle.device)
    turned[:, 0, 0].fill_(1)
    turned[:, 1, 1] = turned[:, 2, 2] = saturation * angle.cos()
    turned[:, 2, 1] = saturation * angle.sin()
    turned[:, 1, 2] = -turned[:, 2, 1]
    return back @ turned @ basis


@functools.lru_cache
def _bases(device: torch.device) -> tuple[Tensor, Tensor]:
    """The map of colors to YIQ and the map back, (3, 3) each, made once: Python would wait for them at each step."""
    basis = torch.tensor(TO_YIQ)
    return basis.to(device), torch.linalg.inv(basis).to(device)
