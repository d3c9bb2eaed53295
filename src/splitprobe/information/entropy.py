"""What is sent at most, in bits: the entropy of z at 8 bits an entry, from above.

For a deterministic edge on continuous images I(x; z) is infinite: z as real numbers would tell x apart from every
other image, and what float32 makes of that is a matter of rounding. What a link carries is finite, so z is quantized
as an 8-bit link would: each channel has ``levels`` values, evenly spaced from its smallest to its largest value over
released training images; values beyond them are clipped, and a channel that was constant sends nothing. For this Q

    I(x; Q(z)) <= H(Q(z)) <= the mean length of any code for Q(z),

and two codes are measured on test images. *Coded*: an ideal entropy coder with one fixed histogram for each channel,
counted on training images with ``smoothing`` added to every level; its length is the cross-entropy -log2 p. It knows
how often values occur, not which occur together. *Deflate*: zlib at its highest level over each image's bytes, channel
by channel, which finds repetitions and adapts to every image. *Raw*: log2(levels) for every entry.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LEVEL = 9  # of zlib: the smallest output
CHUNK = 64  # images quantized at once: small enough for the processor's cache; changes memory, not results


@dataclass(frozen=True)
class Quantizer:
    """``levels`` values, at most 256, between each channel's ``low`` and ``high`` (c,)."""

    low: Tensor
    high: Tensor
    levels: int

    @classmethod
    def fit(cls, batches: Iterable[Tensor], levels: int) -> Quantizer:
        """The range of each channel over batches (B, c, ...); raises ValueError when there is no feature at all."""
        low = high = None
        for z in batches:
            channels = z.transpose(0, 1).flatten(1).float()
            least, most = channels.amin(1), channels.amax(1)
            low = least if low is None else torch.minimum(low, least)
            high = most if high is None else torch.maximum(high, most)
        if low is None:
            raise ValueError("the range of no feature at all: give at least one image")
        return cls(low, high, levels)

    def __call__(self, z: Tensor) -> Tensor:
        """The nearest level of each entry of z (B, c, ...), 0 to levels - 1, as uint8; 0 in a constant channel."""
        shape = (1, -1, *[1] * (z.ndim - 2))
        low, span = self.low.reshape(shape), (self.high - self.low).reshape(shape)
        steps = torch.where(span > 0, (z.float() - low) / span * (self.levels - 1), 0.0)
        return steps.nan_to_num().round().clamp(0, self.levels - 1).to(torch.uint8)


def histograms(quantized: Tensor, levels: int) -> Tensor:
    """How often each level occurs in each channel of quantized z (B, c, ...): int64 (c, levels)."""
    return torch.stack([torch.bincount(part.flatten(), minlength=levels) for part in quantized.unbind(1)])


def coded_bits(fitted: Tensor, counts: Tensor, smoothing: float) -> Tensor:
    """Bits (c,) that a coder with histograms ``fitted`` (c, levels) needs for all entries behind ``counts``."""
    smoothed = fitted.double() + smoothing
    return -(counts * (smoothed / smoothed.sum(1, keepdim=True)).log2()).sum(1)


def deflate_bits(quantized: Tensor) -> int:
    """Bits of zlib's output, header included, summed over the images of quantized z (B, c, ...): a byte an entry."""
    return sum(8 * len(zlib.compress(image.tobytes(), LEVEL)) for image in quantized.cpu().numpy())


def entropy(
    quantizer: Quantizer, fit: Iterable[Tensor], test: Iterable[Tensor], smoothing: float, deflate_images: int
) -> tuple[dict[str, Any], Tensor]:
    """Mean bits of a test image by both codes and raw; the histograms (c, levels) of the fit images, as counted.

    ``fit`` and ``test`` are batches of released z (B, c, ...); zlib, by far the slowest, sees the first
    ``deflate_images`` of the latter. Coded bits are NaN where z is not finite. Raises ValueError where either is empty.
    """
    fitted = counts = 0
    fit_images = images = deflated = compressed = 0
    for quantized in _quantized(quantizer, fit):
        fitted, fit_images = fitted + histograms(quantized, quantizer.levels), fit_images + len(quantized)
    for quantized in _quantized(quantizer, test):
        counts, images = counts + histograms(quantized, quantizer.levels), images + len(quantized)
        first = quantized[: deflate_images - compressed]
        deflated, compressed = deflated + deflate_bits(first), compressed + len(first)
    if not fit_images or not images:
        raise ValueError("the entropy of no feature at all: give at least one image to fit and one to test")
    varies, finite = quantizer.high > quantizer.low, (quantizer.high - quantizer.low).isfinite().all()
    # without this, a channel that diverged would count as constant
    bits = coded_bits(fitted, counts, smoothing)[varies].sum().item() if finite else math.nan
    record = {
        "coded_bits_per_image": bits / images,
        "deflate_bits_per_image": deflated / compressed,
        "raw_bits_per_image": math.log2(quantizer.levels) * counts.sum().item() / images,
        "levels": quantizer.levels,
        "constant_channels": int((~varies).sum()),
        "fit_images": fit_images,
        "images": images,
        "deflate_images": compressed,
    }
    return record, fitted


def _quantized(quantizer: Quantizer, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Quantized z, a few images at a time."""
    return (quantizer(part) for z in batches for part in z.split(CHUNK))
