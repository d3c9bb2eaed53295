"""Figures 1 and 3: a cell's edge and cloud as boxes with their real layers, shapes and parameters.

Figure 1 has the adversary, who intercepts z and rebuilds x; Figure 3 SiftFunnel's losses and what they look at. Both
are vector diagrams after the descriptions in the paper: edge, transmitted feature, cloud, result; attention, funnel and
attention on the edge, a widening step in the cloud; distance correlation between x and z, Pearson and L1 on z, KL to
smoothed labels at the output.
"""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import attacks
from splitprobe.report.markdown import data, number, origin
from splitprobe.report.numbers import Numbers, open_numbers
from splitprobe.report.pictures import read_pictures, shown
from splitprobe.report.style import INK, QUIET, Canvas, enlarged

EDGE, CLOUD, THREAT, LOSS = "#0072b2", "#009e73", "#d55e00", "#882255"
TINTS = {EDGE: "#eaf3fa", CLOUD: "#e8f6f1", THREAT: "#fdf0e6", LOSS: "#f7ecf1"}
LETTERS = 53  # of a line in a box
LINE, PAD, GAP = 17, 10, 12  # heights of a line of text, around the text of a box, and between boxes, in pixels
HEAD = 38  # height of a half's title
WIDTH, MARGIN, TOP = 1420, 24, 118  # of the page, around it, and of its titles, in pixels
INPUT, HALF, SEND = 190, 400, 200  # widths of the columns of the input, of each half, and of z's way, in pixels
FLOW = 110  # height at which x, z and the result are, below TOP
HELD = "\0"
ADVERSARY = (
    "sees z on its way and rebuilds x, by one of two attacks.\n"
    "Generator: a decoder fitted on auxiliary images; black-box without knowing the edge, gray-box with its layers.\n"
    "MLE: pixels optimized through the edge itself until their feature is z (white-box)."
)
# title, what it does, weights in the settings: one card each, from left to right
LOSSES = (
    ("Distance correlation", "of x and z: z should tell little about the image.", {"weight": "lambda_dcor"}),
    ("Pearson and L1", "on z: channels that do not repeat each other, and few entries that are not zero.",
     {"weight of Pearson": "lambda_pearson", "of L1": "lambda_l1"}),
    ("KL to smoothed labels", "at the output: the task itself.",
     {"weight": "alpha_kl", "smoothing": "label_smoothing"}),
)  # fmt: skip
# attention comes as the layers it is made of; readers know it by name
ATTENTION = (
    (re.compile(r"Linear (\d+)→(\d+) · ReLU · Linear \2→\1 · Sigmoid"), r"squeeze-and-excitation \1→\2→\1"),
    (re.compile(r"Conv2d 2→1, 7×7 · BatchNorm(?: · Conv2d 2→1, 7×7 · BatchNorm){2}"), "triplet attention"),
    (re.compile(r"Conv2d (\d+)→(\d+), 1×1 · ReLU · Conv2d \2→\1, 1×1 · Conv2d 2→1, 7×7"), r"CBAM \1→\2→\1"),
)


def shaped(shape: Sequence[int]) -> str:
    """A shape for readers: ``32 × 8 × 8``."""
    return " × ".join(f"{n:,}" for n in shape)


def folded(layers: Sequence[str]) -> str:
    """Layers in one line, attention under its name."""
    line = " · ".join(layers)
    for pattern, name in ATTENTION:
        line = pattern.sub(name, line)
    return line


class Half:
    """Edge or cloud: a frame under a title, a box for each of its blocks; ``height`` and places are in pixels."""

    def __init__(self, numbers: Numbers, cell: str, half: str) -> None:
        blocks = json.loads(numbers.text(cell, "target", "blocks"))
        self.blocks = [block for block in blocks if block["half"] == half]
        self.color = {"edge": EDGE, "cloud": CLOUD}[half]
        self.title = f"{half.capitalize()}: {number(numbers.value(cell, 'target', f'{half}_parameters'), 0)} parameters"
        self.heights = [2 * PAD + LINE * (1 + len(self._lines(block))) for block in self.blocks]
        self.height = HEAD + sum(self.heights) + GAP * len(self.blocks)

    def _lines(self, block: Mapping[str, Any]) -> list[str]:
        # a layer and the dot behind it are never broken: their spaces are held while lines are filled
        layers = folded(block["layers"]).replace(" · ", "·").replace(" ", HELD).replace("·", f"{HELD}· ")
        lines = textwrap.wrap(layers, LETTERS * (HALF - 2 * GAP) // 400, break_on_hyphens=False) or ["–"]
        return [line.replace(HELD, " ") for line in lines]

    def draw(self, canvas: Canvas, left: float, top: float) -> None:
        """The half with its upper left corner at a place."""
        frame = {"facecolor": TINTS[self.color], "edgecolor": self.color, "lw": 1.6, "zorder": -3}
        canvas.box(left, top, HALF, self.height, **frame)
        canvas.text(left + GAP, top + HEAD / 2 + 2, self.title, 16, weight="bold", color=self.color)
        y = top + HEAD
        for block, height in zip(self.blocks, self.heights, strict=True):
            canvas.box(left + GAP, y, HALF - 2 * GAP, height, edgecolor=self.color, lw=0.9)
            head = f"{shaped(block['shape'])}   ({number(block['parameters'], 0)} parameters)"
            lines = "\n".join(self._lines(block))
            canvas.text(left + GAP + PAD, y + PAD + LINE / 2, head, 13, weight="bold", color=INK)
            canvas.text(left + GAP + PAD, y + PAD + LINE + 2, lines, 13, va="top", color=QUIET, linespacing=1.2)
            y += height + GAP


def card(canvas: Canvas, left: float, top: float, width: float, color: str, title: str, words: str) -> None:
    """A box with a title and running text, from which its height follows."""
    lines = [line for part in words.split("\n") for line in textwrap.wrap(part, round(width * LETTERS / 400))]
    height = 2 * PAD + LINE * (1.2 + len(lines))
    canvas.box(left, top, width, height, facecolor=TINTS[color], edgecolor=color, lw=1.4)
    canvas.text(left + PAD, top + PAD + LINE / 2, title, 15, weight="bold", color=color)
    how = {"va": "top", "color": INK, "linespacing": 1.2}
    canvas.text(left + PAD, top + PAD + 1.2 * LINE, "\n".join(lines), 13, **how)


class Scene:
    """A page with collaborative inference on it: a cell's input, edge, z, cloud and result.

    ``x``, ``z``, ``result``: points on the way of the data, for lines from below, in pixels; ``bottom``: where free
    space begins.
    """

    def __init__(self, params: Params, paths: Paths, figure: str) -> None:
        """The first cell that ``rows.<figure>`` lists: its numbers alone and its pictures."""
        numbers = open_numbers(params, paths, figure)
        self.scale, self.cell = params.scale, numbers.cells[0]
        self.numbers = Numbers(numbers.frame[numbers.frame.cell == self.cell], [self.cell])
        self.pictures = read_pictures(paths, [self.cell])[self.cell]
        self.title = numbers.text(self.cell, "target", "title")

    def draw(self, title: str, result: str, space: int) -> Canvas:
        """Draw it under a title with a result; below, ``space`` pixels are left free."""
        edge, cloud = (Half(self.numbers, self.cell, half) for half in ("edge", "cloud"))
        inside, y, left = max(edge.height, cloud.height), TOP + FLOW, MARGIN + INPUT
        canvas = Canvas(WIDTH, round(TOP + inside + space))
        caption = (
            f"Scale {self.scale}: {data(self.numbers)}. {origin(self.numbers, 'images', spreads=False)}. Network: "
            f"{attacks.network(self.numbers, self.cell)}, cut {self.value('cell', 'cut'):.0f}. "
            "Boxes: output shape and parameters of each step, then its layers."
        )
        canvas.text(MARGIN, 30, title, 24, weight="bold")
        canvas.text(MARGIN, 54, textwrap.fill(caption, 165), 14, va="top", color=QUIET, linespacing=1.3)
        edge.draw(canvas, left, TOP)
        cloud.draw(canvas, left + HALF + SEND, TOP)
        picture = enlarged(self.pictures["x"][:1])
        size = picture.shape[0]
        canvas.image(MARGIN + 20, y - size / 2, picture)
        canvas.text(MARGIN + 20 + size / 2, y - size / 2 - 14, "image x", 15, ha="center", weight="bold")
        canvas.arrow((MARGIN + size + 28, y), (left - 4, y))
        start, end = left + HALF, left + HALF + SEND
        canvas.arrow((start + 4, y), (end - 4, y), lw=2.2)
        canvas.text((start + end) / 2, y - 38, "feature z", 15, ha="center", weight="bold")
        shape = shaped(json.loads(self.numbers.text(self.cell, "target", "z_shape")))
        size_of_z = f"{shape}, {self.value('target', 'z_bytes'):,.0f} bytes"
        canvas.text((start + end) / 2, y - 18, size_of_z, 13, ha="center")
        canvas.arrow((end + HALF + 4, y), (end + HALF + 40, y))
        canvas.text(end + HALF + 48, y, result, 15, weight="bold", linespacing=1.4)
        self.x = (MARGIN + 20 + size / 2, y + size / 2 + 4)
        self.z, self.result = ((start + end) / 2, y + 5), (end + HALF + 22, y + 5)
        self.bottom = TOP + inside
        return canvas

    def value(self, item: str, quantity: str) -> float | None:
        """A number of the cell."""
        return self.numbers.value(self.cell, item, quantity)


def figure1(params: Params, paths: Paths) -> Figure:
    """Collaborative inference and its adversary: the first cell that ``rows.figure1`` lists."""
    scene = Scene(params, paths, "figure1")
    accuracy = scene.value("network", "accuracy_percent")
    result = f"one of {scene.value('dataset', 'classes'):,.0f}\nclasses"
    result += "" if accuracy is None else f",\n{accuracy:.1f} %\ncorrect"
    canvas = scene.draw(f"Collaborative inference and its adversary: {scene.title}", result, 250)
    x, top, width = scene.z[0], scene.bottom + 50, 520
    left = x - width / 2
    canvas.arrow(scene.z, (x, top - 4), color=THREAT, lw=1.8, linestyle=(0, (4, 2)))
    canvas.text(x + 12, top - 24, "intercepted", 14, color=THREAT, weight="bold")
    card(canvas, left, top, width, THREAT, "Adversary", ADVERSARY)
    canvas.text(60, top + 4, "rebuilt by", 15, color=THREAT, weight="bold")
    end, items = 60.0, shown(scene.numbers, scene.cell)
    decoders, variants = ([item for item in items if item.startswith(stage)] for stage in attacks.STAGES)
    for item in (*decoders[:1], *variants[-1:]):
        picture, psnr = enlarged(scene.pictures[item][:1]), scene.value(item, "psnr_db")
        name = f"MLE\n({attacks.variant_title(item)})"
        if item in decoders:
            name = f"generator\n({scene.numbers.text(scene.cell, item, 'access')})"
        words = f"{name},\n{'n/a' if psnr is None else f'{psnr:.1f} dB'} on average"
        canvas.image(end, top + 24, picture)
        canvas.text(end, top + 32 + picture.shape[0], words, 13, va="top", linespacing=1.3)
        end += picture.shape[0] + 110
    canvas.arrow((left - 4, top + 56), (end - 70, top + 56), color=THREAT)
    return canvas.figure


def figure3(params: Params, paths: Paths) -> Figure:
    """SiftFunnel's edge and cloud, and its losses below what they look at: the first cell of ``rows.figure3``."""
    scene = Scene(params, paths, "figure3")
    result = f"{scene.value('dataset', 'classes'):,.0f} class\nscores"
    canvas = scene.draw(f"{scene.title}: edge, cloud and losses", result, 178)
    top, width = scene.bottom + 56, 380
    known = scene.numbers.quantities(scene.cell, "settings loss")
    lefts = (MARGIN, scene.z[0] - width / 2, canvas.width - MARGIN - width)
    for left, (name, words, keys) in zip(lefts, LOSSES, strict=True):
        weights = [f"{what} {scene.value('settings loss', key):g}" for what, key in keys.items() if key in known]
        line = ", ".join(weights)
        card(canvas, left, top, width, LOSS, name, f"{words}\n{line[0].upper()}{line[1:]}" if line else words)
    # distance correlation looks at both ends of the edge
    z, first = scene.z[0] - 20, lefts[0] + width - 60
    ways = [(scene.x, (scene.x[0], top)), ((z, scene.z[1]), (z, top - 28)), ((z, top - 28), (first, top - 28))]
    ways += [((first, top - 28), (first, top)), (scene.z, (scene.z[0], top)), (scene.result, (scene.result[0], top))]
    for start, end in ways:
        canvas.rule(start, end, color=LOSS, lw=1.4, linestyle=(0, (1.5, 1.8)))
    return canvas.figure
