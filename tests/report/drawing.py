"""What tests of figures share: drawing one, its text, its pixels, and that nothing collides."""

import numpy as np
from fabricated import Repository
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from splitprobe.report import figures
from splitprobe.report.style import styled, write


def drawn(own: Repository, name: str) -> Figure:
    """A figure of a fabricated study."""
    return figures.draw(name, own.params(), own.paths)


def words(figure: Figure) -> str:
    """All text of a figure in one line."""
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(" ".join(text.get_text().split()) for text in found)


def rebuilt(own: Repository, name: str) -> list[bytes]:
    """Build a figure: the bytes of its PNG and PDF."""
    figures.build_figure(name, own.params(), own.paths)
    return [own.paths.figure(name, suffix).read_bytes() for suffix in ("png", "pdf")]


def assert_stable(own: Repository, name: str, most: int) -> None:
    """Two builds of a figure give the same bytes, at most so many of the PNG."""
    first = rebuilt(own, name)
    assert first == rebuilt(own, name)
    assert len(first[0]) < most


def seen(own: Repository, name: str) -> Figure:
    """Draw a figure and write its PNG alone."""
    figure = drawn(own, name)
    with styled():
        write(figure, own.paths.figure(name, "png"))
    return figure


def page(own: Repository, name: str) -> np.ndarray:
    """The pixels of a figure that is built, uint8 (h, w, 3)."""
    return np.asarray(Image.open(own.paths.figure(name, "png")).convert("RGB"))


def at(own: Repository, name: str, image: np.ndarray, times: int = 2, off: float = 20.0) -> list[tuple[int, int]]:
    """Where an image (H, W, C), enlarged, stands in a figure that is built: row and column, its colors nearly its own.

    ``off``: the most that a pixel's value is off on average, as a page has 256 colors or fewer.
    """
    shown, big = page(own, name).astype(int), image.repeat(3 // image.shape[2], 2).repeat(times, 0).repeat(times, 1)
    (height, width), (h, w) = shown.shape[:2], big.shape[:2]
    # the corners and the middle first: a page has many places
    few = [(y, x) for y in (0, h // 2, h - 1) for x in (0, w // 2, w - 1)]
    apart = sum(np.abs(shown[y : height - h + 1 + y, x : width - w + 1 + x] - big[y, x]).sum(2) for y, x in few)
    near = np.argwhere(apart <= 2 * off * 3 * len(few))
    return [(y, x) for y, x in near if np.abs(shown[y : y + h, x : x + w] - big).mean() <= off]


def assert_inside_and_apart(figure: Figure, boxes: list[Bbox]) -> None:
    """No box leaves the figure or overlaps another."""
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
        assert not [other for other in boxes[:i] if box.overlaps(other)]


def assert_readable(figure: Figure) -> None:
    """No text and no legend leaves the figure or overlaps another; nor does one panel another."""
    with styled():
        renderer = FigureCanvasAgg(figure).get_renderer()
        artists = [*(text for text in figure.texts if text.get_text()), *figure.legends]
        assert_inside_and_apart(figure, [artist.get_window_extent(renderer) for artist in artists])
        panels = [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert not [(a, b) for i, a in enumerate(panels) for b in panels[:i] if a.overlaps(b)]
