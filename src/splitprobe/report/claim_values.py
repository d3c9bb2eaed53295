"""The values that claims are judged by: the same questions to the table of numbers, of our lines and of the paper's.

PSNR is in the paper's convention (a mean over batches), the decoders are those that see one release of an image. A
value that is absent, or that rests on a failed attack, raises :class:`Unknown` with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitprobe.report import frame, paper
from splitprobe.report.entries import distinguished, saturated
from splitprobe.report.numbers import Numbers
from splitprobe.report.statistics import ranks

# which of a row's decoders a claim is about: each for the strongest; where it is informed, the first that there is
BLACK, GRAY, CLOUD = "black-box", "gray-box", "cloud-side"
INFORMED = "gray-box, or black-box where the edge is the plain one"
DECODERS = {BLACK: ["generator black_box"], GRAY: ["generator gray_box"], CLOUD: ["generator cloud_side"]}
DECODERS |= {access: ["generator gray_box", "generator black_box"] for access in ("", INFORMED)}
LEAST = 3  # cuts that a trend needs
# item and quantity of what Figure 2 shows over the cuts
DEPTH = {
    "cut": ("cell", "cut"),
    "mi_calibrated": ("mi calibrated", "mi_nats"),
    "mi_paper": ("mi paper", "mi_nats"),
    "nonzero": ("effective", "nonzero_per_image"),
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

    def value(self, cell: str, item: str, quantity: str) -> float:
        """A quantity as it stands in the table; latencies of the paper are of a network that it does not name."""
        number = self.numbers.number(cell, item, quantity, self.who)
        if number.value is None:
            timed = item != "cost cpu" or self.numbers.items(cell, "cost")
            raise self._absent(cell, f"{cell}: {number.reason}" if timed else f"{cell} was not timed")
        return number.value

    def decoder(self, cell: str, access: str = "") -> float:
        """PSNR of a decoder in dB; without an access, of the row's strongest."""
        own = [item for item in DECODERS[access] if item in self.numbers.items(cell, "generator", self.who)]
        if not own:
            raise self._absent(cell, f"{cell} has no {f'{access} ' if access else ''}decoder")
        values = {item: self.value(cell, item, "psnr_db_paper") for item in (own[:1] if access else own)}
        best = max(values, key=values.__getitem__)
        if self.numbers.number(cell, best, "failed", self.who, missing="not printed").highest:
            raise Unknown(f"the decoder of {cell} failed: no better than gray or the mean image")
        return values[best]

    def trend(self, group: str, x: str, y: str) -> float:
        """Spearman's rank correlation of two of DEPTH over a network's cuts; cuts with a failed attack left out.

        Raises Unknown where too few estimates of information are below their cap: the others only tie.
        """
        if self.who == "paper":
            raise Unknown("the paper shows a figure without numbers")
        cuts = [cell for cell in self.numbers.cells if cell.startswith(f"{group}/")]
        for name in (n.removeprefix("mi_") for n in (x, y) if n.startswith("mi_")):
            below = sum(not saturated(self.numbers, cell, name) for cell in cuts)
            if below < LEAST:
                raise Unknown(f"{group}: {below} of {len(cuts)} estimates are below their cap, {LEAST} are needed")
        points = [(self._at_cut(cell, x), self._at_cut(cell, y)) for cell in cuts]
        kept = [point for point in points if None not in point]
        if len(kept) < LEAST:
            raise Unknown(f"{group}: {len(kept)} of {len(points)} cuts have both values, {LEAST} are needed")
        return spearman(*zip(*kept, strict=True))

    def _at_cut(self, cell: str, name: str) -> float | None:
        """One of DEPTH at a cut; None for an attack that was not run, failed or diverged."""
        item, quantity = DEPTH[name]
        if quantity == "mi_nats":
            return distinguished(self.numbers, cell, item.split()[1])
        failed = quantity == "psnr_db" and self.numbers.number(cell, item, "failed", missing="not run").highest
        return None if failed else self.numbers.number(cell, item, quantity, missing="not run").value

    def _absent(self, cell: str, reason: str) -> Unknown:
        if self.who == "paper":
            return Unknown("the paper's number is not in its available text")
        return Unknown(reason if cell in self.numbers.cells else f"{cell} is not among the rows")


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation of two series (n,), ties as mean ranks; raises Unknown when a series is constant."""
    ranked = [ranks(series) for series in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranked):
        raise Unknown("the values do not differ from each other")
    return float(np.corrcoef(*ranked)[0, 1])
