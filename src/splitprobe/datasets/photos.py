"""The RGB photographs of the installed scikit-image, one class each (see :mod:`splitprobe.datasets.crops`)."""

from pathlib import Path

import numpy as np

from splitprobe.datasets.base import Dataset
from splitprobe.datasets.crops import load_crops
from splitprobe.datasets.sections import Settings, Source

PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "immunohistochemistry": "ihc.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "stereo_motorcycle": "motorcycle_left.png",
}


def load(source: Source, settings: Settings, rng: np.random.Generator, root: Path) -> Dataset:
    """Random crops; the class is the photograph. Raises as :func:`~splitprobe.datasets.crops.load_crops` does."""
    return load_crops(PHOTOGRAPHS, source, settings, rng)
