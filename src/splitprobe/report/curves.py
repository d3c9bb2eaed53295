"""Training, estimator and attack curves of a few cells: eight panels under one legend, a line a cell."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from splitprobe.core.artifacts import reading
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.report.markdown import data, labels, origin
from splitprobe.report.numbers import open_numbers
from splitprobe.report.style import LEFT, QUIET, look, panels

WIDTH, PANELS_HEIGHT = 12.4, 11.6  # inches
MARKER = 5.0  # points
MOST = 6  # cells: more lines in a panel cannot be told apart
STAGES = {"target": "train_target", "information": "train_mine", "generator": "train_generator", "mle": "run_mle"}


ERROR = "mean squared error"
# title, unit, stage and column of each panel
PANELS = (
    ("Training loss, classification term", "loss", "target", "task"),
    ("Accuracy on validation images", "fraction correct", "target", "validation_accuracy"),
    ("Mutual information, calibrated estimator", "nats", "information", "calibrated_nats"),
    ("Mutual information, InfoNCE", "nats", "information", "infonce_nats"),
    ("Black-box decoder: held-out auxiliary images", ERROR, "generator", "black_box_mse"),
    ("Strong decoder: held-out auxiliary images", ERROR, "generator", "strong_mse"),
    ("Tuned MLE: the attacked images", "PSNR, dB", "mle", "tuned_psnr_db"),
    ("Hybrid: the attacked images", "PSNR, dB", "mle", "hybrid_psnr_db"),
)


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.curves`` lists, of each its first seed; a panel skips cells without points.

    Raises FileNotFoundError for a curve that is absent, ParamsError for more cells than MOST.
    """
    numbers = open_numbers(params, paths, "curves").first()
    if len(numbers.cells) > MOST:
        raise ParamsError(f"rows.curves: {len(numbers.cells)} cells; list {MOST} at most, more lines look alike")
    names = labels(numbers)
    columns = max(1, int((WIDTH - 2 * LEFT) / (0.55 + 0.066 * max(map(len, names.values())))))
    source = numbers.frame[numbers.frame.quantity == "reused_from"].set_index("cell").text
    reused = " ".join(f"{names[cell]} uses the weights of {source[cell]}." for cell in names if source.get(cell))
    caption = f"Scale {params.scale}: {data(numbers)}. {origin(numbers)}. {reused}"
    above = 0.2 * math.ceil(len(names) / columns) + 0.4
    size, margins, spaces = (WIDTH, above + PANELS_HEIGHT), (0.95, 0.25, above, 0.5), {"hspace": 0.42, "wspace": 0.15}
    handles = [Line2D([], [], label=name, markersize=MARKER, **look(i)) for i, name in enumerate(names.values())]
    title = "Training, estimators and attacks, epoch by epoch"
    figure, grid = panels(title, caption, size, (4, 2), margins, handles, columns, **spaces)
    for axes, (title, unit, *place) in zip(grid, PANELS, strict=True):
        for i, cell in enumerate(names):
            values = read(paths.seeded(numbers.seeds(cell)[0]), cell, *place)
            if len(values):
                # a few markers a line, each cell's at other points, so that lines that coincide can be told apart
                every = max(1, len(values) // 4)
                how = {"lw": 1.2, "ms": MARKER, "markevery": list(range(i % every, len(values), every))}
                axes.plot(np.array(values.index, float), values.to_numpy(), **how, **look(i))
        axes.set(title=title, xlabel="step" if place[0] == "mle" else "epoch", ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axes.margins(x=0.02)
        if unit == ERROR:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            # between the powers of ten only where there is at most one of them, so that labels never crowd
            low, high = axes.get_ylim()
            axes.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else "")
        if not axes.lines:
            axes.text(0.5, 0.5, "no curve", transform=axes.transAxes, ha="center", color=QUIET)
    return figure


def read(own: Paths, cell: str, stage: str, name: str) -> pd.Series:
    """A column of a stage's curve of a cell's repetition, over epoch or step; empty where it is absent.

    A file has a line per epoch or step, and none where nothing was trained. Raises FileNotFoundError without one,
    DamagedFile where it holds anything but finite numbers and empty fields.
    """
    file = own.curve(cell, stage)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: stage {STAGES[stage]}@{cell} writes it")
    with reading(file):
        table = pd.read_csv(file, index_col=0, na_values=[""], keep_default_na=False)
        columns = [table.index.to_series(), *(table[column] for column in table)]
        if table.index.name not in ("epoch", "step") or table.columns.has_duplicates:
            raise ValueError("its columns are not an epoch or a step and one column for each curve")
        for i, column in enumerate(columns if len(table) else []):
            # a field may be empty, but not the epoch
            if column.dtype.kind not in "iuf" or np.isinf(column).any() or (i == 0 and column.isna().any()):
                raise ValueError(f"column {column.name} holds more than finite numbers")
    # attacks of different lengths share a file: the shorter one leaves fields empty
    return table[name].dropna() if name in table else pd.Series(dtype=float)
