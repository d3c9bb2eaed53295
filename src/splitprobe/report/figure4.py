"""Figure 4: what the attacks make of the same test images, for every row; generator left, MLE right.

The paper's own figure is not described in its text; this layout (rows of the same few images, scores beside them)
follows its place behind Table II. Everything is laid out in pixels, so that an image's pixels stay equal squares.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.markdown import DAGGER
from splitprobe.report.results import Results, collect, data, distinct, labels, origin
from splitprobe.report.scores import variant_title
from splitprobe.report.style import DPI, QUIET

IMAGES = 5  # a line; photographs hardly shrink, and 16 rows should stay below 0.7 MB
OMITTED = "paper"  # this variant of MLE ends in noise for every row: its PSNR is said in the caption instead
TILE = 64  # pixels that a small image is enlarged to, by a whole factor
GAP, LINE, MARGIN = 4, 8, 22  # pixels between images, between lines of a row, around all
NAME, ACCESS, SCORE = 156, 92, 112  # widths of the text columns, in pixels
HEAD, CAPTION = 92, 20  # height of the titles, and of each line of the caption, in pixels


@dataclass(frozen=True)
class Strip:
    """One line of images: uint8 (n, H, W, C), its label on the left, the text on its right."""

    label: str
    images: np.ndarray
    scores: str = ""


@dataclass(frozen=True)
class Block:
    """The lines of one row of the table: a name, and strips for the generator and for MLE."""

    name: str
    generator: Sequence[Strip]
    mle: Sequence[Strip]

    @property
    def lines(self) -> int:
        """Height in lines."""
        return max(len(self.generator), len(self.mle))


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.figure4`` lists."""
    results = collect(params, paths, "figure4", ("target", "generator", "mle"))
    blocks = list(_blocks(results))
    tile = max(_factor(s.images) * s.images.shape[1] for block in blocks for s in (*block.generator, *block.mle))
    page = Page(blocks, tile, _caption(params.scale, results))
    page.head(results)
    for block in blocks:
        page.block(block)
    return page.figure


def _blocks(results: Sequence[Results]) -> Iterator[Block]:
    """The originals, then one block per cell; the originals again wherever the dataset changes."""
    names, shown = labels(results), None
    for r in results:
        generator, mle = r.images("generator"), r.images("mle")
        # MLE attacks the first of the same test images, so one comparison serves both panels
        if shown is None or not np.array_equal(shown, generator["x"]):
            shown = generator["x"]
            yield Block("Original", [Strip("", shown[:IMAGES])], [Strip("", mle["x"][:IMAGES])])
        yield Block(
            names[r.cell],
            [_strip(d["access"], generator[name], d) for name, d in r["generator"]["decoders"].items()],
            [_strip(variant_title(name), mle[name], v) for name, v in r["mle"]["variants"].items() if name != OMITTED],
        )


def _strip(label: str, images: np.ndarray, attack: Mapping[str, Any]) -> Strip:
    ssim = "n/a" if attack["ssim"] is None else f"{attack['ssim']:.2f}"
    label = label.replace(", ", ",\n")  # "black-box, 16 queries" is too long for one line
    return Strip(label, images[:IMAGES], f"{_decibels(attack)}{DAGGER if attack['failed'] else ''}\n{ssim}")


def _decibels(scores: Mapping[str, Any]) -> str:
    return "n/a" if scores["psnr_db"] is None else f"{scores['psnr_db']:.1f} dB"


def _caption(scale: str, results: Sequence[Results]) -> str:
    """What was measured on what, which attacks failed, and what is not shown."""
    floors = [distinct(_decibels(r[stage]["floors"]["mean_image"]) for r in results) for stage in ("generator", "mle")]
    return (
        f"Scale {scale}: {data(results)}. {origin(results)}. Right of each line: mean PSNR and SSIM over all "
        f"attacked images. {DAGGER} By MSE no better than the mean image ({floors[0]} left, {floors[1]} right): a "
        f"failed attack, not privacy.{_omitted(results)}"
    )


def _omitted(results: Sequence[Results]) -> str:
    """What the variant of MLE that is not shown has reached, over all rows."""
    attacks = [r["mle"]["variants"][OMITTED] for r in results if OMITTED in r["mle"]["variants"]]
    if not attacks:
        return ""
    reached = distinct(round(a["psnr_db"], 1) for a in attacks if a["psnr_db"] is not None) or "n/a"
    failed = sum(a["failed"] for a in attacks)
    verdict = "in every row" if failed == len(attacks) else f"in {failed} of {len(attacks)} rows"
    return (
        f" Not shown: MLE with the {variant_title(OMITTED)}, which ends at {reached} dB, no better than the mean image "
        f"{verdict}."
    )


def _factor(images: np.ndarray) -> int:
    return max(1, TILE // images.shape[1])


def enlarged(images: np.ndarray) -> np.ndarray:
    """Images (n, H, W, 1 or 3) side by side on white, each pixel a square of a whole number of pixels: (h, w, 3)."""
    factor = _factor(images)
    big = images.repeat(factor, 1).repeat(factor, 2)
    big = big.repeat(3 // big.shape[3], 3)  # gray as equal red, green and blue
    white = np.full((big.shape[1], GAP, 3), 255, np.uint8)
    return np.concatenate([part for image in big for part in (white, image)][1:], axis=1)


class Page:
    """The figure under construction; ``top`` is where the next line goes, in pixels from above."""

    def __init__(self, blocks: Sequence[Block], tile: int, caption: str) -> None:
        self.tile, strip = tile, IMAGES * tile + (IMAGES - 1) * GAP
        side = ACCESS + strip + SCORE
        self.left = (MARGIN + NAME, MARGIN + NAME + side)  # where each panel's labels begin
        self.width = MARGIN + NAME + 2 * side
        self.caption = textwrap.wrap(caption, self.width // 9)
        self.top = HEAD + CAPTION * len(self.caption)
        self.height = self.top + MARGIN + sum(block.lines * (tile + LINE) + LINE for block in blocks)
        self.figure = Figure((self.width / DPI, self.height / DPI), dpi=DPI)

    def text(self, x: float, y: float, words: str, size: int, **how: Any) -> None:
        """Text at a position from the left and from above; size in pixels."""
        how = {"va": "center", "ha": "left", **how}
        self.figure.text(x / self.width, 1 - y / self.height, words, fontsize=size * 72 / DPI, **how)

    def head(self, results: Sequence[Results]) -> None:
        """Title, caption, and the panels' titles."""
        counts = [distinct(r[stage]["images"] for r in results) for stage in ("generator", "mle")]
        self.text(MARGIN, 24, "Test images rebuilt from the transmitted feature", 24, weight="bold")
        self.text(MARGIN, 46, "\n".join(self.caption), 15, va="top", color=QUIET, linespacing=1.35)
        titles = (f"Generator attack, {counts[0]} test images", f"MLE attack (white-box), {counts[1]} test images")
        for left, letter, title in zip(self.left, "AB", titles, strict=True):
            self.text(left + ACCESS, self.top - 16, f"{letter}  {title}", 17, weight="bold")

    def block(self, block: Block) -> None:
        """One row: its name, and its lines in both panels under a thin rule."""
        y = 1 - (self.top - 1) / self.height
        self.figure.add_artist(Line2D([MARGIN / self.width, 1 - MARGIN / self.width], [y, y], color="#d0d0d0", lw=0.7))
        self.top += LINE
        middle = self.top + (block.lines * (self.tile + LINE) - LINE) / 2
        self.text(MARGIN, middle, textwrap.fill(block.name, 13), 18, weight="bold")
        for left, strips in zip(self.left, (block.generator, block.mle), strict=True):
            # a panel with fewer lines than the other stands at the row's middle
            start = self.top + (block.lines - len(strips)) * (self.tile + LINE) // 2
            for i, strip in enumerate(strips):
                self.strip(strip, left, start + i * (self.tile + LINE))
        self.top += block.lines * (self.tile + LINE)

    def strip(self, strip: Strip, left: int, top: int) -> None:
        """One line of images between its label and its scores."""
        picture = enlarged(strip.images)
        middle = top + picture.shape[0] / 2
        self.text(left + ACCESS - 10, middle, strip.label, 16, ha="right")
        # pixel for pixel: figimage does not resample
        self.figure.figimage(picture, left + ACCESS, self.height - top - picture.shape[0], origin="upper")
        self.text(left + ACCESS + IMAGES * (self.tile + GAP) + 4, middle, strip.scores, 15, linespacing=1.3)
