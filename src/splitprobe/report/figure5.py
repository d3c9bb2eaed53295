"""Figure 5: VGG16 on faces and X-rays, unprotected and with SiftFunnel: test images and what the attacks make of them.

The paper shows the generator's images alone and says that PSNR is around 15 dB; here MLE stands beside it, and each
row's accuracy under its name.
"""

from matplotlib.figure import Figure

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import gallery
from splitprobe.report.results import Results, collect

TITLE = "VGG16 on other data: test images rebuilt from the transmitted feature"
ROLES = {"faces": "Faces", "xray": "X-rays"}


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.figure5`` lists."""
    results = collect(params, paths, "figure5", ("target", "generator", "mle"))
    originals = {name: f"{ROLES.get(name, name)}, original" for name in (r.network[0] for r in results)}
    names = {r.cell: _name(r) for r in results} | originals
    return gallery.draw(TITLE, params.scale, results, names, " Under each name: accuracy on test images.")


def _name(r: Results) -> str:
    """The row's title over its accuracy; the block of originals above says which data."""
    accuracy = r["target"]["accuracy"]
    return f"{r.title}\n{'n/a' if accuracy is None else f'{100 * accuracy:.1f} %'}"
