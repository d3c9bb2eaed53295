"""The figures, each written twice: a PNG to look at and a PDF to print."""

from importlib import import_module

from matplotlib.figure import Figure

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report.rows import LeftOut
from splitprobe.report.style import styled, write

# what draws a figure: a function of Params and Paths that returns a Figure; imported when it is asked for, so that one
# figure does not depend on the others' code
FIGURES = {
    "figure1": "splitprobe.report.diagram:figure1",
    "figure2": "splitprobe.report.figure2:draw",
    "figure3": "splitprobe.report.diagram:figure3",
    "figure4": "splitprobe.report.gallery:figure4",
    "figure5": "splitprobe.report.gallery:figure5",
    "histograms": "splitprobe.report.histograms:draw",
    "curves": "splitprobe.report.curves:draw",
    "tradeoff": "splitprobe.report.tradeoff:draw",
    "criterion": "splitprobe.report.criterion_figure:draw",
    "knowledge": "splitprobe.report.knowledge:draw",
    "calibration": "splitprobe.report.calibration:draw",
}


def draw(name: str, params: Params, paths: Paths) -> Figure:
    """One of FIGURES, from the rows that ``rows.<name>`` lists; raises ValueError for an unknown one."""
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}; known figures: {', '.join(FIGURES)}")
    module, _, function = FIGURES[name].partition(":")
    with styled():
        return getattr(import_module(module), function)(params, paths)


def build_figure(name: str, params: Params, paths: Paths) -> None:
    """Draw one of FIGURES; writes plots/<scale>/<name>.png and .pdf.

    Raises ValueError for an unknown figure, ParamsError for a row that is unknown, FileNotFoundError for a file that
    has not been built. Where all rows are left out at this scale, the figure says so.
    """
    try:
        figure = draw(name, params, paths)
    except LeftOut as nothing:
        figure = Figure((6, 1))
        figure.text(0.5, 0.5, str(nothing), ha="center", va="center")
    with styled():
        for suffix in ("png", "pdf"):
            write(figure, paths.figure(name, suffix))
