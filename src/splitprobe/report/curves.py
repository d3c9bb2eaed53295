"""Training curves, estimator curves and attack curves of several cells: six panels under one legend."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from splitprobe.artifacts import read_csv
from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.results import Results, collect, data, labels, origin
from splitprobe.report.style import QUIET, look

WIDTH, PANELS_HEIGHT, LEFT = 12.4, 10.4, 0.25  # inches; LEFT is the margin of title and legend
MARKER = 5.0  # points
SOLID, DASHED, DOTTED = "-", (0, (3, 1.6)), (0, (1, 1.6))


@dataclass(frozen=True)
class Panel:
    """One set of axes: columns of a stage's curve, each with its line style; ``remark`` explains the styles."""

    title: str
    unit: str
    stage: str
    columns: Mapping[str, object]
    remark: str = ""
    log: bool = False


PANELS = (
    Panel("Training loss, classification term", "loss", "target", {"task": SOLID}),
    Panel("Accuracy on validation images", "fraction correct", "target", {"validation_accuracy": SOLID}),
    Panel("Mutual information, paper's estimator", "nats", "information", {"paper_nats": SOLID}),
    Panel(
        "Mutual information, calibrated estimator", "nats", "information",
        {"calibrated_nats": SOLID, "calibrated_fit_nats": DASHED}, "solid: held-out images, dashed: images fitted on",
    ),
    Panel(
        "Generator: error on held-out auxiliary images", "mean squared error per element", "generator",
        {"black_box_mse": SOLID, "gray_box_mse": DASHED, "repeated_mse": DOTTED},
        "solid: black-box, dashed: gray-box, dotted: black-box with several queries", log=True,
    ),
    Panel(
        "MLE: PSNR of the attacked images", "dB", "mle",
        {"tuned_psnr_db": SOLID, "paper_psnr_db": DASHED}, "solid: tuned, dashed: the paper's settings",
    ),
)  # fmt: skip


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.curves`` lists; a panel skips cells without points."""
    results = collect(params, paths, "curves", ("target",))
    names = labels(results)
    firsts = [r.seeds[0] for r in results]  # the curves are theirs
    caption = textwrap.wrap(f"Scale {params.scale}: {data(results)}. {origin(firsts)}. {_reused(results, names)}", 165)
    columns = max(1, int((WIDTH - 2 * LEFT) / (0.55 + 0.066 * max(map(len, names.values())))))
    # from above, in inches: title, caption, legend, then the panels with their own titles
    legend = 0.48 + 0.17 * len(caption)
    panels = legend + 0.2 * math.ceil(len(results) / columns) + 0.5
    height = panels + PANELS_HEIGHT
    figure = Figure((WIDTH, height))
    places = {"left": 0.95 / WIDTH, "right": 1 - 0.25 / WIDTH, "top": 1 - panels / height, "bottom": 0.5 / height}
    grid = figure.subplots(3, 2, gridspec_kw={**places, "hspace": 0.36, "wspace": 0.18})
    title = "Training, estimators and attacks, epoch by epoch"
    figure.text(LEFT / WIDTH, 1 - 0.28 / height, title, fontsize=13, weight="bold", va="center")
    how = {"fontsize": 8.5, "color": QUIET, "va": "top", "linespacing": 1.3}
    figure.text(LEFT / WIDTH, 1 - 0.43 / height, "\n".join(caption), **how)
    lines = [Line2D([], [], label=names[r.cell], markersize=MARKER, **look(i)) for i, r in enumerate(results)]
    place = {"loc": "upper left", "bbox_to_anchor": (LEFT / WIDTH, 1 - legend / height), "borderaxespad": 0}
    figure.legend(handles=lines, ncols=columns, fontsize=8.5, frameon=False, borderpad=0, handlelength=2.4, **place)
    for axes, panel in zip(grid.flat, PANELS, strict=True):
        _panel(axes, panel, results)
    return figure


def _reused(results: Sequence[Results], names: Mapping[str, str]) -> str:
    """Which cells have no training of their own."""
    reused = {r.cell: r["target"]["training"]["reused_from"] for r in results}
    return " ".join(f"{names[cell]} uses the weights of {source}." for cell, source in reused.items() if source)


def read(r: Results, panel: Panel) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The panel's columns that a cell has: positions and values, points without a value left out."""
    lines, series = read_csv(r.curve(panel.stage)), {}
    for column in panel.columns:
        # attacks of different lengths share a file: the shorter one leaves fields empty
        points = [(float(next(iter(line.values()))), float(line[column])) for line in lines if line.get(column)]
        if points:
            series[column] = tuple(np.array(points).T)
    return series


def _panel(axes: Axes, panel: Panel, results: Sequence[Results]) -> None:
    for i, r in enumerate(results):
        for column, (x, y) in read(r, panel).items():
            # a few markers a line, each cell's at other points, so that lines that coincide can be told apart
            every = max(1, len(x) // 4)
            where = list(range(i % every, len(x), every))
            axes.plot(x, y, linestyle=panel.columns[column], lw=1.2, ms=MARKER, markevery=where, **look(i))
    axes.set_title(panel.title, pad=18 if panel.remark else 7)
    axes.text(0, 1.03, panel.remark, transform=axes.transAxes, fontsize=8, color=QUIET)
    axes.set_ylabel(panel.unit)
    axes.set_xlabel("step" if panel.stage == "mle" else "epoch")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.margins(x=0.02)
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        # between the powers of ten only where there is at most one of them, so that labels never crowd
        low, high = axes.get_ylim()
        axes.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else "")
    if not axes.lines:
        axes.text(0.5, 0.5, "no curve", transform=axes.transAxes, ha="center", color=QUIET)
