"""Gray photographs of the installed scikit-image, one class each (see :mod:`splitprobe.datasets.crops`)."""

from pathlib import Path

import numpy as np

from splitprobe.datasets.base import Dataset
from splitprobe.datasets.crops import load_crops
from splitprobe.datasets.sections import Settings, Source

PHOTOGRAPHS = {"brick": "brick.png", "coins": "coins.png", "grass": "grass.png", "gravel": "gravel.png"}


def load(source: Source, settings: Settings, rng: np.random.Generator, root: Path) -> Dataset:
    """Random crops; the class is the photograph. Raises as :func:`~splitprobe.datasets.crops.load_crops` does."""
    return load_crops(PHOTOGRAPHS, source, settings, rng)
