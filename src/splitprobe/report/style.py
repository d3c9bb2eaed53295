"""How figures look, are laid out and are written: the same bytes for the same numbers on every machine."""

import contextlib
import logging
import textwrap
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Transform
from PIL import Image

from splitprobe.core.artifacts import atomic

log = logging.getLogger("splitprobe")
DPI = 128
MANY = 40  # strips of images: a PNG with more of them has fewer colors, as photographs do not shrink otherwise
ROUNDS = 3  # of moving the palette to what it stands for
LEFT = 0.25  # inches: margin of titles, captions and legends
FONT = "DejaVu Sans"  # shipped with matplotlib, so that no machine substitutes another
STYLE = {
    "figure.dpi": DPI,
    "font.family": FONT,
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
    "image.composite_image": False,  # strips of images stay apart, each in colors of its own
}
# told apart by readers with any color vision; the unprotected row, which comes first, is black
COLORS = (
    "#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00",
    "#56b4e9", "#882255", "#999933", "#332288", "#7f7f7f", "#44aa99", "#aa4499", "#661100", "#8dc63f", "#ff7f9f",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
QUIET, INK = "#555555", "#333333"
GAP = 4  # pixels between images side by side
TILE = 64  # pixels that a small image is enlarged to, by a whole factor


def look(i: int) -> dict[str, Any]:
    """Color and marker of a figure's i-th cell; 16 cells differ in both."""
    color = COLORS[1 + (i - 1) % (len(COLORS) - 1)] if i else COLORS[0]
    filled = i // len(MARKERS) % 2 == 0
    marker = {"marker": MARKERS[i % len(MARKERS)], "markerfacecolor": color if filled else "white"}
    return {"color": color, **marker, "markeredgecolor": color}


def styled() -> object:
    """The context in which figures are made and written; a user's own matplotlibrc has no say."""
    return style.context(STYLE, after_reset=True)


def panels(
    title: str, caption: str, size: tuple[float, float], shape: tuple[int, int],
    margins: tuple[float, float, float, float], handles: Sequence[Line2D] = (), columns: int = 1,
    sharey: bool = False, **spaces: Any,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A figure with its title and caption, a legend below them, and a grid of panels, returned row by row.

    In inches: ``size``, the figure's width and its height below the caption; ``margins`` of the grid: left, right, from
    the caption and from below. ``shape``: the grid's rows and columns; ``handles``: of the legend, in ``columns``;
    ``spaces``: between panels, as for a GridSpec.
    """
    width, below = size
    lines = textwrap.wrap(caption, round(15 * (width - 2 * LEFT)))
    head = 0.5 + 0.165 * len(lines)
    height = head + below
    figure = Figure((width, height))
    figure.text(LEFT / width, 1 - 0.27 / height, title, fontsize=13, weight="bold", va="center")
    how = {"fontsize": 8.5, "color": QUIET, "va": "top", "linespacing": 1.3}
    figure.text(LEFT / width, 1 - 0.43 / height, "\n".join(lines), **how)
    if handles:
        place = {"bbox_to_anchor": (LEFT / width, 1 - head / height), "loc": "upper left", "borderaxespad": 0}
        how = {"fontsize": 8.5, "frameon": False, "borderpad": 0, "handlelength": 2.4}
        figure.legend(handles=handles, ncols=columns, **how, **place)
    left, right, top, bottom = margins
    sides = {"left": left / width, "right": 1 - right / width, "top": 1 - (head + top) / height}
    grid = {**sides, "bottom": bottom / height, **spaces}
    return figure, list(figure.subplots(*shape, sharey=sharey, squeeze=False, gridspec_kw=grid).flat)


class Canvas:
    """A figure laid out in pixels from the left and from above, so that an image's pixels stay equal squares."""

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
        """A picture (h, w, 3), pixel for pixel, since figimage does not resample.

        It is shown in 256 colors of its own: a PDF stores those in a third of the bytes.
        """
        place = round(left), round(self.height - top - picture.shape[0])
        self.figure.figimage(np.asarray(painted(picture, 256).convert("RGB")), *place, origin="upper")

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


def legible(figure: Figure) -> Figure:
    """The figure with each text as it was given: no formula where it has a ``$``, and no boxes if that can be helped.

    Characters that FONT lacks come from an installed font that has most of them. What none has is logged, once.
    """
    lacking = {}
    for text in (text for text in figure.findobj(Text) if text.get_text()):
        if "\\mathdefault" not in text.get_text():  # in which matplotlib writes powers of ten
            text.set_parse_math(False)
        own = font_manager.FontProperties(family=[FONT], weight=text.get_fontweight())
        lacking[text] = frozenset(text.get_text()) - _characters(font_manager.findfont(own)) - {"\n"}
    wanted = frozenset().union(*lacking.values())
    other, had = _other_font(wanted)
    for text in (text for text, characters in lacking.items() if characters and other):
        text.set_fontfamily([FONT, other])
    if absent := wanted - had:
        where = next(text.get_text() for text, characters in lacking.items() if characters & absent)
        what = "".join(sorted(absent))
        log.warning("no font here has %s of %r: figures show boxes; install one, such as Noto Sans CJK", what, where)
    return figure


@cache
def _characters(file: str) -> frozenset[str]:
    """The characters that a font has."""
    return frozenset(map(chr, font_manager.get_font(file).get_charmap()))


def _other_font(wanted: frozenset[str]) -> tuple[str, frozenset[str]]:
    """The installed family that has most of some characters, by name the first of equals, and which it has.

    Its name is empty where none has any, or none are wanted.
    """
    best, most = "", frozenset()
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name, font.fname)) if wanted else []:
        if font.name == FONT or "last resort" in font.name.lower():  # which has boxes alone
            continue
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # a font that cannot be read
            has = wanted & _characters(font.fname)
            if len(has) > len(most):
                best, most = font.name, has
    return best, most


def write(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or PDF, by the path's suffix, without dates or versions inside."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports each step of embedding a font
    with warnings.catch_warnings(), atomic(path, "wb") as stream:
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")  # said by :func:`legible`, once
        if path.suffix == ".pdf":
            nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
            figure.savefig(stream, format="pdf", dpi=DPI, metadata=nothing)
            return
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        gray = (pixels == pixels[..., :1]).all()
        colors = 150 if len(figure.images) > MANY else 256
        picture = Image.fromarray(pixels[..., 0]) if gray else painted(pixels, colors)
        picture.save(stream, "PNG", optimize=True)


def painted(pixels: np.ndarray, colors: int) -> Image.Image:
    """A picture, uint8 (h, w, 3), in at most so many colors, 256 or fewer; one that has no more stays as it is.

    Pillow's median cut turns colors dull that are bright and rare: its palette is moved to the means of the colors
    nearest to each entry, common colors counting by the third root of their number.
    """
    whole = Image.fromarray(pixels)
    cut = whole.quantize(colors, dither=Image.Dither.NONE)
    if whole.getcolors(colors):
        return cut
    palette = np.array(cut.getpalette()[: 3 * colors], np.float32).reshape(-1, 3)
    shades = (pixels >> 2).astype(int) @ (1 << 12, 1 << 6, 1)  # colors that differ in their last bits are one
    counts = np.bincount(shades.ravel(), minlength=1 << 18)
    seen = np.flatnonzero(counts)
    sums = [np.bincount(shades.ravel(), pixels[..., i].ravel(), 1 << 18)[seen] for i in range(3)]
    means = (np.stack(sums, 1) / counts[seen, None]).astype(np.float32)
    for power in (1 / 3,) * ROUNDS + (1.0,):  # the last one in full, so that the page stays white
        nearest = sum((means[:, i, None] - palette[:, i]) ** 2 for i in range(3)).argmin(1)
        weights = counts[seen] ** power
        total = np.bincount(nearest, weights, len(palette))
        moved = np.stack([np.bincount(nearest, weights * channel, len(palette)) for channel in means.T], 1)
        palette = np.where(total[:, None] > 0, moved / np.maximum(total, 1)[:, None], palette).astype(np.float32)
    entries = np.zeros(1 << 18, np.uint8)
    entries[seen] = nearest
    picture = Image.fromarray(entries[shades])
    picture.putpalette(palette.round().astype(np.uint8).tobytes())
    return picture
