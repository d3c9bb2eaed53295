"""Privacy against utility: each defense's accuracy and what the strongest attack gets out of z, over its sweep.

Not a figure of the paper, which gives one point per defense; a defense that can trade one for the other is better
judged by its line. Down (private) and right (accurate) is better.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report.attacks import floors
from splitprobe.report.markdown import data, distinct, marked, origin, stopped
from splitprobe.report.numbers import UNPROTECTED, Number, Numbers, knob, open_numbers
from splitprobe.report.style import QUIET, look, panels

SIZE = (11.0, 5.5)  # inches: the figure's width, and its height below the caption
# where a name may stand beside its point: offset in points, and which end of the text is there
SIDES = (
    (8, 0, "left", "center"), (-8, 0, "right", "center"), (0, 7, "center", "bottom"), (0, -8, "center", "top"),
    (7, 6, "left", "bottom"), (7, -7, "left", "top"), (-7, 6, "right", "bottom"), (-7, -7, "right", "top"),
    (0, 17, "center", "bottom"), (0, -18, "center", "top"), (16, 14, "left", "bottom"), (-16, -15, "right", "top"),
)  # fmt: skip
DOT = 6.0  # pixels around a point that a name leaves free
OWN, SWEPT = 8.5, 4.5  # size of a marker in points: the workspace's setting, another value of a sweep

Spot = tuple[Number, Number]  # accuracy in percent, PSNR of the strongest attack in dB


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.tradeoff`` lists, and the sweeps' points of these cells."""
    numbers = open_numbers(params, paths, "tradeoff", ["sweeps"])
    swept = [point for cell in numbers.cells for point in numbers.settings(cell) if spots(numbers, point)]
    ran = {tuple(map(str, numbers.seeds(point))) for point in swept}
    seeds = sorted(f"seed{'s' if len(each) > 1 else ''} {' '.join(each)}" for each in ran)
    attacked = distinct(numbers.value(cell, "mle", "images") for cell in numbers.cells)
    missing = [cell for cell in numbers.cells if not spots(numbers, cell)]
    absent = [numbers.text(cell, "target", "title") + stopped(numbers, cell) for cell in missing]
    sweeps = (
        " Large markers: the settings of Table II; small ones, joined with them by accuracy, a line for each knob: "
        f"{len(swept)} points of sweeps over one setting ({distinct(seeds)})."
    )
    caption = (
        f"Scale {params.scale}: {data(numbers)}. {origin(numbers)}. Strongest attack: the highest mean PSNR among "
        f"decoders and MLE variants, on the {attacked} test images that all of them were given."
        + (sweeps if swept else "")
        + (f" Without a point: {', '.join(absent)}." if absent else "")
    )
    figure, (axes,) = panels("Privacy against accuracy", caption, SIZE, (1, 1), (0.77, 0.3, 0, 0.56))
    for i, cell in enumerate(numbers.cells):
        _defense(axes, numbers, cell, look(i))
    _frame(axes, numbers)
    _names(figure, axes, numbers)
    return figure


def _names(figure: Figure, axes: Axes, numbers: Numbers) -> None:
    """Each defense's name beside its point, where no other name or point is; the others' in a legend."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    dots = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    spotted = [axes.transData.transform(xy) for line in dots for xy in zip(*line.get_data(), strict=True)]
    taken = [Bbox.from_bounds(x - DOT, y - DOT, 2 * DOT, 2 * DOT) for x, y in spotted]
    taken += [text.get_window_extent(renderer) for text in axes.texts]
    levels = [axes.transData.transform((0, line.get_ydata()[0]))[1] for line in axes.lines if line not in dots]
    taken += [Bbox.from_bounds(axes.bbox.x0, y - 1, axes.bbox.width, 2) for y in levels[1:]]
    left = []
    for i, (cell, name) in enumerate(marked(numbers).items()):
        for accuracy, psnr in spots(numbers, cell):
            for x, y, ha, va in SIDES:
                how = {"xytext": (x, y), "textcoords": "offset points", "ha": ha, "va": va, "fontsize": 8}
                text = axes.annotate(name, (accuracy.value, psnr.value), color=look(i)["color"], **how)
                box = text.get_window_extent(renderer)
                inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0
                if inside and not any(box.overlaps(other) for other in taken):
                    taken.append(box)
                    break
                text.remove()
            else:
                left.append(Line2D([], [], label=name, ms=6, lw=1.0, **look(i)))
    if left:
        axes.legend(handles=left, frameon=False, fontsize=8.5, loc="lower left", bbox_to_anchor=(0, 0.16))


def spots(numbers: Numbers, *cells: str) -> list[Spot]:
    """The points of cells or of sweeps' settings; none where accuracy or every attack's PSNR is absent."""
    places = (("network", "accuracy_percent"), ("strongest", "psnr_db"))
    found = [tuple(numbers.number(cell, *place) for place in places) for cell in cells]
    return [spot for spot in found if None not in (spot[0].value, spot[1].value)]


def _defense(axes: Axes, numbers: Numbers, cell: str, how: dict) -> None:
    """A line over accuracy for each of a defense's knobs, small; the workspace large with its spread over seeds."""
    own, settings = spots(numbers, cell), numbers.settings(cell)
    knobs = [spots(numbers, *(s for s in settings if knob(s) == key)) for key in dict.fromkeys(map(knob, settings))]
    for swept in [points for points in knobs if points] or [[]]:
        line = sorted((accuracy.value, psnr.value) for accuracy, psnr in [*swept, *own])
        axes.plot(*zip(*line, strict=True), **how, ms=SWEPT, lw=1.0, zorder=4)
    for accuracy, psnr in [*own, *(spot for swept in knobs for spot in swept)]:
        if accuracy.sd is not None or psnr.sd is not None:
            bars = {"xerr": accuracy.sd, "yerr": psnr.sd, "color": how["color"], "lw": 0.8, "capsize": 2}
            axes.errorbar(accuracy.value, psnr.value, **bars, zorder=3)
    for accuracy, psnr in own:
        axes.plot(accuracy.value, psnr.value, **how, ms=OWN, zorder=4)


def _frame(axes: Axes, numbers: Numbers) -> None:
    """Axes, the unprotected point and the floor as landmarks, and which way is better."""
    dotted = {"color": "black", "linestyle": (0, (1, 2))}
    plain = [cell for cell in numbers.cells if cell.partition("/")[2] == UNPROTECTED]
    for accuracy, psnr in ((accuracy.value, psnr.value) for accuracy, psnr in spots(numbers, *plain)):
        # below and right of both lines a defense would cost nothing
        axes.axvline(accuracy, lw=0.8, zorder=1, **dotted)
        _level(axes, psnr, f"unprotected, {psnr:.1f} dB", **dotted)
        axes.plot(accuracy, psnr, "o", ms=2 * OWN, markerfacecolor="none", markeredgecolor="black", zorder=3)
    for label, cell, name in floors(numbers):
        floor = numbers.value(cell, f"floor mle {name}", "psnr_db")  # on the images of the strongest
        if name == "mean_image" and floor is not None:
            _level(axes, floor, f"floor: {label}, {floor:.1f} dB", color=QUIET, linestyle=(0, (5, 3)))
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.14 * (high - low), high + 0.05 * (high - low))  # room for the arrow, and above for the name
    arrow = {"arrowstyle": "-|>", "color": QUIET, "lw": 1.4}
    axes.annotate("better", (0.66, 0.02), (0.575, 0.105), xycoords="axes fraction", color=QUIET, arrowprops=arrow)
    axes.set(xlabel="accuracy on test images, %", ylabel="PSNR of the strongest attack, dB (low: private)")


def _level(axes: Axes, y: float, text: str, **how: Any) -> None:
    """A horizontal line across the axes with its name above its left end."""
    axes.axhline(y, lw=1.0, zorder=1, **how)
    place = {"transform": axes.get_yaxis_transform(), "fontsize": 8, "color": how["color"], "va": "bottom"}
    axes.text(0.008, y, text, **place)
