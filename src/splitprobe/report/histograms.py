"""What z is made of: how often each of the 256 levels occurs in each channel, and the bits that this costs to send.

Not a figure of the paper, which has H(z) as a factor but no number for it. A static entropy code needs a channel's
entropy for each of its entries, so a dark line is a cheap channel and a wide band an expensive one.
"""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report.markdown import data, labels, number, origin
from splitprobe.report.numbers import open_numbers
from splitprobe.report.pictures import HISTOGRAMS, read_pictures
from splitprobe.report.style import panels

WIDTH, ROW = 12.4, 2.7  # inches
COLUMNS = 2
RAREST = 1e-5  # share of a channel's entries below which a level looks empty


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.histograms`` lists, of each its first seed."""
    numbers = open_numbers(params, paths, "histograms").first()
    pictures = read_pictures(paths, numbers.cells)
    names, lines = labels(numbers), -(-len(numbers.cells) // COLUMNS)
    levels, images = (numbers.value(numbers.cells[0], "entropy", key) for key in ("levels", "fit_images"))
    caption = (
        f"Scale {params.scale}: {data(numbers)}. {origin(numbers)}. Each line of a panel is a channel of z, quantized "
        f"to {levels:.0f} levels between its extremes on {images:,.0f} training images, and shows how often each level "
        "occurs there; channels in the order of their entropy. Above each panel: the code length of test images under "
        "these histograms."
    )
    size, margins = (WIDTH, ROW * lines + 0.2), (0.68, 1.0, 0.25, 0.5)
    spaces, title = {"hspace": 0.5, "wspace": 0.14}, "What z is made of"
    figure, grid = panels(title, caption, size, (lines, COLUMNS), margins, **spaces)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    for axes, (cell, name) in zip(grid, names.items(), strict=False):
        counts = pictures[cell][HISTOGRAMS]
        how = {"aspect": "auto", "interpolation": "nearest", "cmap": "magma_r", "norm": LogNorm(RAREST, 1)}
        axes.imshow(np.maximum(shares(counts), RAREST), **how)
        axes.grid(False)
        axes.spines["left"].set_visible(False)  # a channel nearly always at its lowest level has no other column
        axes.set(xlabel="level, from the channel's lowest value to its highest", ylabel="channel")
        # what z costs to send, and how many of its channels have one level alone
        coded, raw = (numbers.number(cell, "entropy", f"{key}_bits_per_image") for key in ("coded", "raw"))
        bits = "n/a" if coded.value is None else f"{number(coded, 0)} of {number(raw, 0)} bits an image"
        constant = int(((counts > 0).sum(1) <= 1).sum())
        bits += f", {constant} of {len(counts)} channels constant" if constant else ""
        axes.set_title(f"{name}: {bits}", fontsize=9)
    whole = grid[0].get_gridspec()
    shades = figure.add_axes((0.935, whole.bottom, 0.012, whole.top - whole.bottom))
    figure.colorbar(grid[0].images[0], shades).set_label("share of the channel's entries")
    return figure


def shares(counts: np.ndarray) -> np.ndarray:
    """Share of each level in its channel, (channels, levels), the channel of the fewest bits first."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    bits = -(share * np.log2(np.where(share > 0, share, 1))).sum(1)
    return share[np.argsort(bits, kind="stable")]
