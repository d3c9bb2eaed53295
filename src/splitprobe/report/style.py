"""How figures look, and how they are written: the same bytes for the same numbers on every machine."""

import io
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from splitprobe.artifacts import atomic

DPI = 128
STYLE = {
    "figure.dpi": DPI,
    "font.family": "DejaVu Sans",  # shipped with matplotlib, so that no machine substitutes another
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
}
# told apart by readers with any color vision; the unprotected row, which comes first, is black
COLORS = (
    "#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00",
    "#56b4e9", "#882255", "#999933", "#332288", "#7f7f7f",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
QUIET = "#555555"


def look(i: int) -> Mapping[str, object]:
    """Color and marker of a figure's i-th cell; 16 cells differ in the marker's shape or filling alone."""
    color = COLORS[1 + (i - 1) % (len(COLORS) - 1)] if i else COLORS[0]
    filled = i // len(MARKERS) % 2 == 0
    marker = {"marker": MARKERS[i % len(MARKERS)], "markerfacecolor": color if filled else "white"}
    return {"color": color, **marker, "markeredgecolor": color}


def styled() -> object:
    """The context in which figures are made and written; a user's own matplotlibrc has no say."""
    return style.context(STYLE, after_reset=True)


def write(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or PDF, by the path's suffix, without dates or versions inside."""
    buffer = io.BytesIO()
    if path.suffix == ".pdf":
        logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports each step of embedding a font
        nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        figure.savefig(buffer, format="pdf", dpi=DPI, metadata=nothing)
    else:
        _picture(figure).save(buffer, "PNG", optimize=True)
    with atomic(path, "wb") as stream:
        stream.write(buffer.getvalue())


def _picture(figure: Figure) -> Image.Image:
    """The figure's pixels, in the fewest bytes that keep every photograph as it is."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    if (pixels == pixels[..., :1]).all():
        return Image.fromarray(pixels[..., 0])
    picture = Image.fromarray(pixels)
    # 256 colors are enough for a chart, and a third of the bytes
    return picture if figure.images else picture.quantize(256, dither=Image.Dither.NONE)
