"""What z is made of: how often each of the 256 levels occurs in each channel, and the bits that this costs to send.

Not a figure of the paper, which has H(z) as a factor but no number for it. A static entropy code needs a channel's
entropy for each of its entries, so a dark line is a cheap channel and a wide band an expensive one.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.markdown import number
from splitprobe.report.results import Results, collect, data, labels, origin
from splitprobe.report.style import QUIET

WIDTH, ROW, HEAD = 12.4, 2.7, 1.25  # inches
COLUMNS = 2
RAREST = 1e-5  # share of a channel's entries below which a level looks empty


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.histograms`` lists."""
    results = [r.seeds[0] for r in collect(params, paths, "histograms", ("target", "information"))]
    names, lines = labels(results), -(-len(results) // COLUMNS)
    height = HEAD + ROW * lines
    figure = Figure((WIDTH, height))
    figure.text(0.023, 1 - 0.3 / height, "What z is made of", fontsize=13, weight="bold", va="center")
    caption = textwrap.fill(_caption(params.scale, results), 165)
    figure.text(0.023, 1 - 0.5 / height, caption, fontsize=8.5, color=QUIET, va="top", linespacing=1.3)
    places = {"left": 0.055, "right": 0.92, "top": 1 - (HEAD + 0.15) / height, "bottom": 0.5 / height}
    grid = figure.subplots(lines, COLUMNS, squeeze=False, gridspec_kw={**places, "hspace": 0.5, "wspace": 0.14})
    for axes in grid.flat[len(results) :]:
        axes.set_axis_off()
    for axes, r in zip(grid.flat, results, strict=False):
        _channels(axes, r, names[r.cell])
    shades = figure.add_axes((0.935, places["bottom"], 0.012, places["top"] - places["bottom"]))
    figure.colorbar(grid.flat[0].images[0], shades).set_label("share of the channel's entries")
    return figure


def shares(counts: np.ndarray) -> np.ndarray:
    """Share of each level in its channel, (channels, levels), the channel of the fewest bits first."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    bits = -(share * np.log2(np.where(share > 0, share, 1))).sum(1)
    return share[np.argsort(bits, kind="stable")]


def _channels(axes: Axes, r: Results, name: str) -> None:
    """One cell: a line of the picture for each channel."""
    share = shares(r.arrays("histograms")["counts"])
    how = {"aspect": "auto", "interpolation": "nearest", "cmap": "magma_r", "norm": LogNorm(RAREST, 1)}
    axes.imshow(np.maximum(share, RAREST), **how)
    axes.grid(False)
    axes.spines["left"].set_visible(False)  # a channel that is nearly always at its lowest level has no other column
    entropy, z = r["information"]["entropy"], r["information"]["effective"]
    bits = entropy["coded_bits_per_image"]
    size = "n/a" if bits is None else f"{number(bits, 0)} of {number(entropy['raw_bits_per_image'], 0)} bits an image"
    axes.set_title(f"{name}: {size}, {z['dead_channels']:g} of {z['channels']} dead", fontsize=9)
    axes.set_xlabel("level, from the channel's lowest value to its highest")
    axes.set_ylabel("channel")


def _caption(scale: str, results: Sequence[Results]) -> str:
    entropy = results[0]["information"]["entropy"]
    return (
        f"Scale {scale}: {data(results)}. {origin(results)}. Each line of a panel is a channel of z, quantized to "
        f"{entropy['levels']} levels between its extremes on {entropy['fit_images']:,} training images, and shows how "
        "often each level occurs there; channels in the order of their entropy. Above each panel: the code length of "
        "test images under these histograms."
    )
