"""The measures of information on known answers: estimates against the truth, for Gaussians whose answer is closed.

Not a figure of the paper. Its three panels say how far a number of the tables can be trusted: up to which cap an
estimate of mutual information follows the truth, what the codes of z cost beyond its entropy, and what the bias of the
plain distance correlation amounts to. On real features nobody knows the truth.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.report import frame
from splitprobe.report.markdown import distinct
from splitprobe.report.numbers import rows
from splitprobe.report.style import QUIET, look, panels

SIZE = (12.4, 4.3)  # inches: the figure's width, and its height below the caption
DASHED, DOTTED = (0, (4, 2.5)), (0, (1, 1.6))
ESTIMATORS = {
    "paper": "MINE, the paper's",
    "calibrated": "MINE, calibrated",
    "infonce": "InfoNCE",
    "decoder_fitted": "decoder bound, fitted decoder",
    "decoder_mmse": "decoder bound, best decoder",
}
CODES = {"coded_bits": "static entropy code", "deflate_bits": "deflate"}
DEPENDENCES = {"dcor_squared": "bias-corrected", "plain_dcor_squared": "plain"}
# title and axes of each panel
FRAMES = (
    ("Mutual information", "true I(x; z), nats", "estimate, nats"),
    ("Entropy: error", "width, quantization steps", "code length above the entropy, bits an entry"),
    ("Distance correlation", "true squared distance correlation", "estimate"),
)


def draw(params: Params, paths: Paths) -> Figure:
    """The figure; ``rows.calibration`` lists the estimators of mutual information among ESTIMATORS.

    Raises ParamsError for an estimator that is unknown or that the result lacks.
    """
    names, table = rows(params, "calibration"), frame.read(paths.numbers("calibration"))
    values = measured(table)
    for name in names:
        if name not in ESTIMATORS or ("mutual_information", name) not in values.index.droplevel("pair"):
            raise ParamsError(f"rows.calibration: {name!r} is no estimator here; known: {', '.join(ESTIMATORS)}")
    caption = _caption(params.scale, names, table, values)
    title, margins = "Measures of information on known answers", (0.68, 0.19, 0.35, 0.5)
    figure, grid = panels(title, caption, SIZE, (1, 3), margins, wspace=0.25, width_ratios=(1.5, 1, 1))
    highest = _information(grid[0], names, values.loc["mutual_information"])
    entropy, dependence = (values.loc[(measure, "")] for measure in ("entropy", "dependence"))
    for i, (key, label) in enumerate(CODES.items(), 1):
        _line(grid[1], i, entropy.width, entropy[key] - entropy.truth_bits, label)
    grid[1].set_xscale("log", base=2)
    grid[1].xaxis.set_major_formatter("{x:g}")
    for i, (key, label) in enumerate(DEPENDENCES.items(), 1):
        _line(grid[2], i, dependence.truth_dcor_squared, dependence[key], label)
    truth = {"color": "black", "lw": 1.0, "linestyle": DOTTED, "zorder": 1}
    for axes, end, (title, x, y) in zip(grid, (highest, None, 1), FRAMES, strict=True):
        axes.plot([0, end], [0, end], **truth) if end else axes.axhline(0, **truth)
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.legend(loc="best", frameon=False, fontsize=8, handlelength=2.2)
    return figure


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers of each pair (x, z): a column for each quantity, lines by measure, estimator and pair.

    What belongs to no estimator, such as the truth, stands under the empty name.
    """
    named = table.item.str.extract(r"^calibration (?P<measure>[a-z_]+) (?P<pair>\d+) ?(?P<estimator>\w*)$")
    found = table.join(named).dropna(subset="pair").astype({"pair": int})
    return found.pivot(index=["measure", "estimator", "pair"], columns="quantity", values="value")


def _caption(scale: str, names: Sequence[str], table: pd.DataFrame, values: pd.DataFrame) -> str:
    facts = table.set_index(["item", "quantity"])
    seed, device = facts.value["provenance calibration", "seed"], facts.text["provenance calibration", "device"]
    shape = facts.text["calibration", "shape"].strip("[]").replace(", ", " × ")
    budgets: dict[str, list[str]] = {}
    for name in names:
        found = values.loc["mutual_information", name]
        if "epochs" in found and found.epochs.notna().all():
            epochs, fitted, held = (distinct(found[key]) for key in ("epochs", "fit_images", "held_out_images"))
            budget = f"{epochs} epoch{'s' * (epochs != '1')} on {fitted} pairs, read on {held} others"
            budgets.setdefault(budget, []).append(ESTIMATORS[name])
    spent = "".join(f"{' and '.join(titles)}: {budget}. " for budget, titles in budgets.items())
    return (
        f"Scale {scale}; seed {seed:.0f}; {device}. Gaussian x and z of shape "
        f"{shape}, each entry of z correlated with its own of x; estimators with this scale's budget. {spent}Dotted: "
        "the truth. Dashed: the most that an estimator can reach with so many pairs. Entropy: Gaussians rounded to 8 "
        "bits, by their width. Distance correlation: of the same pairs, squared."
    )


def _information(axes: Axes, names: Sequence[str], values: pd.DataFrame) -> float:
    """Estimates over the truth, both linear below 1 nat and logarithmic above, and the caps that lie on the panel.

    Returns the end of both axes.
    """
    truths = values.loc[""].truth_nats
    highest = 1.5 * max(truths.max(), 1.0)
    for i, name in enumerate(names):
        _line(axes, i, truths, values.loc[name].mi_nats, ESTIMATORS[name])
    caps = values.loc[list(names)].cap_nats.dropna().round(2)
    for cap in dict.fromkeys(caps[caps < highest]):
        axes.axhline(cap, color=QUIET, lw=1.0, linestyle=DASHED, zorder=1)
        place = {"transform": axes.get_yaxis_transform(), "fontsize": 8, "color": QUIET, "va": "bottom", "ha": "right"}
        axes.text(0.99, cap, f"at most {cap:g} nats", **place)
    for scale, limit in ((axes.set_xscale, axes.set_xlim), (axes.set_yscale, axes.set_ylim)):
        scale("symlog", linthresh=1, linscale=0.7)
        limit(-0.2, highest)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([0, 0.5, *(tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick < highest)])
        axis.set_major_formatter("{x:g}")
        axis.set_ticks([], minor=True)
    return highest


def _line(axes: Axes, i: int, x: pd.Series, y: pd.Series, label: str) -> None:
    """A marked line over the pairs, absent values left out."""
    points = pd.DataFrame({"x": x, "y": y}).dropna().sort_values("x")
    axes.plot(points.x.to_numpy(), points.y.to_numpy(), ms=5.5, lw=1.2, label=label, zorder=4, **look(i))
