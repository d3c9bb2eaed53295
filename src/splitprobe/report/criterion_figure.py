"""The paper's criterion as pictures: each of its factors against what the strongest attack gains, one dot per cell.

The tests in the titles are those of the table of the same name, whose page has the rules.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report.attacks import network
from splitprobe.report.criterion_values import ALL, FACTORS, FIXED, collected, examine
from splitprobe.report.markdown import origin
from splitprobe.report.numbers import open_numbers
from splitprobe.report.statistics import Settings
from splitprobe.report.style import QUIET, look, panels

WIDTH, COLUMNS, ACROSS = 9.4, 3, 4  # inches; panels in a row, entries of the legend in a row
PANEL, BETWEEN, BELOW = 1.72, 0.93, 0.4  # inches: a panel's height, the gap below it, and that below the last
DOT, SMALL = 5.5, 3.2  # points; small: the cuts of a network that the tables do not use
TESTS = 27.0  # points that two lines below a panel's title take
OUTCOME = "strongest"
# one panel for each of the criterion's factors and for what goes with the gain best; the table has the other estimates
# of I, what counts the same entries of z otherwise, and the other products, whose dots lie alike
PANELS = ("mi_calibrated", "entropy", "nonzero", "product_size_calibrated", "dependence", "mi_decoder")
DEPTH = "depth_"  # begins the groups of the cuts of one network


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.criterion`` lists; a factor that no cell has gets no panel.

    Of the products it shows the one with all three factors: most cells' strongest attack is a decoder.
    """
    settings, numbers = params.section("criterion", Settings), open_numbers(params, paths, "criterion")
    dots = collected(numbers)
    tests = examine(numbers, dots, settings, (OUTCOME,))
    dots["y"] = dots[f"{OUTCOME}_gain_db"]
    dots["network"] = [f"{numbers.network(cell)[0]}, {network(numbers, cell)}" for cell in numbers.cells]
    dots["small"] = dots.index.str.startswith(DEPTH)
    known = {key: np.isfinite(dots[key]) & np.isfinite(dots.y) for key in PANELS}
    shown = [key for key in PANELS if known[key].any()]
    hollow = any((known[key] & dots.get(f"capped_{key}", False)).any() for key in shown)
    looks = {name: look(i) for i, name in enumerate(dots.network.unique())}
    rows = max(1, math.ceil(len(shown) / COLUMNS))
    space = 0.19 * math.ceil((len(looks) + 2) / ACROSS) + 0.54  # of the legend and the first panels' titles
    absent, failed = [FACTORS[key].title for key in PANELS if key not in shown], dots[f"{OUTCOME}_failed"].dropna()
    kept = f"; {failed.sum()} of {len(failed)} attacks failed and are kept" if failed.any() else ""
    titles = "; ".join(f"{name}: {numbers.text(cell, 'dataset', 'title')}" for name, cell in numbers.datasets().items())
    caption = (
        f"Scale {params.scale}; {titles}. {origin(numbers, spreads=False)}. One dot per cell. Gain: PSNR of the "
        f"strongest attack less that of the mean auxiliary image (dashed){kept}. rho: "
        "rank correlation over all cells, and at fixed architecture (data, network, cut, edge), with bootstrap "
        f"intervals at level {settings.level:g}; n: cells." + (f" No cell has: {', '.join(absent)}." if absent else "")
    )
    plain = {"marker": "o", "color": QUIET, "linestyle": "none"}
    handles = [Line2D([], [], label=name, ms=DOT, **how, linestyle="none") for name, how in looks.items()]
    if dots.small.any():
        handles.append(Line2D([], [], label="small: another cut", ms=SMALL, **plain))
    if hollow:
        handles.append(Line2D([], [], label="hollow: at the estimator's cap", ms=DOT, markerfacecolor="white", **plain))
    size, margins = (WIDTH, space + rows * (PANEL + BETWEEN) - BETWEEN + BELOW), (0.62, 0.2, space, BELOW)
    spaces = {"sharey": True, "hspace": BETWEEN / PANEL, "wspace": 0.12}
    figure, grid = panels("The paper's criterion", caption, size, (rows, COLUMNS), margins, handles, ACROSS, **spaces)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for axes, key in zip(grid, shown, strict=False):
        own = dots.assign(x=dots[key], hollow=dots.get(f"capped_{key}", False))[known[key]]
        _panel(axes, own, FACTORS[key].log, looks)
        axes.set_title(FACTORS[key].label, pad=TESTS)
        both = (tests[key, OUTCOME, scope] for scope in (ALL, FIXED))
        whole, fixed = ("n/a" if test.rho is None else f"rho {test.text}, n {test.count}" for test in both)
        how = {"transform": axes.transAxes, "fontsize": 8, "color": QUIET, "va": "bottom"}
        axes.text(0, 1.03, f"all: {whole}\nfixed architecture: {fixed}", **how)
    for axes in grid[::COLUMNS]:
        axes.set_ylabel("gain, dB")
    return figure


def _panel(axes: Axes, dots: pd.DataFrame, log: bool, looks: Mapping) -> None:
    """The dots of a factor; on a logarithmic axis those at zero stand at its left end.

    ``dots``: a line for each cell with its ``x``, ``y`` and ``network``, which ``looks`` are for, and whether it is
    ``small`` and ``hollow``.
    """
    axes.axhline(0, color=QUIET, lw=1.0, linestyle=(0, (5, 3)), zorder=1)
    zero, positive = dots.x <= 0, dots.x[dots.x > 0]
    if not log:
        axes.xaxis.set_major_locator(MaxNLocator(4))  # small numbers are long
    elif len(positive):
        axes.set_xscale("log")
        decades = np.log10(positive.max() / positive.min())
        marks = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=marks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        dots = dots.assign(x=dots.x.mask(zero, positive.min() / 3))
        if zero.any():
            axes.text(0.02, 0.97, f"left end: {zero.sum()} at 0", transform=axes.transAxes, fontsize=7.5, va="top")
    for (name, small, hollow), own in dots.groupby(["network", "small", "hollow"], sort=False):
        how = looks[name] | ({"markerfacecolor": "white"} if hollow else {}) | {"linestyle": "none", "alpha": 0.85}
        axes.plot(own.x.to_numpy(), own.y.to_numpy(), **how, ms=SMALL if small else DOT, zorder=3 if small else 4)
