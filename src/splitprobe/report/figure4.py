"""Figure 4: what the attacks make of the same test images, for every row; generator left, MLE right.

The paper's own figure is not described in its text; this layout (rows of the same few images, scores beside them)
follows its place behind Table II.
"""

from matplotlib.figure import Figure

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import gallery
from splitprobe.report.results import collect, labels

TITLE = "Test images rebuilt from the transmitted feature"


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.figure4`` lists."""
    results = collect(params, paths, "figure4", ("target", "generator", "mle"))
    names = labels(results) | {r.network[0]: "Original" for r in results}
    return gallery.draw(TITLE, params.scale, results, names, "")
