"""Figure 2: what leaks at each possible cut of an unprotected network; the CNN left, ResNet-18 right.

From above: mutual information by both estimators, effective information, the PSNR of both attacks over their floors,
and below them the same test image rebuilt at each cut. The available text of the paper says what its figure shows, not
its axes; here each estimate of information has axes of its own, since the two measure on different scales.
"""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.canvas import TILE, Canvas, enlarged
from splitprobe.report.entries import saturated
from splitprobe.report.results import Results, collect, data, origin
from splitprobe.report.scores import network
from splitprobe.report.style import COLORS, QUIET

STEP = 76  # pixels between two cuts, or more
LEFT, RIGHT = 178, 40  # margins of a column, in pixels; the left one holds labels and the original
PANEL, BETWEEN, HEAD = 150, 62, 138  # heights of a panel, of the gap below it, and of the titles
LEAST = 6  # cuts that a column has room for at least
DASHED = (0, (4, 2.5))
# color, and what to read, of each attack: decoder or variant, then the record's place
ATTACKS = {
    "generator": ("generator", COLORS[1], "decoders", "black_box"),
    "mle": ("MLE", COLORS[3], "variants", "tuned"),
}


def draw(params: Params, paths: Paths) -> Figure:
    """The figure for the cells that ``rows.figure2`` lists, one column for each network among them."""
    results = collect(params, paths, "figure2", ("target", "information", "generator", "mle"))
    models = dict.fromkeys(r.network[1] for r in results)
    columns = [sorted((r for r in results if r.network[1] == m), key=_cut) for m in models]
    widths = [LEFT + STEP * max(LEAST, len(column)) + RIGHT for column in columns]
    page = Page(sum(widths), _caption(params.scale, results))
    for i, (column, width) in enumerate(zip(columns, widths, strict=True)):
        Column(page, column, sum(widths[:i]), width).draw("ABCDEFGH"[i])
    return page.figure


def _cut(r: Results) -> int:
    return r["target"]["cell"]["cut"]


def _caption(scale: str, results: Sequence[Results]) -> str:
    return (
        f"Scale {scale}: {data(results)}. {origin(results)}. Unprotected networks, each trained once and "
        "cut behind every block. Effective information: non-zero entries of z per image. Attacks: black-box "
        "generator, tuned MLE; dashed: the mean auxiliary image, which needs no feature. Hollow: an attack that ended "
        "no better than that (by MSE), an estimate at the most that its estimator can reach. Below: the first test "
        "image, rebuilt at each cut."
    )


class Page(Canvas):
    """The figure under construction: its title and caption; ``top`` is where the panels begin."""

    def __init__(self, width: int, caption: str) -> None:
        lines = textwrap.wrap(caption, width * 2 // 17)
        self.top = HEAD + 17 * len(lines)
        super().__init__(width, self.top + 4 * (PANEL + BETWEEN) + 2 * TILE + 24)
        self.text(22, 28, "What leaks at each cut", 24, weight="bold")
        self.text(22, 50, "\n".join(lines), 14, va="top", color=QUIET, linespacing=1.3)


class Column:
    """One network: four panels over its cuts, and the images under them."""

    def __init__(self, page: Page, results: Sequence[Results], left: int, width: int) -> None:
        self.page, self.results = page, results
        self.left, self.width = left + LEFT, width - LEFT - RIGHT

    def draw(self, letter: str) -> None:
        """Everything, from above."""
        self.page.text(self.left, self.page.top - 54, f"{letter}  {network(self.results[0])}", 18, weight="bold")
        panels = (
            ("Mutual information, calibrated", "nats", lambda axes: self._information(axes, "calibrated", COLORS[2])),
            ("Mutual information, paper's estimator", "nats", lambda axes: self._information(axes, "paper", COLORS[2])),
            ("Effective information", "entries", self._effective),
            ("Attacks", "PSNR, dB", self._attacks),
        )
        for i, (title, unit, panel) in enumerate(panels):
            top = self.page.top + i * (PANEL + BETWEEN)
            axes = self.page.axes(self.left, top, self.width, PANEL)
            axes.margins(y=0.16)
            panel(axes)
            axes.set_title(title)
            axes.set_ylabel(unit)
            # half a step beside the first and the last cut, so that images fit under them
            axes.set_xlim(0.5, 0.5 + len(self.results))
            axes.set_xticks(range(1, len(self.results) + 1), [str(_cut(r)) for r in self.results])
        for x, r in self._places():
            shape = "×".join(map(str, r["target"]["z_shape"]))
            self.page.text(x, top + PANEL + 38, shape, 11, ha="center", color=QUIET)
        self.page.text(self.left - 8, top + PANEL + 19, "cut", 12, ha="right", color=QUIET)
        self.page.text(self.left - 8, top + PANEL + 38, "shape of z", 12, ha="right", color=QUIET)
        self._images(top + PANEL + 54)

    def _places(self) -> list[tuple[float, Results]]:
        """Where the cuts stand, in pixels from the left."""
        step = self.width / len(self.results)
        return [(self.left + step * (i + 0.5), r) for i, r in enumerate(self.results)]

    def _information(self, axes: Axes, name: str, color: str) -> None:
        """One estimator's values; hollow where it is saturated."""
        estimates = [r["information"]["mine"][name] for r in self.results]
        _line(axes, [e.get("mi_nats") for e in estimates], color, [saturated(e) for e in estimates])

    def _effective(self, axes: Axes) -> None:
        """Non-zero entries of z, on a logarithmic axis."""
        values = [r["information"]["effective"]["nonzero_per_image"] for r in self.results]
        _line(axes, values, COLORS[4], [False] * len(values))
        if any(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:,.0f}")

    def _attacks(self, axes: Axes) -> None:
        """PSNR of both attacks over their floors, each named at its right end."""
        for stage, (label, color, records, name) in ATTACKS.items():
            found = [r[stage][records].get(name, {}) for r in self.results]
            values = [attack.get("psnr_db") for attack in found]
            _line(axes, values, color, [bool(attack.get("failed")) for attack in found], label)
            floors = [r[stage]["floors"]["mean_image"]["psnr_db"] for r in self.results]
            level = [floor for floor in floors if floor is not None]
            if level:
                axes.axhline(level[0], color=color, lw=1.0, linestyle=DASHED, zorder=1)
                # two floors are mostly one line: the generator's alone is named
                axes.text(0.53, level[0], "floor" if stage == "generator" else "", size=7.5, color=QUIET, va="bottom")
        axes.legend(loc="upper right", ncols=2, frameon=False, fontsize=8, borderpad=0.1, handlelength=1.6)

    def _images(self, top: float) -> None:
        """The first test image left, and what each attack makes of it at each cut."""
        original = self.results[0].images("generator")["x"]
        size = enlarged(original[:1]).shape[0]
        self.page.text(self.left - 158, top + size / 2 - 12, "original", 12, color=QUIET)
        self.page.image(self.left - 158, top + size / 2, enlarged(original[:1]))
        for i, (stage, (label, color, _, name)) in enumerate(ATTACKS.items()):
            below = top + i * (size + 6)
            self.page.text(self.left - 8, below + size / 2, label, 12, ha="right", color=color, weight="bold")
            for x, r in self._places():
                images = r.images(stage)
                if name in images:
                    self.page.image(x - size / 2, below, enlarged(images[name][:1]))


def _line(axes: Axes, values: Sequence[float | None], color: str, hollow: Sequence[bool], label: str = "") -> None:
    """Values over the cuts, absent ones left out; hollow markers where ``hollow`` is true."""
    points = [(i, value, empty) for i, (value, empty) in enumerate(zip(values, hollow, strict=True), 1)]
    points = [point for point in points if point[1] is not None]
    axes.plot([p[0] for p in points], [p[1] for p in points], color=color, label=label or None, lw=1.3)
    for x, y, empty in points:
        axes.plot([x], [y], "o", color=color, markerfacecolor="white" if empty else color, ms=5.5, zorder=4)
