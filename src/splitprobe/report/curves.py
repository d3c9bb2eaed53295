"""Training curves, estimator curves and attack curves of several cells: six panels, one color per cell throughout."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from splitprobe.artifacts import read_csv
from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.results import Results, collect, data, labels, origin
from splitprobe.report.style import COLORS, QUIET

WIDTH, HEIGHT = 12.4, 11.4  # inches
LABEL = 8  # points
SOLID, DASHED = "-", (0, (3, 1.6))


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
    Panel("Training loss, all terms", "loss", "target", {"loss": SOLID}),
    Panel("Accuracy on validation images", "fraction correct", "target", {"validation_accuracy": SOLID}),
    Panel("Mutual information, paper's estimator", "nats", "information", {"paper_nats": SOLID}),
    Panel(
        "Mutual information, calibrated estimator", "nats", "information",
        {"calibrated_nats": SOLID, "calibrated_fit_nats": DASHED}, "solid: held-out images, dashed: images fitted on",
    ),
    Panel(
        "Generator: error on held-out auxiliary images", "mean squared error per element", "generator",
        {"black_box_mse": SOLID, "gray_box_mse": DASHED}, "solid: black-box, dashed: gray-box", log=True,
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
    figure = Figure((WIDTH, HEIGHT))
    grid = figure.subplots(3, 2, gridspec_kw=_places(max(map(len, names.values()))))
    figure.text(
        0.02, 0.975, "Training, estimators and attacks, epoch by epoch", fontsize=13, weight="bold", va="center"
    )
    caption = f"Scale {params.scale}: {data(results)}. {origin(results)}. {_reused(results, names)}"
    figure.text(0.02, 0.962, textwrap.fill(caption, 165), fontsize=8.5, color=QUIET, va="top", linespacing=1.3)
    for axes, panel in zip(grid.flat, PANELS, strict=True):
        _panel(axes, panel, results, names)
    return figure


def _places(longest: int) -> dict[str, float]:
    """Where the axes lie when labels of so many letters stand right of each, as matplotlib fractions."""
    left, labels_right = 0.95, 0.3 + 0.066 * longest  # inches; room for ticks such as -0.0004
    width = (WIDTH - 2 * (left + labels_right)) / 2
    across = {"left": left / WIDTH, "right": 1 - labels_right / WIDTH, "wspace": (labels_right + left) / width}
    return {**across, "top": 0.895, "bottom": 0.045, "hspace": 0.36}


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


def _panel(axes: Axes, panel: Panel, results: Sequence[Results], names: Mapping[str, str]) -> None:
    ends = []  # what the labels to the right stand for
    for i, r in enumerate(results):
        color = COLORS[i % len(COLORS)]
        series = read(r, panel)
        for column, (x, y) in series.items():
            axes.plot(x, y, color=color, linestyle=panel.columns[column], marker="o" if len(x) == 1 else None, ms=3)
        if series:
            x, y = next(iter(series.values()))  # the solid line carries the name
            ends.append((names[r.cell], color, x[-1], y[-1]))
    axes.set_title(panel.title, pad=18 if panel.remark else 7)
    axes.text(0, 1.03, panel.remark, transform=axes.transAxes, fontsize=8, color=QUIET)
    axes.set_ylabel(panel.unit)
    axes.set_xlabel("step" if panel.stage == "mle" else "epoch")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.margins(x=0.01)
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        # between the powers of ten only where there is at most one of them, so that labels never crowd
        low, high = axes.get_ylim()
        axes.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else "")
    if ends:
        _label(axes, ends)
    else:
        axes.text(0.5, 0.5, "no curve", transform=axes.transAxes, ha="center", color=QUIET)


def _label(axes: Axes, ends: Sequence[tuple[str, str, float, float]]) -> None:
    """Name each line to the right of the axes at the height of its end, moved apart where ends are close."""
    axes.autoscale_view()  # limits are lazy; the transform below needs them now
    inside = axes.transData + axes.transAxes.inverted()
    spots = [inside.transform((x, y)) for _, _, x, y in ends]
    height = axes.get_window_extent().height / axes.figure.dpi * 72
    heights = spread([y for _, y in spots], 1.25 * LABEL / height)
    for (name, color, _, _), (x, y), label_y in zip(ends, spots, heights, strict=True):
        axes.plot([x, 1.035], [y, label_y], transform=axes.transAxes, color=color, lw=0.6, clip_on=False)
        axes.plot(1.035, label_y, "s", transform=axes.transAxes, color=color, ms=4, clip_on=False)
        axes.text(1.055, label_y, name, transform=axes.transAxes, fontsize=LABEL, va="center")


def spread(heights: Sequence[float], apart: float) -> list[float]:
    """Heights in [0, 1] moved as little as a simple sweep can so that neighbors are ``apart``; the order is kept."""
    order = np.argsort(heights, kind="stable")
    moved = np.asarray(heights, float)[order]
    # upward first; what that pushed past the top comes back down
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + apart)
    moved[-1] = min(moved[-1], 1.0)
    for i in range(len(moved) - 2, -1, -1):
        moved[i] = min(moved[i], moved[i + 1] - apart)
    out = np.empty(len(moved))
    out[order] = moved
    return out.tolist()
