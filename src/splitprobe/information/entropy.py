"""The most that is sent, in bits: an upper bound on the entropy of z at 8 bits an entry.

For a deterministic edge on continuous images I(x; z) is infinite: z as real numbers would tell x apart from every other
image, and what float32 makes of that is a matter of rounding. What a link carries is finite, so z is quantized as an
8-bit link would do it. Each channel has ``levels`` values, evenly spaced from its smallest to its largest value over
released training images. Values beyond them are clipped, and a channel that was constant sends nothing. For this Q

    I(x; Q(z)) <= H(Q(z)) <= the mean length of any code for Q(z),

and two codes are measured on test images, beside the size without a code:

- *Coded*: an ideal entropy coder with one fixed histogram for each channel, counted on training images with
  ``smoothing`` added to every level. Its length is the cross-entropy -log2 p. It knows how often values occur, not
  which occur together.
- *Deflate*: zlib at its highest level over each image's bytes, channel by channel. It finds repetitions and adapts to
  every image.
- *Raw*: log2(levels) for every entry.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LEVEL = 9  # zlib's level for the smallest output
CHUNK = 64  # images quantized at once: small enough for the processor's cache; changes memory, not results


@dataclass(frozen=True)
class Quantizer:
    """Maps each channel to ``levels`` values, at most 256, between that channel's ``low`` and ``high`` (c,)."""

    low: Tensor
    high: Tensor
    levels: int

    @classmethod
    def fit(cls, batches: Iterable[Tensor], levels: int) -> Quantizer:
        """Take each channel's range from batches (B, c, ...). Raises ValueError when there is no image at all."""
        low = high = None
        for z in batches:
            channels = z.transpose(0, 1).flatten(1).float()
            batch_low, batch_high = channels.amin(1), channels.amax(1)
            low = batch_low if low is None else torch.minimum(low, batch_low)
            high = batch_high if high is None else torch.maximum(high, batch_high)
        if low is None:
            raise ValueError("the range of no feature at all: give at least one image")
        return cls(low, high, levels)

    def __call__(self, z: Tensor) -> Tensor:
        """The nearest level of each entry of z (B, c, ...), 0 to levels - 1, as uint8; 0 in a constant channel."""
        shape = (1, -1, *[1] * (z.ndim - 2))
        low, span = self.low.reshape(shape), (self.high - self.low).reshape(shape)
        steps = torch.where(span > 0, (z.float() - low) / span * (self.levels - 1), 0.0)
        # NaN has no uint8; entropy() gives NaN bits where the range is not finite
        return steps.nan_to_num().round().clamp(0, self.levels - 1).to(torch.uint8)


def histograms(quantized: Tensor, levels: int) -> Tensor:
    """How often each level occurs in each channel of quantized z (B, c, ...): int64 (c, levels)."""
    return torch.stack([torch.bincount(part.flatten(), minlength=levels) for part in quantized.unbind(1)])


def coded_bits(fitted: Tensor, counts: Tensor, smoothing: float) -> Tensor:
    """Bits (c,) that a coder needs for the entries counted in ``counts`` (c, levels).

    The coder uses the histograms ``fitted`` (c, levels), with ``smoothing`` added to each level.
    """
    smoothed = fitted.double() + smoothing
    return -(counts * (smoothed / smoothed.sum(1, keepdim=True)).log2()).sum(1)


def deflate_bits(quantized: Tensor) -> int:
    """Bits of zlib's output, header included, summed over the images of quantized z (B, c, ...), a byte an entry."""
    return sum(8 * len(zlib.compress(image.tobytes(), LEVEL)) for image in quantized.cpu().numpy())


def entropy(
    quantizer: Quantizer, fit: Iterable[Tensor], test: Iterable[Tensor], smoothing: float, deflate_images: int
) -> tuple[dict[str, Any], Tensor]:
    """Mean bits of a test image by each code and raw, and the histograms (c, levels) of the fit images, as counted.

    ``fit`` and ``test`` are batches of released z (B, c, ...). zlib, by far the slowest, sees only the first
    ``deflate_images`` test images. Coded bits are NaN where z is not finite. Raises ValueError where ``fit`` or
    ``test`` is empty.
    """
    fitted = counts = 0
    fit_images = images = deflated_bits = deflated_images = 0
    for quantized in _quantized_parts(quantizer, fit):
        fitted, fit_images = fitted + histograms(quantized, quantizer.levels), fit_images + len(quantized)
    for quantized in _quantized_parts(quantizer, test):
        counts, images = counts + histograms(quantized, quantizer.levels), images + len(quantized)
        first = quantized[: deflate_images - deflated_images]
        deflated_bits, deflated_images = deflated_bits + deflate_bits(first), deflated_images + len(first)
    if not fit_images or not images:
        raise ValueError("the entropy of no feature at all: give at least one image to fit and one to test")
    varies, finite = quantizer.high > quantizer.low, (quantizer.high - quantizer.low).isfinite().all()
    # without the test, a channel that diverged would count as constant
    bits = coded_bits(fitted, counts, smoothing)[varies].sum().item() if finite else math.nan
    record = {
        "coded_bits_per_image": bits / images,
        "deflate_bits_per_image": deflated_bits / deflated_images,
        "raw_bits_per_image": math.log2(quantizer.levels) * counts.sum().item() / images,
        "levels": quantizer.levels,
        "constant_channels": int((~varies).sum()),
        "fit_images": fit_images,
        "images": images,
        "deflate_images": deflated_images,
    }
    return record, fitted


def _quantized_parts(quantizer: Quantizer, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield quantized z, a few images at a time."""
    return (quantizer(part) for z in batches for part in z.split(CHUNK))
