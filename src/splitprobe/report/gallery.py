"""Rows of the same test images under their attacks, scores beside them: what Figures 4 and 5 consist of.

Everything is laid out in pixels, so that an image's pixels stay equal squares; generator left, MLE right.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from splitprobe.report.canvas import GAP, Canvas, enlarged, factor
from splitprobe.report.markdown import DAGGER
from splitprobe.report.results import Results, data, distinct, origin
from splitprobe.report.scores import decoders, mirroring, variant_title
from splitprobe.report.style import QUIET

IMAGES = 5  # a line; photographs hardly shrink, and 16 rows should stay below 0.7 MB
OMITTED = "paper"  # this variant of MLE ends in noise for every row: its PSNR is said in the caption instead
LINE, MARGIN = 8, 22  # pixels between lines of a row, around all
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


def draw(title: str, scale: str, results: Sequence[Results], names: Mapping[str, str], remark: str) -> Figure:
    """The figure: one block per cell under its name, the originals wherever the dataset changes.

    ``names`` has the cells' names and, under a dataset's, the name of its originals; ``remark`` ends the
    caption.
    """
    blocks = list(_blocks(results, names))
    tile = max(factor(s.images) * s.images.shape[1] for block in blocks for s in (*block.generator, *block.mle))
    page = Page(blocks, tile, _caption(scale, results) + remark)
    page.head(title, results)
    for block in blocks:
        page.block(block)
    return page.figure


def _blocks(results: Sequence[Results], names: Mapping[str, str]) -> Iterator[Block]:
    """The originals, then one block per cell; the originals again wherever the dataset changes."""
    shown = None
    for r in results:
        generator, mle = r.images("generator"), r.images("mle")
        # MLE attacks the first of the same test images, so one comparison serves both panels
        if shown is None or not np.array_equal(shown, generator["x"]):
            shown = generator["x"]
            yield Block(names[r.network[0]], [Strip("", shown[:IMAGES])], [Strip("", mle["x"][:IMAGES])])
        yield Block(
            names[r.cell],
            [_strip(d["access"], generator[name], d) for name, d in _decoders(r).items()],
            [_strip(variant_title(name), mle[name], v) for name, v in r["mle"]["variants"].items() if name != OMITTED],
        )


def _decoders(r: Results) -> dict[str, Mapping[str, Any]]:
    """The paper's decoders and the one with most behind it: more would be the same images again."""
    found = decoders(r)
    return mirroring(r) | ({name: found[name] for name in list(found)[-1:]} if len(found) > 1 else {})


def _strip(label: str, images: np.ndarray, attack: Mapping[str, Any]) -> Strip:
    ssim = "n/a" if attack["ssim"] is None else f"{attack['ssim']:.2f}"
    label = label.replace(", ", ",\n").replace("strong ", "strong\n")  # too long for one line
    return Strip(label, images[:IMAGES], f"{_decibels(attack)}{DAGGER if attack['failed'] else ''}\n{ssim}")


def _decibels(scores: Mapping[str, Any]) -> str:
    return "n/a" if scores["psnr_db"] is None else f"{scores['psnr_db']:.1f} dB"


def _caption(scale: str, results: Sequence[Results]) -> str:
    """What was measured on what, which attacks failed, and what is not shown."""
    floors = [distinct(_decibels(r[stage]["floors"]["mean_image"]) for r in results) for stage in ("generator", "mle")]
    return (
        f"Scale {scale}: {data(results)}. {origin(results, 'images')}. Right of each line: mean PSNR and SSIM over all "
        f"attacked images. {DAGGER} By MSE no better than gray or the mean image (the latter {floors[0]} left, "
        f"{floors[1]} right): a failed attack, not privacy.{_omitted(results)}"
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
        f" Not shown: MLE with the {variant_title(OMITTED)}, which ends at {reached} dB, no better than a blind answer "
        f"{verdict}."
    )


class Page(Canvas):
    """The figure under construction; ``top`` is where the next line goes, in pixels from above."""

    def __init__(self, blocks: Sequence[Block], tile: int, caption: str) -> None:
        self.tile, strip = tile, IMAGES * tile + (IMAGES - 1) * GAP
        side = ACCESS + strip + SCORE
        self.left = (MARGIN + NAME, MARGIN + NAME + side)  # where each panel's labels begin
        width = MARGIN + NAME + 2 * side
        self.caption = textwrap.wrap(caption, width // 9)
        self.top = HEAD + CAPTION * len(self.caption)
        super().__init__(width, self.top + MARGIN + sum(block.lines * (tile + LINE) + LINE for block in blocks))

    def head(self, title: str, results: Sequence[Results]) -> None:
        """Title, caption, and the panels' titles."""
        counts = [distinct(r[stage]["images"] for r in results) for stage in ("generator", "mle")]
        self.text(MARGIN, 24, title, 24, weight="bold")
        self.text(MARGIN, 46, "\n".join(self.caption), 15, va="top", color=QUIET, linespacing=1.35)
        titles = (f"Generator attack, {counts[0]} test images", f"MLE attack (white-box), {counts[1]} test images")
        for left, letter, title in zip(self.left, "AB", titles, strict=True):
            self.text(left + ACCESS, self.top - 16, f"{letter}  {title}", 17, weight="bold")

    def block(self, block: Block) -> None:
        """One row: its name, and its lines in both panels under a thin rule."""
        self.rule((MARGIN, self.top - 1), (self.width - MARGIN, self.top - 1), color="#d0d0d0", lw=0.7)
        self.top += LINE
        middle = self.top + (block.lines * (self.tile + LINE) - LINE) / 2
        self.text(
            MARGIN, middle, "\n".join(textwrap.fill(line, 13) for line in block.name.split("\n")), 18, weight="bold"
        )
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
        self.image(left + ACCESS, top, picture)
        self.text(left + ACCESS + IMAGES * (self.tile + GAP) + 4, middle, strip.scores, 15, linespacing=1.3)
