"""What the attacker's knowledge is worth: one decoder's scores over the number of pairs (x, z) that it was fitted on.

Not a figure of the paper, whose attacker always has the whole auxiliary set. A line per defense over shares of that
set, and a star for as many images of another data set as there are.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from splitprobe.artifacts import read_json
from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.results import Results, absent, collect, data, distinct, labels
from splitprobe.report.scores import FLOORS
from splitprobe.report.style import QUIET, look

WIDTH, HEIGHT, LEFT = 12.4, 5.6, 0.25  # inches; LEFT is the margin of title and legend
OWN, OTHER = 6.5, 12.0  # size of a marker in points: a share of the auxiliary images, another data set
DASHED, DOTTED = (0, (5, 3)), (0, (1, 2))
# score, its name on the axis, and what it is multiplied with
PANELS = (
    ("psnr_db", "PSNR, dB", 1),
    ("identified", "identified among the test images, %", 100),
    ("recognized", "recognized by the judge, %", 100),
)

Line = tuple[Results, Mapping[str, Any]]  # a cell, and its knowledge/<cell>.json


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.knowledge`` lists.

    Raises ParamsError naming the row and the stage whose result is absent.
    """
    lines = [(r, known(r)) for r in collect(params, paths, "knowledge", ("target",))]
    figure = Figure((WIDTH, HEIGHT))
    caption = textwrap.wrap(_caption(params.scale, lines), 184)
    title = "What the attacker's images are worth"
    figure.text(LEFT / WIDTH, 1 - 0.25 / HEIGHT, title, fontsize=13, weight="bold", va="center")
    how = {"fontsize": 8.5, "color": QUIET, "va": "top", "linespacing": 1.3}
    figure.text(LEFT / WIDTH, 1 - 0.4 / HEIGHT, "\n".join(caption), **how)
    head = 0.45 + 0.17 * len(caption)  # inches above the legend
    place = {"loc": "upper left", "bbox_to_anchor": (LEFT / WIDTH, 1 - head / HEIGHT), "borderaxespad": 0}
    handles = _legend(lines)
    figure.legend(handles=handles, ncols=len(handles), fontsize=8.5, frameon=False, borderpad=0, **place)
    edges = {"left": 0.65 / WIDTH, "right": 1 - 0.2 / WIDTH, "top": 1 - (head + 0.6) / HEIGHT, "bottom": 0.5 / HEIGHT}
    for axes, (key, name, factor) in zip(
        figure.subplots(1, len(PANELS), gridspec_kw={**edges, "wspace": 0.2}), PANELS, strict=True
    ):
        _panel(axes, lines, key, factor)
        axes.set_title(name[0].upper() + name[1:])
    return figure


def known(r: Results) -> Mapping[str, Any]:
    """A cell's knowledge/<cell>.json; raises ParamsError where the stage has not run."""
    file = r.paths.knowledge(r.cell)
    if not file.is_file():
        raise absent(r.key, r.cell, "measure_knowledge", file)
    return read_json(file)


def _caption(scale: str, lines: Sequence[Line]) -> str:
    records = [record for _, record in lines]
    sources, others = [record["provenance"] for record in records], [record["other"] for record in records]
    shares = [point["share"] for record in records for point in record["shares"]]
    named = [record["decoder"].replace("_", "-") for record in records]
    shared = [other["shared_classes"] for other in others]
    overlap = f" ({distinct(shared)} of its classes are also the target's)" if any(shared) else ""
    return (
        f"Scale {scale}: {data([r for r, _ in lines])}. Seed {distinct(s['seed'] for s in sources)}; "
        f"{distinct(s['device'] for s in sources)}. A {distinct(named)} decoder, fitted on "
        f"{' / '.join(dict.fromkeys(f'{100 * share:g} %' for share in shares))} of the auxiliary images, each time "
        f"with the same number of optimizer steps, and scored on the same {distinct(r['images'] for r in records)} "
        f"test images. Stars: fitted on {distinct(other['auxiliary_images'] for other in others)} auxiliary images of "
        f"another data set, {distinct(other['title'] for other in others)}{overlap}. Identified: nearest to its own "
        f"original (MSE). Recognized: given its class by the judge, a classifier trained apart, {_judged(lines)}. "
        "Hollow: an attack that ended no better (MSE) than the mean of its own auxiliary images, which needs no z "
        "(dashed)."
    )


def _judged(lines: Sequence[Line]) -> str:
    """What the judge makes of the originals and of their mean colors alone."""
    _, first = lines[0]
    right, color = first["judge"]["accuracy_on_originals"], first["shares"][0]["floors"]["mean_color"]["recognized"]
    return f"which gives it to {100 * right:.1f} % of the originals and to {100 * color:.1f} % of their mean colors"


def _legend(lines: Sequence[Line]) -> list[Line2D]:
    names = labels([r for r, _ in lines])
    handles = [Line2D([], [], label=names[r.cell], ms=OWN, lw=1.2, **look(i)) for i, (r, _) in enumerate(lines)]
    star = {"marker": "*", "color": QUIET, "linestyle": "none", "ms": OTHER}
    return [
        *handles,
        Line2D([], [], label="another data set's images", **star),
        Line2D([], [], label=f"floor: {FLOORS['mean_image']}", color=QUIET, lw=1.0, linestyle=DASHED),
        Line2D([], [], label="the judge on the originals", color=QUIET, lw=1.0, linestyle=DOTTED),
    ]


def _panel(axes: Axes, lines: Sequence[Line], key: str, factor: float) -> None:
    """One score of all cells over the number of auxiliary images, with its floor."""
    for i, (_, record) in enumerate(lines):
        color = look(i)["color"]
        _series(axes, record["shares"], key, factor, color=color, marker=look(i)["marker"], ms=OWN)
        _series(axes, [record["other"]], key, factor, color=color, marker="*", ms=OTHER)
    _, first = lines[0]  # the floors are those of the images, not of the cell
    points = [*first["shares"], first["other"]]
    floors = [(p["auxiliary_images"], p["floors"]["mean_image"].get(key)) for p in first["shares"]]
    floors = [(x, factor * y) for x, y in floors if y is not None]
    if floors:
        axes.plot(*zip(*floors, strict=True), color=QUIET, lw=1.0, linestyle=DASHED, zorder=1)
    if key == "recognized":
        ceiling = factor * first["judge"]["accuracy_on_originals"]
        axes.axhline(ceiling, color=QUIET, lw=1.0, linestyle=DOTTED, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    ticks = sorted({point["auxiliary_images"] for point in points})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlabel("auxiliary images: pairs (x, z) that the attacker has")
    axes.margins(0.06)


def _series(axes: Axes, points: Sequence[Mapping], key: str, factor: float, **how: Any) -> None:
    """Points of one cell joined by a line, absent scores left out; hollow where the attack failed."""
    found = [(p["auxiliary_images"], factor * p[key], p["failed"]) for p in points if p[key] is not None]
    axes.plot([x for x, *_ in found], [y for _, y, _ in found], color=how["color"], lw=1.2)
    for x, y, failed in found:
        axes.plot([x], [y], **how, markerfacecolor="white" if failed else how["color"], zorder=4)
