"""Figures 4 and 5: rows of the same test images under their attacks, scores beside them; generator left, MLE right.

Figure 4, behind Table II, has all defenses; the paper's text does not describe its own. Figure 5 has VGG16 on faces and
X-rays; the paper shows the generator's images alone there and says that PSNR is around 15 dB. Everything is laid out in
pixels, so that an image's pixels stay equal squares.
"""

import textwrap
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from matplotlib.figure import Figure

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report.attacks import STAGES, variant_title
from splitprobe.report.markdown import DAGGER, data, distinct, labels, origin, stopped
from splitprobe.report.numbers import Number, Numbers, open_numbers
from splitprobe.report.pictures import IMAGES, OMITTED, read_pictures, shown
from splitprobe.report.style import GAP, QUIET, Canvas, enlarged, factor

COUNT = IMAGES["figure4"]  # images of a line
LINE, MARGIN = 8, 22  # pixels between lines of a row, around all
NAME, ACCESS, SCORE = 156, 92, 112  # widths of the text columns, in pixels
HEAD, CAPTION = 92, 20  # height of the titles, and of each line of the caption, in pixels
ROLES = {"faces": "Faces", "xray": "X-rays"}
PANELS = {"generator": "A  Generator attack", "mle": "B  MLE attack (white-box)"}


# one line of images: its label on the left, uint8 (n, H, W, C), the text on its right
Strip = tuple[str, np.ndarray, str]
Row = tuple[str, dict[str, list[Strip]]]  # a name, and the lines of images for the generator and for MLE


def figure4(params: Params, paths: Paths) -> Figure:
    """Every defense: the cells that ``rows.figure4`` lists."""
    numbers = open_numbers(params, paths, "figure4")
    names = labels(numbers) | dict.fromkeys(numbers.datasets(), "Original")
    title, remark = "Test images rebuilt from the transmitted feature", " Of each row the best of its decoders and of "
    return draw(title, numbers, names, paths, f"{remark}its MLE attacks.", short=True)


def figure5(params: Params, paths: Paths) -> Figure:
    """VGG16 on other data, each row's accuracy under its name: the cells that ``rows.figure5`` lists."""
    numbers = open_numbers(params, paths, "figure5")
    names = {dataset: f"{ROLES.get(dataset, dataset)}, original" for dataset in numbers.datasets()}
    for cell in numbers.cells:
        accuracy = _text(numbers.number(cell, "network", "accuracy_percent"), "{:.1f} %")
        names[cell] = f"{numbers.text(cell, 'target', 'title')}{stopped(numbers, cell)}\n{accuracy}"
    title = "VGG16 on other data: test images rebuilt from the transmitted feature"
    return draw(title, numbers, names, paths, " Under each name: accuracy on test images.")


def draw(
    title: str, numbers: Numbers, names: Mapping[str, str], paths: Paths, remark: str = "", short: bool = False
) -> Figure:
    """The figure: one row per cell under its name, the originals wherever the data set changes.

    ``names`` has the cells' names and, under a data set's, the name of its originals; ``remark`` ends the caption;
    ``short``: of each row the best attack of each family alone, by PSNR, so that all defenses fit a page.
    """
    rows = list(gathered(numbers, names, read_pictures(paths, numbers.cells), best if short else shown))
    every = [line for _, strips in rows for own in strips.values() for line in own]
    tile = max(factor(images) * images.shape[1] for _, images, _ in every)
    side = ACCESS + COUNT * (tile + GAP) - GAP + SCORE
    lefts = {"generator": MARGIN + NAME, "mle": MARGIN + NAME + side}
    width = MARGIN + NAME + 2 * side
    marks = any(DAGGER in scores for *_, scores in every)
    words = textwrap.wrap(_caption(paths.scale, numbers, marks) + remark, width // 9)
    top = HEAD + CAPTION * len(words)
    heights = [max(map(len, strips.values())) * (tile + LINE) + LINE for _, strips in rows]
    canvas = Canvas(width, top + MARGIN + sum(heights))
    canvas.text(MARGIN, 24, title, 24, weight="bold")
    canvas.text(MARGIN, 46, "\n".join(words), 15, va="top", color=QUIET, linespacing=1.35)
    for stage, left in lefts.items():
        count = distinct(numbers.value(cell, stage, "images") for cell in numbers.cells)
        canvas.text(left + ACCESS, top - 16, f"{PANELS[stage]}, {count} test images", 17, weight="bold")
    for (name, strips), height in zip(rows, heights, strict=True):
        broken = "\n".join(textwrap.fill(line, 13) for line in name.split("\n"))
        canvas.rule((MARGIN, top - 1), (canvas.width - MARGIN, top - 1), color="#d0d0d0", lw=0.7)
        canvas.text(MARGIN, top + height / 2, broken, 18, weight="bold")
        for stage, left in lefts.items():
            # a panel with fewer lines than the other stands at the row's middle
            start = top + LINE + (height - LINE - len(strips[stage]) * (tile + LINE)) // 2
            for label, images, scores in strips[stage]:
                picture = enlarged(images)
                middle, begin = start + picture.shape[0] / 2, left + ACCESS
                canvas.text(begin - 10, middle, label, 16, ha="right")
                canvas.image(begin, start, picture)
                canvas.text(begin + COUNT * (tile + GAP) + 4, middle, scores, 15, linespacing=1.3)
                start += tile + LINE
        top += height
    return canvas.figure


def best(numbers: Numbers, cell: str) -> list[str]:
    """Of the attacks that are shown the best one of each family, as items; one without a PSNR is the worst."""
    items = {stage: [item for item in shown(numbers, cell) if item.split()[0] == stage] for stage in STAGES}
    return [max(own, key=lambda item: numbers.value(cell, item, "psnr_db") or -1.0) for own in items.values() if own]


def gathered(
    numbers: Numbers, names: Mapping[str, str], pictures: Mapping[str, Mapping], chosen: Callable = shown
) -> Iterator[Row]:
    """The originals, then one row per cell with the attacks ``chosen``; the originals again where the data change."""
    last = None
    for cell in numbers.cells:
        lines: dict[str, list[Strip]] = {stage: [] for stage in STAGES}
        for item in chosen(numbers, cell):
            decoder = item.startswith("generator")
            label = numbers.text(cell, item, "access") if decoder else variant_title(item)
            label = label.replace(", ", ",\n").replace("strong ", "strong\n")  # too long for one line
            psnr, ssim, failed = (numbers.number(cell, item, key) for key in ("psnr_db", "ssim", "failed"))
            scores = f"{_text(psnr, '{:.1f} dB')}{DAGGER if failed.highest else ''}\n{_text(ssim, '{:.2f}')}"
            lines[item.split()[0]].append((label, pictures[cell][item][:COUNT], scores))
        originals = pictures[cell]["x"][:COUNT]
        if last is None or not np.array_equal(last, originals):
            last = originals
            # MLE attacks the first of the same test images, at some scales fewer than a line has
            most = {stage: max((len(images) for _, images, _ in own), default=COUNT) for stage, own in lines.items()}
            yield names[numbers.network(cell)[0]], {stage: [("", originals[:n], "")] for stage, n in most.items()}
        yield names[cell], lines


def _text(number: Number, form: str) -> str:
    """A number for readers."""
    return "n/a" if number.value is None else form.format(number.value)


def _caption(scale: str, numbers: Numbers, marks: bool) -> str:
    """What was measured on what, which attacks failed (``marks``: whether any that is shown did), what is not shown."""
    places = [[(cell, f"floor {stage} mean_image", "psnr_db") for cell in numbers.cells] for stage in STAGES]
    left, right = (distinct(_text(numbers.number(*place), "{:.1f} dB") for place in own) for own in places)
    text = (
        f"Scale {scale}: {data(numbers)}. {origin(numbers, 'images', spreads=False)}. Right of each line: mean PSNR "
        f"and SSIM over all attacked images; the mean image has {left} left, {right} right."
    )
    text += f" {DAGGER} By MSE no better than that or gray: a failed attack, not privacy." if marks else ""
    cells = [cell for cell in numbers.cells if numbers.quantities(cell, OMITTED)]
    values = [numbers.value(cell, OMITTED, "psnr_db") for cell in cells]
    reached = distinct(round(value, 1) for value in values if value is not None) or "n/a"
    failed = sum(bool(numbers.number(cell, OMITTED, "failed").highest) for cell in cells)
    verdict = "in every row" if failed == len(cells) else f"in {failed} of {len(cells)} rows"
    omitted = f" Not shown: MLE with the {variant_title(OMITTED)}, which ends at {reached} dB, no better than a blind "
    return f"{text}{omitted}answer {verdict}." if cells else text
