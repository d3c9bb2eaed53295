"""Figure 3: SiftFunnel's edge and cloud with real layers, shapes and parameters, and the losses attached to them.

A vector diagram; the paper's own is known by its description: attention, funnel, attention on the edge, a widening step
in the cloud; distance correlation between x and z, Pearson and L1 on z, KL to smoothed labels at the output.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.diagram import LOSS, MARGIN, Scene, card, inference
from splitprobe.report.results import collect

SPACE, WIDTH = 178, 380  # pixels: below the halves, and of a loss's box
DOTTED = (0, (1.5, 1.8))
# title, what it does, weights in the settings: one card each, from left to right
LOSSES = (
    ("Distance correlation", "of x and z: z should tell little about the image.", {"weight": "lambda_dcor"}),
    ("Pearson and L1", "on z: channels that do not repeat each other, and few entries that are not zero.",
     {"weight of Pearson": "lambda_pearson", "of L1": "lambda_l1"}),
    ("KL to smoothed labels", "at the output: the task itself.",
     {"weight": "alpha_kl", "smoothing": "label_smoothing"}),
)  # fmt: skip


def draw(params: Params, paths: Paths) -> Figure:
    """The diagram of the first cell that ``rows.figure3`` lists."""
    r = collect(params, paths, "figure3", ("target",))[0]
    result = f"{r['target']['dataset']['classes']:,} class\nscores"
    scene = inference(r, params.scale, f"{r.title}: edge, cloud and losses", result, SPACE)
    _losses(scene, r["target"]["settings"])
    return scene.canvas.figure


def _losses(scene: Scene, settings: Mapping[str, Any]) -> None:
    """The three losses below what they look at."""
    canvas, top = scene.canvas, scene.bottom + 56
    weights = settings.get("loss", {})
    lefts = (MARGIN, scene.z[0] - WIDTH / 2, canvas.width - MARGIN - WIDTH)
    for left, (title, words, keys) in zip(lefts, LOSSES, strict=True):
        known = ", ".join(f"{name} {weights[key]:g}" for name, key in keys.items() if key in weights)
        card(canvas, left, top, WIDTH, LOSS, title, f"{words}\n{known[0].upper()}{known[1:]}" if known else words)
    how = {"color": LOSS, "lw": 1.4, "linestyle": DOTTED}
    # distance correlation looks at both ends of the edge
    canvas.rule(scene.x, (scene.x[0], top), **how)
    canvas.rule((scene.z[0] - 20, scene.z[1]), (scene.z[0] - 20, top - 28), **how)
    canvas.rule((scene.z[0] - 20, top - 28), (lefts[0] + WIDTH - 60, top - 28), **how)
    canvas.rule((lefts[0] + WIDTH - 60, top - 28), (lefts[0] + WIDTH - 60, top), **how)
    canvas.rule(scene.z, (scene.z[0], top), **how)
    canvas.rule(scene.result, (scene.result[0], top), **how)
