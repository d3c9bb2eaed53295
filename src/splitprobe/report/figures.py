"""The figures, each written twice: a PNG to look at and a PDF to print."""

from collections.abc import Callable

from matplotlib.figure import Figure

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import (
    calibration,
    criterion_figure,
    curves,
    figure1,
    figure2,
    figure3,
    figure4,
    figure5,
    histograms,
    knowledge,
    tradeoff,
)
from splitprobe.report.results import LeftOut
from splitprobe.report.style import styled, write

FIGURES: dict[str, Callable[[Params, Paths], Figure]] = {
    "figure1": figure1.draw,
    "figure2": figure2.draw,
    "figure3": figure3.draw,
    "figure4": figure4.draw,
    "figure5": figure5.draw,
    "histograms": histograms.draw,
    "curves": curves.draw,
    "tradeoff": tradeoff.draw,
    "criterion": criterion_figure.draw,
    "knowledge": knowledge.draw,
    "calibration": calibration.draw,
}


def build_figure(name: str, params: Params, paths: Paths) -> None:
    """Draw one of FIGURES from the rows that ``rows.<name>`` lists; writes plots/<scale>/<name>.png and .pdf.

    Raises ValueError for an unknown figure, ParamsError for a row that is unknown or whose stages have not run.
    """
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}; known figures: {', '.join(FIGURES)}")
    with styled():
        try:
            figure = FIGURES[name](params, paths)
        except LeftOut as nothing:
            figure = Figure((6, 1))
            figure.text(0.5, 0.5, str(nothing), ha="center", va="center")
        for suffix in ("png", "pdf"):
            write(figure, paths.figure(name, suffix))
