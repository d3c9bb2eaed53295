"""Privacy against utility: each defense's accuracy and what the strongest attack gets out of z, over its sweep.

Not a figure of the paper, which gives one point per defense; a defense that can trade one for the other is better
judged by its line. Down (private) and right (accurate) is better.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import sweeps
from splitprobe.report.results import Results, collect, data, distinct, labels, origin
from splitprobe.report.scores import FLOORS, floors, strongest
from splitprobe.report.spread import Mean, scaled
from splitprobe.report.style import QUIET, look

WIDTH, HEIGHT = 11.0, 6.6  # inches
OWN, SWEPT = 8.5, 4.5  # size of a marker in points: the workspace's setting, another value of a sweep

Spot = tuple[float, float]  # accuracy in percent, PSNR of the strongest attack in dB


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.tradeoff`` lists, and the sweeps' points of these cells."""
    results = collect(params, paths, "tradeoff", ("target", "generator", "mle"))
    names = labels(results)
    swept = {r.cell: {} for r in results}
    found = [point for point in sweeps.points(paths) if point.cell in swept and own(point) is not None]
    for point in found:
        swept[point.cell].setdefault(point["knob"]["key"], []).append(own(point))
    figure = Figure((WIDTH, HEIGHT))
    figure.text(0.023, 0.96, "Privacy against accuracy", fontsize=13, weight="bold", va="center")
    caption = textwrap.fill(_caption(params.scale, results, found), 148)
    figure.text(0.023, 0.94, caption, fontsize=8.5, color=QUIET, va="top", linespacing=1.3)
    axes = figure.add_axes((0.07, 0.085, 0.68, 0.735))
    for i, r in enumerate(results):
        _defense(axes, i, own(r), swept[r.cell])
    _frame(axes, results)
    lines = [Line2D([], [], label=names[r.cell], markersize=6, lw=1.0, **look(i)) for i, r in enumerate(results)]
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.01), "borderaxespad": 0, "labelspacing": 0.75}
    axes.legend(handles=lines, frameon=False, fontsize=9, **place)
    return figure


def own(r: Results) -> Spot | None:
    """The point of a cell, or of a sweep's setting; None when accuracy or every attack's PSNR is absent."""
    accuracy, psnr = r["target"]["accuracy"], strongest(r)
    return None if None in (accuracy, psnr) else (scaled(accuracy, 100), psnr)


def _caption(scale: str, results: Sequence[Results], swept: Sequence[Results]) -> str:
    ran = {tuple(str(run.seed) for run in point.seeds) for point in swept}
    seeds = sorted(f"seed{'s' if len(each) > 1 else ''} {' '.join(each)}" for each in ran)
    counts = [distinct(r[stage]["images"] for r in results) for stage in ("generator", "mle")]
    absent = [r.title for r in results if own(r) is None]
    return (
        f"Scale {scale}: {data(results)}. {origin(results)}. Strongest attack: the highest mean PSNR among decoders "
        f"({counts[0]} images) and MLE variants ({counts[1]} images). Large markers: the settings of Table II; small "
        f"ones, joined with them by accuracy, a line for each knob: {len(swept)} points of sweeps over one setting"
        f"{f' ({distinct(seeds)})' if seeds else ''}." + (f" Without a point: {', '.join(absent)}." if absent else "")
    )


def _defense(axes: Axes, i: int, spot: Spot | None, knobs: Mapping[str, Sequence[Spot]]) -> None:
    """A line over accuracy for each of a defense's knobs, small; the workspace large with its spread over seeds."""
    how = look(i)
    for swept in knobs.values() or [[]]:
        line = sorted([*swept, *([spot] if spot else [])])
        axes.plot(*zip(*line, strict=True), **how, ms=SWEPT, lw=1.0, zorder=4)
    if spot:
        axes.plot(*spot, **how, ms=OWN, zorder=4)
        bars = {f"{axis}err": value.sd for axis, value in zip("xy", spot, strict=True) if isinstance(value, Mean)}
        if bars:
            axes.errorbar(*spot, **bars, color=how["color"], lw=0.8, capsize=2, zorder=3)


def _frame(axes: Axes, results: Sequence[Results]) -> None:
    """Axes, the unprotected point and the floor as landmarks, and which way is better."""
    for spot in filter(None, (own(r) for r in results if r.row == "unprotected")):
        # below and right of both lines a defense would cost nothing
        axes.axvline(spot[0], color="black", lw=0.8, linestyle=(0, (1, 2)), zorder=1)
        _level(axes, spot[1], f"unprotected, {spot[1]:.1f} dB", color="black", linestyle=(0, (1, 2)))
        axes.plot(*spot, "o", ms=2 * OWN, markerfacecolor="none", markeredgecolor="black", zorder=3)
    for label, scores, _ in floors(results):
        if label.startswith(FLOORS["mean_image"]) and scores["psnr_db"] is not None:
            text = f"floor: {label}, {scores['psnr_db']:.1f} dB"
            _level(axes, scores["psnr_db"], text, color=QUIET, linestyle=(0, (5, 3)))
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.14 * (high - low), high + 0.05 * (high - low))  # room for the arrow, and above for the name
    arrow = {"arrowstyle": "-|>", "color": QUIET, "lw": 1.4}
    axes.annotate("better", (0.66, 0.02), (0.575, 0.105), xycoords="axes fraction", color=QUIET, arrowprops=arrow)
    axes.set_xlabel("accuracy on test images, %")
    axes.set_ylabel("PSNR of the strongest attack, dB (low: private)")


def _level(axes: Axes, y: float, text: str, **how: Any) -> None:
    """A horizontal line across the axes with its name above its left end."""
    axes.axhline(y, lw=1.0, zorder=1, **how)
    place = {"transform": axes.get_yaxis_transform(), "fontsize": 8, "color": how["color"], "va": "bottom"}
    axes.text(0.008, y, text, **place)
