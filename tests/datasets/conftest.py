import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitprobe.datasets import Settings, Source

KNOWN = {
    "source": "folder", "title": "A tiny set", "raw": "raw", "channels": 3, "side": 8,
    "train": 8, "validation": 2, "test": 4, "auxiliary": 2, "download": False, "classes": None, "min_mean": 0.0,
    "auxiliary_source": None, "auxiliary_raw": None, "auxiliary_classes": None, "auxiliary_exclude": None,
}  # fmt: skip


@pytest.fixture
def settings():
    return Settings(crop_min=64, crop_max=128, crop_min_std=8.0, resize="bilinear")


@pytest.fixture
def make_source():
    return lambda **changes: Source(**{**KNOWN, **changes})


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def encoded():
    """Content of an image file, from an array or a Pillow image."""

    def encode(image, kind="PNG", **options) -> bytes:
        stream = io.BytesIO()
        image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
        image.save(stream, kind, **options)
        return stream.getvalue()

    return encode


@pytest.fixture
def numbered(encoded):
    """An 8x8 RGB PNG that says its number: red holds it, green its high byte."""

    def content(number: int) -> bytes:
        return encoded(np.broadcast_to(np.array([number % 256, number // 256, 7], np.uint8), (8, 8, 3)))

    return content


@pytest.fixture
def make_tree(numbered):
    """Write numbered images: make_tree(root, {"train/cat": 3}) gives root/train/cat/0.png to 2.png."""

    def write(root: Path, counts: dict[str, int], start: int = 0) -> Path:
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                (root / folder / f"{i}.png").write_bytes(numbered(start))
                start += 1
        return root

    return write


@pytest.fixture
def numbers():
    """The numbers that :func:`numbered` wrote into the images of a Dataset, or of one of its roles."""

    def read(dataset, role: str | None = None) -> list[int]:
        images = dataset.images if role is None else dataset.role(role)[0]
        return (images[:, 0, 0, 0].astype(int) + 256 * images[:, 0, 0, 1].astype(int)).tolist()

    return read
