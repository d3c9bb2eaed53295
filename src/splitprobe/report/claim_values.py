"""The values that claims are judged by: the same questions to the table of numbers, of our lines and of the paper's.

PSNR is in the paper's convention (a mean over batches), the decoders are those that see one release of an image. A
value that is absent, or that rests on a failed attack, raises :class:`Unknown` with the reason.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from statistics import stdev

from splitprobe.report import frame, paper
from splitprobe.report.attacks import distinguished, empty, saturated
from splitprobe.report.numbers import UNPROTECTED, Numbers, at_chance

# which of a row's decoders a claim is about: each for the strongest; where it is informed, the first that there is
BLACK, GRAY, CLOUD = "black-box", "gray-box", "cloud-side"
INFORMED = "gray-box, or black-box where the edge is the plain one"
DECODERS = {BLACK: ["generator black_box"], GRAY: ["generator gray_box"], CLOUD: ["generator cloud_side"]}
DECODERS |= {access: ["generator gray_box", "generator black_box"] for access in ("", INFORMED)}
LEAST = 4  # cuts that a trend needs: of three, even the most orderly has a p-value of 1/6
# how far two trainings that differ in their seed alone may be apart, where a row has one: about 1.6 standard
# deviations of such a difference at scale small. Accuracy in points, dB, share of a row's non-zero entries
POINTS, DECIBELS, SHARE = 2.0, 1.0, 0.25
ACTS = 1.5  # times these, for a row to be told from the unprotected one: any of three quantities may do it by chance
# the one-sided 5 % of Student's t for 2, 3, ... seeds; the last for all more
STUDENT = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)
# items and quantities of the table of numbers
ACCURACY, CHANGE = (("network", f"accuracy_{key}") for key in ("percent", "change_points"))
NONZERO, LATENCY = ("effective", "nonzero_per_image"), ("cost cpu", "edge_latency_ms")
PARAMETERS = ("target", "edge_parameters_paper")
# of what Figure 2 shows over the cuts
DEPTH = {
    "cut": ("cell", "cut"),
    "mi_calibrated": ("mi calibrated", "mi_nats"),
    "nonzero": NONZERO,
    "generator": ("generator black_box", "psnr_db"),
    "mle": ("mle tuned", "psnr_db"),
}


class Unknown(Exception):
    """Why a value cannot be used."""


@dataclass(frozen=True)
class Source:
    """The numbers of ``who``, ``ours`` or ``paper``; every method raises Unknown when it has none."""

    numbers: Numbers
    who: str = "ours"

    @classmethod
    def printed(cls) -> "Source":
        """All that the paper prints."""
        return cls(Numbers(frame.printed(paper.cells()), paper.cells()), "paper")

    @cached_property
    def seeds(self) -> list["Source"]:
        """The numbers of each seed alone; none where no cell has several."""
        seeds = sorted({seed for cell in self.numbers.cells for seed in self.numbers.seeds(cell)})
        return [Source(self.numbers.of_seed(seed), self.who) for seed in seeds] if len(seeds) > 1 else []

    def noise(self, measure: Callable[["Source"], float]) -> float | None:
        """How far a measure's mean over seeds may be off by their chance: t times its standard error, one-sided 5 %.

        None where no two seeds have it, and where all seeds agree, as for what is measured once.
        """
        values = []
        for source in self.seeds:
            with suppress(Unknown, ZeroDivisionError):  # a seed that lacks one of the rows
                values.append(measure(source))
        if len(set(values)) < 2:
            return None
        return STUDENT[min(len(values) - 2, len(STUDENT) - 1)] * stdev(values) / math.sqrt(len(values))

    def value(self, cell: str, item: str, quantity: str) -> float:
        """A quantity as it stands in the table; latencies of the paper are of a network that it does not name."""
        number = self.numbers.number(cell, item, quantity, self.who)
        if number.value is None:
            timed = item != "cost cpu" or self.numbers.items(cell, "cost")
            raise self._absent(cell, f"{cell}: {number.reason}" if timed else f"{cell} was not timed")
        return number.value

    def parameters(self, cell: str) -> float:
        """The edge's parameters by the paper's count: as printed, or of our network at the paper's width."""
        return self.value(cell, *PARAMETERS) if self.who == "paper" else paper.edge(cell)[PARAMETERS[1]]

    def decoder(self, cell: str, access: str = "") -> float:
        """PSNR of a decoder in dB; without an access, of the row's strongest. At chance nothing counts."""
        if not self.working([cell]):
            raise Unknown(f"{cell} is at chance")
        own = [item for item in DECODERS[access] if item in self.numbers.items(cell, "generator", self.who)]
        if not own:
            raise self._absent(cell, f"{cell} has no {f'{access} ' if access else ''}decoder")
        values = {item: self.value(cell, item, "psnr_db_paper") for item in (own[:1] if access else own)}
        best = max(values, key=values.__getitem__)
        if self.numbers.number(cell, best, "failed", self.who, missing="not printed").highest:
            raise Unknown(f"the decoder of {cell} failed: no better than gray or the mean image")
        return values[best]

    def hidden(self, cell: str, plain: str) -> float:
        """Share of what a decoder gets of the unprotected row, above the mean image, that it does not get of a row."""
        if self.who == "paper":
            raise Unknown("the paper says that PSNR is around 15 dB, and neither the unprotected one nor a floor")
        floor = self.value(plain, "floor generator mean_image", "psnr_db_paper")
        gained = self.decoder(plain) - floor
        if gained <= DECIBELS:
            raise Unknown(f"{plain}: the decoder gains no more than {DECIBELS:g} dB over the mean image")
        return 1 - (self.decoder(cell) - floor) / gained

    def working(self, cells: Sequence[str]) -> list[str]:
        """Those of some cells of one group whose network is not at chance; one without an accuracy counts as such."""
        if self.who == "ours":
            return [cell for cell in cells if not (cell in self.numbers.cells and self.numbers.at_chance(cell))]
        plain = f"{cells[0].partition('/')[0]}/{UNPROTECTED}"
        percent = {row: self.numbers.value(row, *ACCURACY, self.who, "not printed") for row in (plain, *cells)}
        return [cell for cell in cells if not at_chance(percent[cell], percent[plain], paper.classes(cell))]

    def acts(self, cell: str) -> None:
        """Raise Unknown for a row that cannot be told from its unprotected one: doing nothing would pass as well.

        It can where accuracy, black-box decoder or non-zero entries of z differ by more than ACTS margins.
        """
        plain = f"{cell.partition('/')[0]}/{UNPROTECTED}"
        tests = (
            (lambda: self.value(cell, *CHANGE), POINTS),
            (lambda: self.decoder(cell, BLACK) - self.decoder(plain, BLACK), DECIBELS),
            (lambda: self.value(cell, *NONZERO) / self.value(plain, *NONZERO) - 1, SHARE),
        )
        for test, margin in tests:
            with suppress(Unknown, ZeroDivisionError):
                if abs(test()) > ACTS * margin:
                    return
        raise Unknown(
            f"{cell} cannot be told from the unprotected row: accuracy, decoder and non-zero entries within "
            f"{ACTS * POINTS:g} points, {ACTS * DECIBELS:g} dB and {ACTS * 100 * SHARE:g} %, as far as they are known"
        )

    def cuts(self, group: str, x: str, y: str) -> list[tuple[float, float]]:
        """Two of DEPTH at each cut of a network; cuts with a failed attack are left out.

        Estimates at their cap count as equal, and so do those that are not above their null. Raises Unknown where fewer
        than LEAST cuts, or too few estimates between null and cap, are left.
        """
        if self.who == "paper":
            raise Unknown("the paper shows a figure without numbers")
        cuts = [cell for cell in self.numbers.cells if cell.startswith(f"{group}/")]
        for name in (n.removeprefix("mi_") for n in (x, y) if n.startswith("mi_")):
            # those at the cap are one tie, which orders as one cut does; what is not above its null orders nothing
            above = [cell for cell in cuts if not empty(self.numbers, cell, name)]
            if len(above) < LEAST - 1:
                raise Unknown(
                    f"{group}: {len(above)} of {len(cuts)} estimates are above their null, {LEAST - 1} are needed"
                )
            below = sum(not saturated(self.numbers, cell, name) for cell in cuts)
            if below < LEAST - 1:
                raise Unknown(f"{group}: {below} of {len(cuts)} estimates are below their cap, {LEAST - 1} are needed")

        def at(cell: str, item: str, quantity: str) -> float | None:
            """A quantity at a cut; None for an attack that was not run, failed or diverged."""
            if quantity == "mi_nats":
                return distinguished(self.numbers, cell, item.split()[1])
            failed = quantity == "psnr_db" and self.numbers.number(cell, item, "failed", missing="not run").highest
            return None if failed else self.numbers.value(cell, item, quantity, missing="not run")

        points = [(at(cell, *DEPTH[x]), at(cell, *DEPTH[y])) for cell in cuts]
        kept = [point for point in points if None not in point]
        if len(kept) < LEAST:
            raise Unknown(f"{group}: {len(kept)} of {len(points)} cuts have both values, {LEAST} are needed")
        return kept

    def _absent(self, cell: str, reason: str) -> Unknown:
        if self.who == "paper":
            return Unknown("the paper's number is not in its available text")
        return Unknown(reason if cell in self.numbers.cells else f"{cell} is not among the rows")
