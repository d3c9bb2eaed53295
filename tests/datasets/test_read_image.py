import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from splitprobe.datasets import DataError
from splitprobe.datasets.images import read_image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def read(data, channels=3, side=16, resize="bilinear"):
    image = read_image(data, channels, side, resize)
    assert image.dtype == np.uint8 and image.shape == (side, side, channels)
    return image


def flat(mode, color, size=(16, 16)):
    return Image.new(mode, size, color)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_by_their_own_range(encoded, kind, channels):
    ramp = np.linspace(1000, 41000, 256).astype(np.uint16).reshape(16, 16)
    image = read(encoded(ramp, kind), channels)
    assert np.abs(image[..., 0].astype(int) - np.arange(256).reshape(16, 16)).max() <= 1
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_wide_and_float_tiffs_are_scaled_too(encoded, dtype):
    ramp = np.linspace(-70000, 70000, 256).astype(dtype).reshape(16, 16)
    assert np.abs(read(encoded(ramp, "TIFF"), 1)[..., 0].astype(int) - np.arange(256).reshape(16, 16)).max() <= 1


def test_constant_sixteen_bits_are_black_and_nan_is_refused(encoded):
    assert (read(encoded(np.full((16, 16), 50000, np.uint16)), 1) == 0).all()
    broken = np.zeros((16, 16), np.float32)
    broken[3, 3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        read(encoded(broken, "TIFF"), 1)


@pytest.mark.parametrize(
    ("mode", "color", "wanted"),
    [
        ("RGBA", (200, 100, 50, 255), (200, 100, 50)),
        ("RGBA", (200, 100, 50, 128), (100, 50, 25)),
        ("RGBA", (200, 100, 50, 0), (0, 0, 0)),
        ("LA", (200, 128), (100, 100, 100)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_transparency_is_laid_over_black(encoded, mode, color, wanted):
    assert np.abs(read(encoded(flat(mode, color))).astype(int) - wanted).max() <= 1


def test_palettes_with_and_without_transparency(encoded):
    palette = flat("RGB", (10, 200, 30)).quantize(4)
    assert (read(encoded(palette)) == (10, 200, 30)).all()
    assert (read(encoded(palette, transparency=palette.getpixel((0, 0)))) == 0).all()
    two = Image.fromarray(np.repeat([[0, 1]], 16, 0).repeat(8, 1).astype(np.uint8), "L").convert("P")
    two.putpalette([*RED, *BLUE])
    image = read(encoded(two, transparency=bytes([0, 255])))  # one alpha per palette entry
    assert (image[:, :8] == 0).all() and (image[:, 8:] == BLUE).all()


def test_cmyk_becomes_rgb(encoded):
    assert (read(encoded(flat("CMYK", (0, 255, 255, 0)), "TIFF")) == RED).all()
    assert np.abs(read(encoded(flat("CMYK", (0, 255, 255, 0)), "JPEG")).astype(int) - RED).max() <= 3


def test_one_channel_is_luma(encoded):
    for color, luma in ((RED, 76), (GREEN, 150), (BLUE, 29)):
        assert (read(encoded(flat("RGB", color)), 1) == luma).all()


@pytest.mark.parametrize("upright", [False, True])
def test_center_square_without_stretching(encoded, upright):
    stripes = np.concatenate([np.full((20, n, 3), c, np.uint8) for n, c in ((10, RED), (20, GREEN), (10, BLUE))], 1)
    data = encoded(stripes.transpose(1, 0, 2) if upright else stripes)
    for side in (8, 20, 32):
        assert (read(data, side=side) == GREEN).all()


def test_exif_orientation_is_applied(encoded):
    halves = np.concatenate([np.full((8, 16, 3), RED, np.uint8), np.full((8, 16, 3), BLUE, np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    image = read(encoded(halves, exif=exif))
    assert (image[:, :8] == BLUE).all() and (image[:, 8:] == RED).all()


@pytest.mark.parametrize("resize", ["box", "bilinear", "bicubic", "lanczos"])
def test_shrinking_is_antialiased(encoded, resize):
    checkerboard = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    inner = read(encoded(checkerboard), 1, 8, resize)[1:-1, 1:-1].astype(int)
    assert np.abs(inner - 127).max() <= 3


def test_unchanged_at_its_own_size_and_constant_when_enlarged(encoded, rng):
    pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
    assert (read(encoded(pixels)) == pixels).all()
    assert (read(encoded(flat("RGB", (1, 2, 3))), side=64) == (1, 2, 3)).all()


def test_large_jpeg_comes_out_as_if_fully_decoded(encoded):
    x, y = np.meshgrid(np.arange(640), np.arange(640))
    waves = (127 + 60 * np.sin(x / 40) + 60 * np.cos(y / 55)).astype(np.uint8)
    whole = np.asarray(Image.fromarray(waves).resize((32, 32), Image.Resampling.BILINEAR), int)
    assert np.abs(read(encoded(waves, "JPEG", quality=95), 1, 32)[..., 0] - whole).max() <= 3


def test_a_box_is_counted_in_the_full_image(encoded):
    """Also of a JPEG that would otherwise be decoded at a quarter of its size."""
    pixels = np.full((400, 400, 3), RED, np.uint8)
    pixels[200:264, 100:164] = GREEN
    for kind in ("PNG", "JPEG"):
        image = read_image(encoded(pixels, kind), 3, 16, "bilinear", (100, 200, 164, 264))
        assert np.abs(image[2:-2, 2:-2].astype(int) - GREEN).max() <= 8
    with pytest.raises(DataError, match=r"measures 400x400 px and does not hold the box from \(350, 0\) to \(450, 9\)"):
        read_image(encoded(pixels), 3, 16, "bilinear", (350, 0, 450, 9))


def test_first_frame_counts_and_a_path_is_accepted(encoded, tmp_path):
    data = encoded(flat("RGB", RED), "TIFF", save_all=True, append_images=[flat("RGB", BLUE)])
    (tmp_path / "two frames (1).tif").write_bytes(data)
    assert (read(tmp_path / "two frames (1).tif") == RED).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_every_truncation_is_refused(encoded, rng, kind):
    data = encoded(rng.integers(0, 256, (32, 32, 3), np.uint8), kind)
    read(data)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(DataError, match=r"damaged|not an image"):
            read(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zero bytes"),
        (b"<!DOCTYPE html><html>quota exceeded", "not an image, it begins with b'<!DOCTYPE"),
        (b"version https://git-lfs.github.com/spec/v1", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),  # would start Ghostscript
    ],
)
def test_what_is_no_image_is_refused(data, reason):
    with pytest.raises(DataError, match=reason):
        read(data)


def tiff(values, photometric, order="<"):
    """An uncompressed gray TIFF of one strip; with photometric 0 (WhiteIsZero), 1 (BlackIsZero) or None (no tag)."""
    height, width = values.shape
    bits, kind = 8 * values.itemsize, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags = [tag for tag in [*tags, (279, len(data)), (339, kind)] if tag[1] is not None]
    # widths and depths as shorts, places and lengths as longs
    layouts = {tag: ("HHII", 4) if tag in (273, 279) else ("HHIHxx", 3) for tag, _ in tags}
    entries = [struct.pack(order + layouts[tag][0], tag, layouts[tag][1], 1, value) for tag, value in tags]
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32])
def test_white_is_zero_is_inverted_at_every_depth(dtype, order):
    ramp = np.arange(256).reshape(16, 16)
    scale = 1 if dtype == np.uint8 else 100
    black_is_zero, white_is_zero = (read(tiff((ramp * scale).astype(dtype), p, order), 1)[..., 0] for p in (1, 0))
    assert (black_is_zero == ramp).all() and (white_is_zero == 255 - ramp).all()


def test_white_is_zero_through_a_box_and_constant_ones_stay_black():
    pixels = np.zeros((40, 40), np.uint16)
    pixels[10:26, 10:26] = np.arange(256).reshape(16, 16) * 200
    boxed = read_image(tiff(pixels, 0), 1, 16, "bilinear", (10, 10, 26, 26))
    assert (boxed[..., 0] == 255 - np.arange(256).reshape(16, 16)).all()
    assert (read(tiff(np.full((16, 16), 900, np.uint16), 0), 1) == 0).all()


def test_a_tiff_that_does_not_say_is_read_alike_at_8_and_16_bits():
    ramp = np.arange(256).reshape(16, 16)
    images = [read(tiff((ramp * scale).astype(dtype), None), 1) for dtype, scale in ((np.uint8, 1), (np.uint16, 9))]
    assert (images[0] == images[1]).all() and (images[0][..., 0] == 255 - ramp).all()


def test_white_is_zero_of_one_bit():
    left_half = np.full((16, 2), (0xFF, 0x00), np.uint8)  # rows of 16 pixels, bit by bit
    data = tiff(left_half, 0).replace(struct.pack("<HHIHxx", 258, 3, 1, 8), struct.pack("<HHIHxx", 258, 3, 1, 1))
    data = data.replace(struct.pack("<HHIHxx", 256, 3, 1, 2), struct.pack("<HHIHxx", 256, 3, 1, 16))
    image = read(data, 1)[..., 0]
    assert (image[:, :8] == 0).all() and (image[:, 8:] == 255).all()


def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded():
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)), (b"IDAT", b"few")]
    chunks = (struct.pack(">I", len(b)) + a + b + struct.pack(">I", zlib.crc32(a + b)) for a, b in parts)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    with pytest.raises(DataError, match="exceeds limit of 178956970 pixels"):
        read(png)
