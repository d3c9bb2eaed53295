"""The measures of information on known answers: estimates against the truth, for Gaussians whose answer is closed.

Not a figure of the paper. Its three panels say how far a number of the tables can be trusted: up to which cap an
estimate of mutual information follows the truth, what the codes of z cost beyond its entropy, and what the bias of the
plain distance correlation amounts to. On real features nobody knows the truth.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from splitprobe.artifacts import read_json
from splitprobe.cells import Paths
from splitprobe.params import Params, ParamsError
from splitprobe.report.results import distinct, rows
from splitprobe.report.style import QUIET, look

WIDTH, HEIGHT = 12.4, 5.7  # inches
DASHED, DOTTED = (0, (4, 2.5)), (0, (1, 1.6))
ESTIMATORS = {
    "paper": "MINE, the paper's",
    "calibrated": "MINE, calibrated",
    "infonce": "InfoNCE",
    "decoder_fitted": "decoder bound, fitted decoder",
    "decoder_mmse": "decoder bound, best decoder",
}
CODES = {"coded_bits": "static entropy code", "deflate_bits": "deflate"}
BUDGET = ("epochs", "fit_images", "held_out_images")
DEPENDENCES = {"dcor_squared": "bias-corrected", "plain_dcor_squared": "plain"}


def draw(params: Params, paths: Paths) -> Figure:
    """The figure; ``rows.calibration`` lists the estimators of mutual information among ESTIMATORS.

    Raises ParamsError for an estimator that is unknown or that the result lacks, and when the stage has not run.
    """
    names, record = rows(params, "calibration"), _record(paths)
    for name in names:
        if name not in ESTIMATORS or name not in record["mutual_information"][0]:
            raise ParamsError(f"rows.calibration: {name!r} is no estimator here; known: {', '.join(ESTIMATORS)}")
    figure = Figure((WIDTH, HEIGHT))
    title = "Measures of information on known answers"
    figure.text(0.02, 0.95, title, fontsize=13, weight="bold", va="center")
    caption = textwrap.fill(_caption(params.scale, names, record), 178)
    figure.text(0.02, 0.92, caption, fontsize=8.5, color=QUIET, va="top", linespacing=1.3)
    places = {"left": 0.055, "right": 0.985, "top": 0.72, "bottom": 0.1, "wspace": 0.25, "width_ratios": (1.5, 1, 1)}
    information, entropy, dependence = figure.subplots(1, 3, gridspec_kw=places)
    _information(information, names, record["mutual_information"])
    _entropy(entropy, record["entropy"])
    _dependence(dependence, record["dependence"])
    return figure


def _record(paths: Paths) -> dict[str, Any]:
    file = paths.calibration
    if not file.is_file():
        raise ParamsError(f"{file} is missing; stage calibrate_information writes it (dvc repro calibrate_information)")
    return read_json(file)


def _caption(scale: str, names: Sequence[str], record: Mapping[str, Any]) -> str:
    source, found = record["provenance"], record["mutual_information"]
    shape = " × ".join(map(str, record["shape"]))
    budgets: dict[str, list[str]] = {}
    for name in (name for name in names if "epochs" in found[0][name]):
        epochs, fitted, held = (distinct(r[name][key] for r in found) for key in BUDGET)
        budget = f"{epochs} epoch{'s' * (epochs != '1')} on {fitted} pairs, read on {held} others"
        budgets.setdefault(budget, []).append(ESTIMATORS[name])
    told = "".join(f"{' and '.join(those)}: {budget}. " for budget, those in budgets.items())
    return (
        f"Scale {scale}; seed {source['seed']}; {source['device']}. Gaussian x and z of shape {shape}, each entry of z "
        f"correlated with its own of x; estimators with this scale's budget. {told}Dotted: the truth. "
        "Dashed: the most that an estimator can reach with so many pairs. Entropy: Gaussians rounded to 8 bits, by "
        "their width. Distance correlation: of the same pairs, squared."
    )


def _information(axes: Axes, names: Sequence[str], found: Sequence[Mapping[str, Any]]) -> None:
    """Estimates over the truth, both linear below 1 nat and logarithmic above, and the caps that lie on the panel."""
    truths = [record["truth_nats"] for record in found]
    highest = 1.5 * max(*truths, 1.0)
    for i, name in enumerate(names):
        _line(axes, i, truths, [record[name]["mi_nats"] for record in found], ESTIMATORS[name])
    caps = {round(r[name]["cap_nats"], 2): name for name in names for r in found if r[name]["cap_nats"] is not None}
    for cap in (cap for cap in caps if cap < highest):
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
    _truth(axes, 0, highest)
    _frame(axes, "Mutual information", "true I(x; z), nats", "estimate, nats")


def _entropy(axes: Axes, found: Sequence[Mapping[str, Any]]) -> None:
    """What each code needs beyond the entropy, over the width."""
    widths = [record["width"] for record in found]
    for i, (key, label) in enumerate(CODES.items(), 1):
        _line(axes, i, widths, [_over(record[key], record["truth_bits"]) for record in found], label)
    axes.axhline(0, color="black", lw=1.0, linestyle=DOTTED, zorder=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    _frame(axes, "Entropy: error", "width, quantization steps", "code length above the entropy, bits an entry")


def _over(value: float | None, truth: float) -> float | None:
    return None if value is None else value - truth


def _dependence(axes: Axes, found: Sequence[Mapping[str, Any]]) -> None:
    """Both forms over the truth."""
    truths = [record["truth_dcor_squared"] for record in found]
    for i, (key, label) in enumerate(DEPENDENCES.items(), 1):
        _line(axes, i, truths, [record[key] for record in found], label)
    _truth(axes, 0, 1)
    _frame(axes, "Distance correlation", "true squared distance correlation", "estimate")


def _line(axes: Axes, i: int, x: Sequence[float], y: Sequence[float | None], label: str) -> None:
    """A marked line, absent values left out."""
    points = sorted((a, b) for a, b in zip(x, y, strict=True) if b is not None)
    axes.plot([p[0] for p in points], [p[1] for p in points], ms=5.5, lw=1.2, label=label, zorder=4, **look(i))


def _truth(axes: Axes, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color="black", lw=1.0, linestyle=DOTTED, zorder=1)


def _frame(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(loc="best", frameon=False, fontsize=8, handlelength=2.2)
