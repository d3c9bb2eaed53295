"""Figure 1: collaborative inference and its adversary, drawn from a real cell: layers, an image and its rebuilds.

A vector diagram; the paper's own is known by its description: edge, transmitted feature, cloud, result, and an
adversary who intercepts the feature and rebuilds the input.
"""

from matplotlib.figure import Figure

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.canvas import enlarged
from splitprobe.report.diagram import THREAT, Scene, card, inference
from splitprobe.report.results import Results, collect
from splitprobe.report.scores import decoders, variant_title

SPACE, WIDTH = 250, 520  # pixels: below the halves, and of the adversary's box
DASHED = (0, (4, 2))
ADVERSARY = (
    "sees z on its way and rebuilds x, by one of two attacks.\n"
    "Generator: a decoder fitted on auxiliary images; black-box without knowing the edge, gray-box with its layers.\n"
    "MLE: pixels optimized through the edge itself until their feature is z (white-box)."
)


def draw(params: Params, paths: Paths) -> Figure:
    """The diagram of the first cell that ``rows.figure1`` lists."""
    r = collect(params, paths, "figure1", ("target", "generator", "mle"))[0]
    title = f"Collaborative inference and its adversary: {r.title}"
    scene = inference(r, params.scale, title, _result(r), SPACE)
    _threat(scene, r)
    return scene.canvas.figure


def _result(r: Results) -> str:
    """What comes out of the cloud."""
    classes, accuracy = r["target"]["dataset"]["classes"], r["target"]["accuracy"]
    return f"one of {classes:,}\nclasses" + ("" if accuracy is None else f",\n{100 * accuracy:.1f} %\ncorrect")


def _threat(scene: Scene, r: Results) -> None:
    """The adversary below z, and what its attacks make of x."""
    canvas, x, top = scene.canvas, scene.z[0], scene.bottom + 50
    canvas.arrow(scene.z, (x, top - 4), color=THREAT, lw=1.8, linestyle=DASHED)
    canvas.text(x + 12, top - 24, "intercepted", 14, color=THREAT, weight="bold")
    left = x - WIDTH / 2
    card(canvas, left, top, WIDTH, THREAT, "Adversary", ADVERSARY)
    canvas.text(60, top + 4, "rebuilt by", 15, color=THREAT, weight="bold")
    end = 60.0
    for title, label, images, attack in _rebuilt(r):
        picture = enlarged(images[:1])
        size = picture.shape[0]
        canvas.image(end, top + 24, picture)
        score = "n/a" if attack["psnr_db"] is None else f"{attack['psnr_db']:.1f} dB"
        how = {"va": "top", "linespacing": 1.3}
        canvas.text(end, top + 32 + size, f"{title}\n({label}),\n{score} on average", 13, **how)
        end += size + 110
    canvas.arrow((left - 4, top + 56), (end - 70, top + 56), color=THREAT)


def _rebuilt(r: Results) -> list[tuple]:
    """Name, kind, images and scores of one decoder and of the last variant of MLE."""
    found = [("generator", d["access"], r.images("generator")[name], d) for name, d in decoders(r).items()][:1]
    variants = r["mle"]["variants"].items()
    return found + [("MLE", variant_title(name), r.images("mle")[name], v) for name, v in variants][-1:]
