"""A figure laid out in pixels from the left and from above, so that an image's pixels stay equal squares."""

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.transforms import Affine2D, Transform

from splitprobe.report.style import DPI

GAP = 4  # pixels between images side by side
TILE = 64  # pixels that a small image is enlarged to, by a whole factor
INK = "#333333"


class Canvas:
    """A figure of a size in pixels, and what can be put on it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure((width / DPI, height / DPI), dpi=DPI)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return x / self.width, 1 - y / self.height

    def text(self, x: float, y: float, words: str, size: int, **how: Any) -> None:
        """Text at a position; size in pixels."""
        how = {"va": "center", "ha": "left", **how}
        self.figure.text(*self._at(x, y), words, fontsize=size * 72 / DPI, **how)

    def image(self, left: float, top: float, picture: np.ndarray) -> None:
        """A picture (h, w, 3), pixel for pixel: figimage does not resample."""
        self.figure.figimage(picture, round(left), round(self.height - top - picture.shape[0]), origin="upper")

    def rule(self, start: tuple[float, float], end: tuple[float, float], **how: Any) -> None:
        """A straight line."""
        (x0, y0), (x1, y1) = self._at(*start), self._at(*end)
        self.figure.add_artist(Line2D([x0, x1], [y0, y1], **how))

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose frame has this place."""
        x, y = self._at(left, top + height)
        return self.figure.add_axes((x, y, width / self.width, height / self.height))

    def box(self, left: float, top: float, width: float, height: float, **how: Any) -> None:
        """A box with round corners; ``how`` as for a patch."""
        how = {"facecolor": "white", "edgecolor": INK, "lw": 1.0, "zorder": -2, **how}
        corner = "round,pad=0,rounding_size=7"
        # in pixels from below, so that the corners are round and not oval
        place = ((left, self.height - top - height), width, height)
        self.figure.add_artist(FancyBboxPatch(*place, boxstyle=corner, transform=self._pixels(), **how))

    def arrow(self, *path: tuple[float, float], **how: Any) -> None:
        """An arrow from the first point over those between to the last."""
        how = {"color": INK, "lw": 1.5, "linestyle": "-", **how}
        for start, end in pairwise(path[:-1]):
            self.rule(start, end, solid_capstyle="projecting", **how)
        ends = [(x, self.height - y) for x, y in path[-2:]]
        head = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0}
        self.figure.add_artist(FancyArrowPatch(*ends, transform=self._pixels(), **head, **how))

    def _pixels(self) -> Transform:
        """Pixels from the left and from below: a transform that follows the resolution of the file."""
        return Affine2D().scale(1 / self.width, 1 / self.height) + self.figure.transFigure


def factor(images: np.ndarray) -> int:
    """How many times larger images (n, H, W, C) are shown."""
    return max(1, TILE // images.shape[1])


def enlarged(images: np.ndarray) -> np.ndarray:
    """Images (n, H, W, 1 or 3) side by side on white, each pixel a square of a whole number of pixels: (h, w, 3)."""
    times = factor(images)
    big = images.repeat(times, 1).repeat(times, 2)
    big = big.repeat(3 // big.shape[3], 3)  # gray as equal red, green and blue
    white = np.full((big.shape[1], GAP, 3), 255, np.uint8)
    return np.concatenate([part for image in big for part in (white, image)][1:], axis=1)
