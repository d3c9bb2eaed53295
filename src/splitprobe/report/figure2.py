"""Figure 2: what leaks at each possible cut of an unprotected network; the CNN left, ResNet-18 right.

From above: mutual information by both estimators, effective information, the PSNR of both attacks over their floors,
and below them the same test image rebuilt at each cut. The available text of the paper says what its figure shows, not
its axes; here each estimate of information has axes of its own, since the two measure on different scales.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report.attacks import empty, network, saturated
from splitprobe.report.markdown import data, origin
from splitprobe.report.numbers import Numbers, open_numbers
from splitprobe.report.pictures import read_pictures
from splitprobe.report.style import COLORS, QUIET, TILE, Canvas, enlarged

STEP = 76  # pixels between two cuts, or more
LEFT, RIGHT = 178, 40  # margins of a column, in pixels; the left one holds labels and the original
PANEL, BETWEEN, HEAD = 150, 62, 138  # heights of a panel, of the gap below it, and of the titles
LEAST = 6  # cuts that a column has room for at least
# item: name and color
ATTACKS = {"generator black_box": ("generator", COLORS[1]), "mle tuned": ("MLE", COLORS[3])}
# title, unit, quantity, and name and color of each item that has a line
PANELS = (
    ("Mutual information, calibrated", "nats", "mi_nats", {"mi calibrated": (None, COLORS[2])}),
    ("Mutual information, paper's estimator", "nats", "mi_nats", {"mi paper": (None, COLORS[2])}),
    ("Effective information", "entries", "nonzero_per_image", {"effective": (None, COLORS[4])}),
    ("Attacks", "PSNR, dB", "psnr_db", ATTACKS),
)


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.figure2`` lists, one column for each network among them."""
    numbers = open_numbers(params, paths, "figure2")
    pictures = read_pictures(paths, numbers.cells)
    columns: dict[str, list[str]] = {network(numbers, cell): [] for cell in numbers.cells}
    for cell in sorted(numbers.cells, key=lambda cell: numbers.value(cell, "cell", "cut")):
        columns[network(numbers, cell)].append(cell)
    widths = {name: STEP * max(LEAST, len(cells)) for name, cells in columns.items()}
    width = sum(widths.values()) + (LEFT + RIGHT) * len(widths)
    caption = (
        f"Scale {params.scale}: {data(numbers)}. {origin(numbers, 'images', spreads=False)}. Unprotected networks, "
        "each trained once and cut behind every block. Effective information: non-zero entries of z per image. "
        "Attacks: black-box generator, tuned MLE; dashed: the mean auxiliary image, which needs no feature. Hollow: an "
        "attack that ended no better than that (by MSE), an estimate at the most that its estimator can reach or no "
        "higher than it says of shuffled pairs. Below: "
        "the first test image, rebuilt at each cut."
    )
    lines = textwrap.wrap(caption, width * 2 // 17)
    top, left = HEAD + 17 * len(lines), LEFT
    canvas = Canvas(width, top + len(PANELS) * (PANEL + BETWEEN) + 2 * TILE + 24)
    canvas.text(22, 28, "What leaks at each cut", 24, weight="bold")
    canvas.text(22, 50, "\n".join(lines), 14, va="top", color=QUIET, linespacing=1.3)
    for letter, (name, cells) in zip("ABCDEFGH", columns.items(), strict=False):
        canvas.text(left, top - 54, f"{letter}  {name}", 18, weight="bold")
        for i, (title, unit, quantity, items) in enumerate(PANELS):
            axes = canvas.axes(left, top + i * (PANEL + BETWEEN), widths[name], PANEL)
            axes.margins(y=0.16)
            for item, (label, color) in items.items():
                _line(axes, numbers, cells, item, quantity, label, color)
            # half a step beside the first and the last cut, so that images fit under them
            axes.set(title=title, ylabel=unit, xlim=(0.5, 0.5 + len(cells)))
            cuts = [f"{numbers.value(cell, 'cell', 'cut'):.0f}" for cell in cells]
            axes.set_xticks(range(1, len(cells) + 1), cuts)
        axes.legend(loc="upper right", ncols=2, frameon=False, fontsize=8, borderpad=0.1, handlelength=1.6)
        places = {cell: left + widths[name] / len(cells) * (i + 0.5) for i, cell in enumerate(cells)}
        _images(canvas, numbers, pictures, places, left, top + len(PANELS) * (PANEL + BETWEEN) - BETWEEN)
        left += widths[name] + RIGHT + LEFT
    return canvas.figure


def _images(
    canvas: Canvas, numbers: Numbers, pictures: Mapping[str, Mapping], places: Mapping[str, float], left: int, top: int
) -> None:
    """The shape of z below each cut; then the first test image left, and what each attack makes of it at each cut.

    ``places``: of the cells, in pixels from the left.
    """
    for cell, x in places.items():
        shape = "×".join(map(str, json.loads(numbers.text(cell, "target", "z_shape"))))
        canvas.text(x, top + 38, shape, 11, ha="center", color=QUIET)
    for down, text in ((19, "cut"), (38, "shape of z")):
        canvas.text(left - 8, top + down, text, 12, ha="right", color=QUIET)
    top, original = top + 54, enlarged(pictures[next(iter(places))]["x"][:1])
    size = original.shape[0]
    canvas.text(left - 158, top + size / 2 - 12, "original", 12, color=QUIET)
    canvas.image(left - 158, top + size / 2, original)
    for i, (item, (name, color)) in enumerate(ATTACKS.items()):
        below = top + i * (size + 6)
        canvas.text(left - 8, below + size / 2, name, 12, ha="right", color=color, weight="bold")
        for cell, x in places.items():
            if item in pictures[cell]:
                canvas.image(x - size / 2, below, enlarged(pictures[cell][item][:1]))


def _line(
    axes: Axes, numbers: Numbers, cells: Sequence[str], item: str, quantity: str, label: str | None, color: str
) -> None:
    """A quantity over the cuts, absent values left out; entries on a logarithmic axis, an attack over its floor."""
    values = [numbers.value(cell, item, quantity, missing="-") for cell in cells]
    points = [(i, y, cell) for i, (y, cell) in enumerate(zip(values, cells, strict=True), 1) if y is not None]
    axes.plot([i for i, *_ in points], [y for _, y, _ in points], color=color, label=label, lw=1.3)
    for i, y, cell in points:
        hollow = numbers.number(cell, item, "failed", missing="no attack").highest
        if item.startswith("mi "):
            hollow = any(says(numbers, cell, item.split()[1]) for says in (saturated, empty))
        axes.plot([i], [y], "o", color=color, markerfacecolor="white" if hollow else color, ms=5.5, zorder=4)
    if item == "effective" and any(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:,.0f}")
    floors = (numbers.value(cell, f"floor {item.split()[0]} mean_image", quantity, missing="-") for cell in cells)
    level = next((floor for floor in floors if floor is not None), None)
    if level is not None:
        axes.axhline(level, color=color, lw=1.0, linestyle=(0, (4, 2.5)), zorder=1)
        # two floors are mostly one line: the generator's alone is named
        axes.text(0.53, level, "floor" if "generator" in item else "", size=7.5, color=QUIET, va="bottom")
