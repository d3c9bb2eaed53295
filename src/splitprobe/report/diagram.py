"""Pieces of the diagrams: a network's halves as boxes with their real layers, shapes and parameters.

They are drawn from ``blocks`` in target.json: what each element of edge and cloud is made of.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitprobe.report.canvas import INK, Canvas, enlarged
from splitprobe.report.markdown import number
from splitprobe.report.results import Results, data, origin
from splitprobe.report.scores import network
from splitprobe.report.style import QUIET

EDGE, CLOUD, THREAT, LOSS = "#0072b2", "#009e73", "#d55e00", "#882255"
TINTS = {EDGE: "#eaf3fa", CLOUD: "#e8f6f1", THREAT: "#fdf0e6", LOSS: "#f7ecf1"}
LETTERS = 50  # of a line in a box
LINE, PAD, GAP = 17, 10, 12  # heights of a line of text, around the text of a box, and between boxes, in pixels
HEAD = 38  # height of a half's title
WIDTH, MARGIN, TOP = 1420, 24, 118  # of the page, around it, and of its titles, in pixels
INPUT, HALF, SEND = 190, 400, 200  # widths of the columns of the input, of each half, and of z's way, in pixels
FLOW = 110  # height at which x, z and the result are, below TOP
HELD = "\0"
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
    text = " · ".join(layers)
    for pattern, name in ATTENTION:
        text = pattern.sub(name, text)
    return text


class Half:
    """Edge or cloud: a frame under a title, a box for each of its blocks; ``height`` and places are in pixels."""

    def __init__(self, r: Results, half: str, width: int) -> None:
        self.blocks = [block for block in r["target"]["blocks"] if block["half"] == half]
        parameters = r["target"][f"{half}_parameters"]
        self.color = {"edge": EDGE, "cloud": CLOUD}[half]
        self.title = f"{half.capitalize()}: {number(parameters, 0)} parameters"
        self.width, self.letters = width, LETTERS * (width - 2 * GAP) // 400
        self.heights = [2 * PAD + LINE * (1 + len(self._lines(block))) for block in self.blocks]
        self.height = HEAD + sum(self.heights) + GAP * len(self.blocks)

    def _lines(self, block: Mapping[str, Any]) -> list[str]:
        # a layer is never broken: its spaces are held together while lines are filled
        layers = folded(block["layers"]).replace(" · ", "·").replace(" ", HELD).replace("·", " · ")
        return [line.replace(HELD, " ") for line in textwrap.wrap(layers, self.letters, break_on_hyphens=False)] or [
            "–"
        ]

    def draw(self, canvas: Canvas, left: float, top: float) -> None:
        """The half with its upper left corner at a place."""
        frame = {"facecolor": TINTS[self.color], "edgecolor": self.color, "lw": 1.6, "zorder": -3}
        canvas.box(left, top, self.width, self.height, **frame)
        canvas.text(left + GAP, top + HEAD / 2 + 2, self.title, 16, weight="bold", color=self.color)
        y = top + HEAD
        for block, height in zip(self.blocks, self.heights, strict=True):
            canvas.box(left + GAP, y, self.width - 2 * GAP, height, edgecolor=self.color, lw=0.9)
            head = f"{shaped(block['shape'])}   ({number(block['parameters'], 0)} parameters)"
            lines = "\n".join(self._lines(block))
            canvas.text(left + GAP + PAD, y + PAD + LINE / 2, head, 13, weight="bold", color=INK)
            canvas.text(left + GAP + PAD, y + PAD + LINE + 2, lines, 13, va="top", color=QUIET, linespacing=1.2)
            y += height + GAP


def card(canvas: Canvas, left: float, top: float, width: float, color: str, title: str, words: str) -> float:
    """A box with a title and running text; returns its height, which follows from the text."""
    lines = [line for part in words.split("\n") for line in textwrap.wrap(part, round(width * LETTERS / 400))]
    height = 2 * PAD + LINE * (1.2 + len(lines))
    canvas.box(left, top, width, height, facecolor=TINTS[color], edgecolor=color, lw=1.4)
    canvas.text(left + PAD, top + PAD + LINE / 2, title, 15, weight="bold", color=color)
    how = {"va": "top", "color": INK, "linespacing": 1.2}
    canvas.text(left + PAD, top + PAD + 1.2 * LINE, "\n".join(lines), 13, **how)
    return height


@dataclass(frozen=True)
class Scene:
    """A page with collaborative inference on it, and where in pixels more can be attached.

    ``x``, ``z``, ``result``: points on the way of the data, for lines from below; ``bottom``: where free space begins.
    """

    canvas: Canvas
    x: tuple[float, float]
    z: tuple[float, float]
    result: tuple[float, float]
    bottom: float


def inference(r: Results, scale: str, title: str, result: str, space: int) -> Scene:
    """Image, edge, z, cloud and result of a cell, with ``space`` pixels left free below."""
    edge, cloud = Half(r, "edge", HALF), Half(r, "cloud", HALF)
    inside, y, left = max(edge.height, cloud.height), TOP + FLOW, MARGIN + INPUT
    canvas = Canvas(WIDTH, round(TOP + inside + space))
    target = r["target"]
    caption = (
        f"Scale {scale}: {data([r])}. {origin([r], 'images')}. Network: {network(r)}, cut {target['cell']['cut']}. "
    )
    caption += "Boxes: output shape and parameters of each step, then its layers."
    canvas.text(MARGIN, 30, title, 24, weight="bold")
    canvas.text(MARGIN, 54, textwrap.fill(caption, 165), 14, va="top", color=QUIET, linespacing=1.3)
    edge.draw(canvas, left, TOP)
    cloud.draw(canvas, left + HALF + SEND, TOP)
    picture = enlarged(r.images("generator")["x"][:1])
    size = picture.shape[0]
    canvas.image(MARGIN + 20, y - size / 2, picture)
    canvas.text(MARGIN + 20 + size / 2, y - size / 2 - 14, "image x", 15, ha="center", weight="bold")
    canvas.arrow((MARGIN + size + 28, y), (left - 4, y))
    start, end = left + HALF, left + HALF + SEND
    canvas.arrow((start + 4, y), (end - 4, y), lw=2.2)
    canvas.text((start + end) / 2, y - 38, "feature z", 15, ha="center", weight="bold")
    canvas.text((start + end) / 2, y - 18, f"{shaped(target['z_shape'])}, {target['z_bytes']:,} bytes", 13, ha="center")
    canvas.arrow((end + HALF + 4, y), (end + HALF + 40, y))
    canvas.text(end + HALF + 48, y, result, 15, weight="bold", linespacing=1.4)
    below = (MARGIN + 20 + size / 2, y + size / 2 + 4)
    return Scene(canvas, below, ((start + end) / 2, y + 5), (end + HALF + 22, y + 5), TOP + inside)
