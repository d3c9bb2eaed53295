"""From an encoded image to uint8 pixels, by one rule for every mode, size and format.

- Gray of more than 8 bits, and floats, are scaled by the image's own range to 0..255 (a constant one becomes black).
  Deep color and deep gray with alpha keep their high byte, as Pillow decodes them. TIFFs whose 0 is white are
  inverted.
- Transparency (RGBA, LA, palettes) is laid over black.
- CMYK and YCbCr become RGB. One channel is luma (ITU-R 601); gray asked for in three channels is replicated.
- EXIF orientation is applied. Then the largest centered square is cut out, because stretching would change shapes. Then
  it is resized with antialiasing. A JPEG at least 4 times too large is decoded at a fraction of its size.
- Of several frames the first counts. Truncated files are refused.
"""

import io
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin
from tqdm import tqdm

from splitprobe.datasets.base import DataError, Rejected
from splitprobe.datasets.sections import FILTERS, Settings, Source

# the only formats allowed: no foreign file may reach a decoder that runs programs (EPS) or opens other files
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
PHOTOMETRIC = 262  # a TIFF's tag PhotometricInterpretation
# Threads gain nothing on thumbnails, but large files are decoded outside Python's lock; a task for each single file
# would cost a quarter of a thumbnail's time.
CHUNK = 64
Box = tuple[int, int, int, int]  # left, top, right, bottom in px; right and bottom are outside
RESAMPLING = {name: Image.Resampling[name.upper()] for name in FILTERS}


def _is_deep(mode: str) -> bool:
    """Whether an image of this mode is gray of more than 8 bits, or of floats."""
    return mode in ("I", "F") or mode.startswith("I;16")


# Pillow opens several sorts of deep gray TIFFs only where 0 is black; _is_negative tells the others apart
for (order, photometric, *layout), modes in [*TiffImagePlugin.OPEN_INFO.items()]:
    if photometric == 1 and _is_deep(modes[0]):
        TiffImagePlugin.OPEN_INFO.setdefault((order, 0, *layout), modes)


def read_image(source: bytes | str | Path, channels: int, side: int, resize: str, box: Box | None = None) -> np.ndarray:
    """Decode a file (a path) or its content (bytes) to uint8 (side, side, channels), by this module's rules.

    With ``box``, only that part of the image is used. Raises DataError with a short reason for anything that is not a
    whole image, or does not hold the box.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if not data:
        raise DataError("zero bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if box is None:  # a box counts pixels at full size
                # a JPEG is decoded at a fraction of its size, but no smaller than twice the side
                image.draft(None, (2 * side, 2 * side))
            negative = _is_negative(image)
            ImageOps.exif_transpose(image, in_place=True)
            return fit(_crop_box(image, box) if box else image, channels, side, resize, negative)
    except Image.UnidentifiedImageError:
        raise DataError(f"not an image, it begins with {data[:16]!r}") from None
    # it already has its reason
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise DataError(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from error


def _is_negative(image: Image.Image) -> bool:
    """Whether an opened TIFF holds gray values of which 0 is white (PhotometricInterpretation WhiteIsZero).

    Pillow inverts up to 8 bits itself, and takes a TIFF that does not say for such a one; deeper ones it leaves alone.
    """
    tags = getattr(image, "tag_v2", None)
    return tags is not None and _is_deep(image.mode) and tags.get(PHOTOMETRIC, 0) == 0


def fit(image: Image.Image, channels: int, side: int, resize: str, negative: bool = False) -> np.ndarray:
    """A decoded image as uint8 (side, side, channels): its mode is converted, its center square cut out and resized.

    Deep gray and floats are inverted where they are ``negative``.
    """
    image = _to_eight_bit(image, negative).convert("L" if channels == 1 else "RGB")
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    # cropped before resizing: resize(box=...) would blend in pixels from outside the box
    square = image.crop((left, top, left + edge, top + edge))
    return np.asarray(square.resize((side, side), RESAMPLING[resize])).reshape(side, side, channels)


def _crop_box(image: Image.Image, box: Box) -> Image.Image:
    """The part of an image within a box. Raises DataError where the image does not hold it."""
    width, height = image.size
    if box[2] > width or box[3] > height:
        raise DataError(f"measures {width}x{height} px and does not hold the box from {box[:2]} to {box[2:]}")
    return image.crop(box)


def _to_eight_bit(image: Image.Image, negative: bool) -> Image.Image:
    """The image in 8 bits a channel, without transparency; deep gray is inverted where it is ``negative``.

    Raises DataError for floats that are not finite.
    """
    if _is_deep(image.mode):
        values = np.asarray(image, np.float64) * (-1 if negative else 1)
        if not np.isfinite(values).all():
            raise DataError("holds NaN or infinite values")
        low, high = values.min(), values.max()
        # `or 1`: a constant image becomes black
        return Image.fromarray(np.rint((values - low) * (255 / ((high - low) or 1))).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        opaque = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        black = Image.new("RGB", image.size)
        black.paste(opaque, mask=opaque.getchannel("A"))
        return black
    return image


def read_all(
    names: Sequence[str], read: Callable[[str], bytes], source: Source, settings: Settings, box: Box | None = None
) -> tuple[np.ndarray, np.ndarray, list[Rejected]]:
    """Decode all files: uint8 (n, side, side, C), a mask (n,) of the usable ones, and the others with reasons.

    ``read`` gives a file's content and may raise DataError. Images whose mean, as prepared, is below
    ``source.min_mean`` are not usable either. The rows of unusable files are undefined.
    """
    images = np.empty((len(names), source.side, source.side, source.channels), np.uint8)

    def decode(start: int) -> list[str | None]:
        reasons = []
        for i in range(start, min(start + CHUNK, len(names))):
            try:
                images[i] = read_image(read(names[i]), source.channels, source.side, settings.resize, box)
                reasons.append(_darkness_reason(images[i], source.min_mean))
            except DataError as error:
                reasons.append(str(error))
        return reasons

    reasons: list[str | None] = []
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        tqdm(total=len(names), desc="reading", unit="image", disable=None) as bar,
    ):
        for part in pool.map(decode, range(0, len(names), CHUNK)):
            reasons += part
            bar.update(len(part))
    rejected = [Rejected(n, r) for n, r in zip(names, reasons, strict=True) if r is not None]
    return images, np.array([r is None for r in reasons], bool), rejected


def _darkness_reason(image: np.ndarray, least: float) -> str | None:
    """Why an image is too dark for a least mean, or None if it is not."""
    # the mean is computed only where a least one is asked for
    dark = least > 0 and (mean := image.mean()) < least
    return f"too dark: mean {mean:.1f} of 255, min_mean = {least:g}" if dark else None


def resized(images: Iterable[np.ndarray], count: int, source: Source, settings: Settings) -> np.ndarray:
    """``count`` decoded images uint8 (h, w, 3), fitted to uint8 (count, side, side, C)."""
    fitted = np.empty((count, source.side, source.side, source.channels), np.uint8)
    for i, image in enumerate(images):
        fitted[i] = fit(Image.fromarray(image), source.channels, source.side, settings.resize)
    return fitted


def compact(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """``images[chosen]`` for ascending ``chosen``, moved in place: a copy would double the peak memory."""
    for target, origin in enumerate(chosen):
        if target != origin:
            images[target] = images[origin]
    return images[: len(chosen)]
