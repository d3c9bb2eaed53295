"""The figures, each written twice: a PNG to look at and a PDF to print.

matplotlib is imported when a figure is drawn: the report, which lists them all, draws none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report.numbers import LeftOut

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    "releases": "splitprobe.report.releases:draw",
    "calibration": "splitprobe.report.calibration:draw",
}


def draw(name: str, params: Params, paths: Paths) -> Figure:
    """One of FIGURES, from the rows that ``rows.<name>`` lists; raises ValueError for an unknown one."""
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}; known figures: {', '.join(FIGURES)}")
    from splitprobe.report.style import legible, styled

    module, _, function = FIGURES[name].partition(":")
    with styled():
        return legible(getattr(import_module(module), function)(params, paths))


def build_figure(name: str, params: Params, paths: Paths) -> None:
    """Draw one of FIGURES; writes plots/<scale>/<name>.png and .pdf.

    Raises ValueError for an unknown figure, ParamsError for a row that is unknown, FileNotFoundError for a file that
    has not been built. Where all rows are left out at this scale, the figure says so.
    """
    from matplotlib.figure import Figure

    from splitprobe.report.style import styled, write

    try:
        figure = draw(name, params, paths)
    except LeftOut as nothing:
        figure = Figure((6, 1))
        figure.text(0.5, 0.5, str(nothing), ha="center", va="center")
    with styled():
        for suffix in ("png", "pdf"):
            write(figure, paths.figure(name, suffix))
