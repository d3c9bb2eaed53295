"""What the attacker's knowledge is worth: one decoder's scores over the number of pairs (x, z) that it was fitted on.

Not a figure of the paper, whose attacker always has the whole auxiliary set. A line per defense over shares of that
set, and a star for as many images of another data set as there are. At the left end stands who has no pair, but a
substitute of the edge, trained on the attacked features alone.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.report.attacks import FLOORS
from splitprobe.report.markdown import data, distinct, explained, labels
from splitprobe.report.numbers import Numbers, open_numbers
from splitprobe.report.style import QUIET, look, panels

SIZE = (12.4, 4.3)  # inches: the figure's width, and its height below the caption
OWN, OTHER = 6.5, 12.0  # size of a marker in points: a share of the auxiliary images, another data set
NO_PAIRS, STEP = "query_free", 4.0  # the attacker without pairs stands a fourth of the smallest number of pairs
DASHED, DOTTED = (0, (5, 3)), (0, (1, 2))
# score and title
SCORES = {
    "psnr_db": "PSNR, dB",
    "identified": "Identified among the test images, %",
    "recognized": "Recognized by the judge, %",
}


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.knowledge`` lists.

    Raises ParamsError for a cell that the attacks with fewer images were not run on.
    """
    numbers = open_numbers(params, paths, "knowledge", ["knowledge"])
    for cell in numbers.cells:
        if not numbers.quantities(cell, "knowledge"):
            raise ParamsError(
                f"rows.knowledge: {cell!r} has no line in {paths.numbers('knowledge')}; stage measure_knowledge@{cell} "
                f"measures it, provided that dvc.yaml lists it, and collect_numbers@knowledge writes it"
            )
    points = tried(numbers)
    star = {"marker": "*", "color": QUIET, "linestyle": "none", "ms": OTHER}
    handles = [
        *(Line2D([], [], label=name, ms=OWN, lw=1.2, **look(i)) for i, name in enumerate(labels(numbers).values())),
        Line2D([], [], label="another data set's images", **star),
        Line2D([], [], label=f"floor: {FLOORS['mean_image']}", color=QUIET, lw=1.0, linestyle=DASHED),
        Line2D([], [], label="the judge on the originals", color=QUIET, lw=1.0, linestyle=DOTTED),
    ]
    title, caption = "What the attacker's images are worth", _caption(params.scale, numbers, points)
    shape, margins = (1, len(SCORES)), (0.65, 0.2, 0.6, 0.5)
    figure, grid = panels(title, caption, SIZE, shape, margins, handles, len(handles), wspace=0.2)
    for axes, (key, title) in zip(grid, SCORES.items(), strict=True):
        _panel(axes, numbers.cells, points, key)
        axes.set_title(title)
    ceiling = 100 * numbers.value(numbers.cells[0], "judge knowledge", "accuracy_on_originals")
    grid[-1].axhline(ceiling, color=QUIET, lw=1.0, linestyle=DOTTED, zorder=1)
    return figure


def tried(numbers: Numbers) -> pd.DataFrame:
    """The scores of each attack, shares in percent: a column for each quantity, lines by cell, floor and point.

    A point is ``shares <i>``, ``other`` or NO_PAIRS; the attacker's own scores stand under the empty name of a floor.
    """
    table = numbers.frame
    named = table.item.str.extract(r"^knowledge (?P<point>shares \d+|other|query_free)(?: floors )?(?P<floor>\w*)$")
    found = table.join(named).dropna(subset="point")
    wide = found.pivot(index=["cell", "floor", "point"], columns="quantity", values="value")
    # auxiliary images without their features are no pairs; on a logarithmic axis there is no zero
    known = wide.drop(NO_PAIRS, level="point", errors="ignore").auxiliary_images
    blind = wide.index.get_level_values("point") == NO_PAIRS
    wide.loc[blind, "auxiliary_images"] = known.min() / STEP
    return wide.assign(identified=100 * wide.identified, recognized=100 * wide.recognized)


def _caption(scale: str, numbers: Numbers, points: pd.DataFrame) -> str:
    def common(item: str, key: str) -> str:
        every = [numbers.text(c, item, key) or numbers.value(c, item, key) for c in numbers.cells]
        return distinct(value.replace("_", "-") if key == "decoder" else value for value in every)

    shares = points.xs("", level="floor").loc[numbers.cells].share.dropna()
    overlap = common("knowledge other", "shared_classes")
    overlap = f" ({overlap} of its classes are also the target's)" if overlap != "0" else ""
    right = numbers.value(numbers.cells[0], "judge knowledge", "accuracy_on_originals")
    color = numbers.value(numbers.cells[0], "knowledge shares 0 floors mean_color", "recognized")
    return (
        f"Scale {scale}: {data(numbers)}. Seed {common('provenance knowledge', 'seed')}; "
        f"{common('provenance knowledge', 'device')}. A {common('knowledge', 'decoder')} decoder, fitted on "
        f"{' / '.join(dict.fromkeys(f'{100 * share:g} %' for share in shares))} of the auxiliary images, each time "
        f"with the same number of optimizer steps, and scored on the same {common('knowledge', 'images')} "
        f"test images. Stars: fitted on {common('knowledge other', 'auxiliary_images')} auxiliary images of "
        f"another data set, {common('knowledge other', 'title')}{overlap}. {_blind(numbers)}Identified: nearest to "
        "its own original (MSE). Recognized: given its class by the judge, a classifier trained apart, which gives it "
        f"to {100 * right:.1f} % of the originals and to {100 * color:.1f} % of their mean colors. Hollow: an attack "
        "that ended no better (MSE) than the mean of its own auxiliary images, which needs no z (dashed)."
        f"{explained(numbers)}"
    )


def _blind(numbers: Numbers) -> str:
    """A sentence on the attacker without pairs, where there is one."""
    item = f"knowledge {NO_PAIRS}"
    cells = [cell for cell in numbers.cells if numbers.quantities(cell, item)]
    if not cells:
        return ""
    keys = ("intercepted", "substitute_steps")
    seen, steps = (distinct(numbers.value(cell, item, key) for cell in cells) for key in keys)
    return (
        f"None: an attacker who has auxiliary images but no feature of any, and trains a substitute of the edge on "
        f"{seen} intercepted features ({steps} steps). "
    )


def _panel(axes: Axes, cells: Sequence[str], points: pd.DataFrame, key: str) -> None:
    """One score of all cells over the number of auxiliary images, with its floor; hollow where the attack failed."""
    for i, cell in enumerate(cells):
        color, marker = look(i)["color"], look(i)["marker"]
        known = points.loc[(cell, "")].dropna(subset=key).sort_values("auxiliary_images")
        shares = known.drop(["other", NO_PAIRS], errors="ignore")
        axes.plot(shares.auxiliary_images.to_numpy(), shares[key].to_numpy(), color=color, lw=1.2)
        for point in known.itertuples():
            how = {"marker": "*", "ms": OTHER} if point.Index == "other" else {"marker": marker, "ms": OWN}
            face = "white" if point.failed else color
            axes.plot(point.auxiliary_images, getattr(point, key), color=color, markerfacecolor=face, zorder=4, **how)
    sizes = points.loc[(cells[0], "")].auxiliary_images  # the floors are those of the images, not of the cell
    floors = points.loc[(cells[0], "mean_image")].drop(["other", NO_PAIRS], errors="ignore")[key].dropna()
    if len(floors):
        line = pd.Series(floors.to_numpy(), sizes[floors.index]).sort_index()
        axes.plot(line.index, line.to_numpy(), color=QUIET, lw=1.0, linestyle=DASHED, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    ticks = sorted(set(sizes))
    blind = points.auxiliary_images.get((cells[0], "", NO_PAIRS))
    axes.set_xticks(ticks, ["none" if tick == blind else f"{tick:,.0f}" for tick in ticks])
    axes.set_xlabel("auxiliary images: pairs (x, z) that the attacker has")
    axes.margins(0.06)
