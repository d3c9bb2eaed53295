"""What several releases of an image are worth where a defense is random: a panel per defense, a line per attack.

Not a figure of the paper, whose attacker intercepts each image once. Where a cell has the unprotected network, its
noise averages out to what the same attacks get of the unprotected row's feature: the lines that it tends to.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.report.attacks import FLOORS
from splitprobe.report.markdown import data, distinct, labels
from splitprobe.report.numbers import SHARED, Numbers, open_numbers
from splitprobe.report.style import QUIET, look, panels

DASHED, DOTTED = (0, (5, 3)), (0, (1, 2))
# attack, its name in the legend, and the item and quantity that the unprotected row has on the same images
ATTACKS = {
    "strong": ("strong decoder", "generator strong", SHARED),
    "tuned": ("tuned MLE", "mle tuned", "psnr_db"),
}


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for those cells of ``rows.releases`` that are random; the others lend the lines that these tend to.

    Raises ParamsError where no cell has been tried on several releases.
    """
    numbers = open_numbers(params, paths, "releases", ["releases"])
    cells = [cell for cell in numbers.cells if numbers.quantities(cell, "release")]
    if not cells:
        raise ParamsError(
            f"rows.releases: none of {', '.join(numbers.cells)} has a line in {paths.numbers('releases')}; stage "
            "measure_releases measures them, provided that dvc.yaml lists one, and collect_numbers@releases writes them"
        )
    points, size = tried(numbers), (max(8.0, 3.6 * len(cells)), 4.0)
    shape, margins, handles = (1, len(cells)), (0.65, 0.2, 0.6, 0.5), _legend()
    title, caption = "What several releases of an image are worth", _caption(params.scale, numbers, cells, points)
    figure, grid = panels(title, caption, size, shape, margins, handles, len(handles), sharey=True, wspace=0.08)
    for axes, cell in zip(grid, cells, strict=True):
        _panel(axes, numbers, cell, points)
        axes.set_title(labels(numbers)[cell])
    grid[0].set_ylabel("PSNR, dB")
    return figure


def tried(numbers: Numbers) -> pd.DataFrame:
    """PSNR and failure of each attack, by cell, attack and number of releases, in that order."""
    table = numbers.frame
    named = table.item.str.extract(r"^release points (?P<point>\d+) ?(?P<attack>\w*)$")
    found = table.join(named).dropna(subset="point")
    wide = found.pivot(index=["cell", "point", "attack"], columns="quantity", values="value")
    scores = wide.drop("", level="attack").drop(columns="queries", errors="ignore")
    own = wide.xs("", level="attack")[["queries", "fitted_on"]]
    scores = scores.drop(columns="fitted_on").join(own, on=["cell", "point"])
    return scores.set_index("queries", append=True).droplevel("point").sort_index()


def _caption(scale: str, numbers: Numbers, cells: list[str], points: pd.DataFrame) -> str:
    def values(item: str, key: str) -> list[float | None]:
        return [numbers.value(cell, item, key) for cell in cells]

    fitted = sorted({int(number) for number in points.fitted_on})
    device = distinct(numbers.text(cell, "provenance release", "device") for cell in cells)
    return (
        f"Scale {scale}: {data(numbers)}. Seed {distinct(values('provenance release', 'seed'))}; {device}. Attacks "
        "that combine several releases of the same image into one, on the "
        f"{distinct(values('release', 'images'))} test images that MLE attacks. The decoders were fitted on "
        f"{' and '.join(map(str, fitted))} releases: on "
        "more, what one gets is at most what a decoder of its own would. MLE chooses its settings at each number. "
        "Dashed: the same attacks on the feature of the unprotected network, where the defense acts on that one, to "
        "which noise averages out. Hollow: no better (MSE) than the mean auxiliary image (dotted)."
    )


def _legend() -> list[Line2D]:
    shown = [Line2D([], [], label=name, ms=6.5, lw=1.2, **look(i)) for i, (name, *_) in enumerate(ATTACKS.values(), 1)]
    lines = {"on the unprotected feature": DASHED, f"floor: {FLOORS['mean_image']}": DOTTED}
    return [*shown, *(Line2D([], [], label=name, color=QUIET, lw=1.0, linestyle=how) for name, how in lines.items())]


def _panel(axes: Axes, numbers: Numbers, cell: str, points: pd.DataFrame) -> None:
    """The PSNR of both attacks on one cell over the number of releases, and the lines that they tend to."""
    network = numbers.text(cell, "release", "network")
    for i, (attack, (_, item, quantity)) in enumerate(ATTACKS.items(), 1):
        color, marker = look(i)["color"], look(i)["marker"]
        own = points.loc[(cell, attack)].dropna(subset="psnr_db")
        axes.plot(own.index.to_numpy(), own.psnr_db.to_numpy(), color=color, lw=1.2)
        for number, psnr, failed in zip(own.index, own.psnr_db, own.failed, strict=True):
            face = "white" if failed else color
            axes.plot(number, psnr, marker, color=color, markerfacecolor=face, ms=6.5, zorder=4)
        limit = numbers.value(network, item, quantity, missing="not shown") if network != cell else None
        if limit is not None:
            axes.axhline(limit, color=color, lw=1.0, linestyle=DASHED, zorder=1)
    floor = numbers.value(cell, "floor release mean_image", "psnr_db")
    if floor is not None:
        axes.axhline(floor, color=QUIET, lw=1.0, linestyle=DOTTED, zorder=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    ticks = sorted(set(points.loc[cell].index.get_level_values("queries")))
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.set_xlabel("releases of the same image")
    axes.margins(0.06)
