"""The paper's criterion as pictures: each of its factors against what the strongest attack gains, one dot per cell.

The tests in the titles are those of the table of the same name, whose page has the rules.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.criterion_values import (
    ALL,
    FIXED,
    STAGES,
    Finding,
    Series,
    at_cap,
    examine,
    failures,
    gains,
)
from splitprobe.report.results import DEPTH, Results, collect, origin
from splitprobe.report.scores import network
from splitprobe.report.statistics import Correlation, Settings
from splitprobe.report.style import QUIET, look

WIDTH, LEFT = 9.4, 0.2  # inches
COLUMNS, ACROSS = 3, 4  # panels in a row, entries of the legend in a row
PANEL, BETWEEN = 1.72, 0.93  # inches: a panel's height and the gap below it
LINE, BELOW = 0.165, 0.4  # inches of a line of the caption, and below the last panels
DOT, SMALL = 5.5, 3.2  # points; small: the cuts of a network that the tables do not use
TESTS = 27.0  # points that two lines below a panel's title take
OUTCOME = "strongest"


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.criterion`` lists; a factor that no cell has gets no panel."""
    settings = params.section("criterion", Settings)
    results = collect(params, paths, "criterion", STAGES)
    tests = {(f.series.key, f.scope): f for f in examine(results, settings, (OUTCOME,))}
    y = gains(results, OUTCOME)
    shown, absent = _shown([f.series for f in tests.values() if f.scope == ALL], y)
    looks = _looks(results)
    caption = textwrap.wrap(_caption(params.scale, results, settings, absent), 146)
    rows = max(1, math.ceil(len(shown) / COLUMNS))
    # from above, in inches: title, caption, legend, then the panels with their own titles
    legend = 0.52 + LINE * len(caption)
    top = legend + 0.19 * math.ceil((len(looks) + 2) / ACROSS) + 0.54
    height = top + rows * (PANEL + BETWEEN) - BETWEEN + BELOW
    figure = Figure((WIDTH, height))
    figure.text(LEFT / WIDTH, 1 - 0.26 / height, "The paper's criterion", fontsize=13, weight="bold", va="center")
    how = {"fontsize": 8.5, "color": QUIET, "va": "top", "linespacing": 1.3}
    figure.text(LEFT / WIDTH, 1 - 0.42 / height, "\n".join(caption), **how)
    _legend(figure, results, looks, 1 - legend / height)
    places = {"left": 0.62 / WIDTH, "right": 1 - 0.2 / WIDTH, "top": 1 - top / height, "bottom": BELOW / height}
    places |= {"hspace": BETWEEN / PANEL, "wspace": 0.12}
    grid = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False, gridspec_kw=places)
    for i, axes in enumerate(grid.flat):
        if i >= len(shown):
            axes.set_axis_off()
            continue
        _panel(axes, shown[i], y, results, looks)
        axes.set_title(shown[i].label, pad=TESTS)
        axes.text(0, 1.03, _tests(shown[i], tests), transform=axes.transAxes, fontsize=8, color=QUIET, va="bottom")
        axes.set_ylabel("" if i % COLUMNS else "gain, dB")
    return figure


def _shown(single: Sequence[Series], y: np.ndarray) -> tuple[list[Series], list[str]]:
    """The series with a panel each, and the titles of those that no cell has.

    Of the products the one with all three factors: most cells' strongest attack is a decoder. A fit has no axis of its
    own to read.
    """
    shown, absent = [], []
    for series in single:
        if series.part != "I, H" and not series.key.startswith("fit_"):
            if (np.isfinite(series.values) & np.isfinite(y)).any():
                shown.append(series)
            else:
                absent.append(series.title)
    return shown, absent


def _caption(scale: str, results: Sequence[Results], settings: Settings, absent: Sequence[str]) -> str:
    bad, count = failures(results, OUTCOME)
    sets = {r.network[0]: r["target"]["dataset"]["title"] for r in results}
    titles = "; ".join(f"{name}: {title}" for name, title in sets.items())
    return (
        f"Scale {scale}; {titles}. {origin(results, spreads=False)}. One dot per cell. Gain: PSNR of the strongest "
        f"attack less that of the mean auxiliary image (dashed); {bad} of {count} attacks failed and are kept. rho: "
        "rank correlation over all cells, and at fixed architecture (data, network, cut, edge), with bootstrap "
        f"intervals at level {settings.level:g}; n: cells." + (f" No cell has: {', '.join(absent)}." if absent else "")
    )


def _looks(results: Sequence[Results]) -> dict[tuple[str, str], dict[str, object]]:
    """Color and marker of each data set and network."""
    return {key: dict(look(i)) for i, key in enumerate(dict.fromkeys(r.network for r in results))}


def _legend(figure: Figure, results: Sequence[Results], looks: Mapping, top: float) -> None:
    """Data sets and networks, and what small and hollow dots are."""
    names = {r.network: f"{r.network[0]}, {network(r)}" for r in results}
    plain = {"marker": "o", "color": QUIET, "linestyle": "none"}
    lines = [Line2D([], [], label=names[key], ms=DOT, **how, linestyle="none") for key, how in looks.items()]
    lines.append(Line2D([], [], label="small: another cut", ms=SMALL, **plain))
    lines.append(Line2D([], [], label="hollow: at the estimator's cap", ms=DOT, markerfacecolor="white", **plain))
    place = {"loc": "upper left", "bbox_to_anchor": (LEFT / WIDTH, top), "borderaxespad": 0, "borderpad": 0}
    figure.legend(
        handles=lines, ncols=ACROSS, frameon=False, fontsize=8.5, handletextpad=0.2, columnspacing=1.4, **place
    )


def _tests(series: Series, tests: Mapping[tuple, Finding]) -> str:
    """Both tests of a factor, a line each."""
    whole, fixed = (tests[series.key, scope].found for scope in (ALL, FIXED))
    return f"all: {_text(whole)}\nfixed architecture: {_text(fixed)}"


def _text(found: Correlation) -> str:
    if found.rho is None:
        return "n/a"
    interval = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"rho {found.rho:.2f}{interval}, n {found.count}"


def _panel(axes: Axes, series: Series, y: np.ndarray, results: Sequence[Results], looks: Mapping) -> None:
    """The dots of a factor; on a logarithmic axis those at zero stand at its left end."""
    x, known = series.values.copy(), np.isfinite(series.values) & np.isfinite(y)
    axes.axhline(0, color=QUIET, lw=1.0, linestyle=(0, (5, 3)), zorder=1)
    if series.log:
        zero, positive = known & (x <= 0), x[known & (x > 0)]
        if positive.size:
            axes.set_xscale("log")
            decades = np.log10(positive.max() / positive.min())
            axes.xaxis.set_major_locator(
                LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,))
            )
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            x[zero] = positive.min() / 3
            if zero.any():
                axes.text(0.02, 0.97, f"left end: {zero.sum()} at 0", transform=axes.transAxes, fontsize=7.5, va="top")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))  # small numbers are long
    kinds: dict[tuple, list[int]] = {}
    for i, r in enumerate(results):
        if known[i]:
            kinds.setdefault((r.network, r.cell.startswith(DEPTH), at_cap(r, series.key)), []).append(i)
    for (key, other, hollow), cells in kinds.items():
        how = looks[key] | ({"markerfacecolor": "white"} if hollow else {}) | {"linestyle": "none", "alpha": 0.85}
        axes.plot(x[cells], y[cells], **how, ms=SMALL if other else DOT, zorder=3 if other else 4)
