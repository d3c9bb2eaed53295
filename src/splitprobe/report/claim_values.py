"""The values that claims are judged by, from two sources with the same questions: the paper's tables, and our results.

PSNR is in the paper's convention (a mean over batches), the decoders are those that see one release of an image. A
value that is absent, or that rests on a failed attack, raises :class:`Unknown` with the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from splitprobe.report import paper
from splitprobe.report.entries import saturated
from splitprobe.report.results import Results
from splitprobe.report.scores import CLOUD_SIDE, accuracy, decoders, mirroring
from splitprobe.report.statistics import ranks

INFORMED = "gray-box, or black-box where the edge is the plain one"
CLOUD = "cloud-side"
LEAST = 3  # cuts that a trend needs


class Unknown(Exception):
    """Why a value cannot be used."""


class Source(Protocol):
    """Where values come from; every method raises Unknown when it has none."""

    def change(self, cell: str) -> float:
        """Accuracy against the unprotected row, in points."""

    def decoder(self, cell: str, access: str | None = None) -> float:
        """PSNR of a decoder in dB; without an access, of the row's strongest."""

    def parameters(self, cell: str) -> float:
        """Edge parameters by the paper's count."""

    def nonzero(self, cell: str) -> float:
        """Non-zero entries of z per image."""

    def latency(self, cell: str) -> float:
        """CPU milliseconds of the edge."""

    def trend(self, group: str, x: str, y: str) -> float:
        """Spearman's rank correlation of two of DEPTH over the cuts of a network."""


class Theirs:
    """The paper's printed numbers."""

    def change(self, cell: str) -> float:
        """Accuracy against the unprotected row, in points."""
        return _printed(paper.find_cell(cell), "accuracy_change_points")

    def decoder(self, cell: str, access: str | None = None) -> float:
        """PSNR of a decoder in dB; without an access, of the row's strongest."""
        key = "generator_psnr_db_paper"
        if access == CLOUD:
            return _printed(paper.find("table5", CLOUD_SIDE), key)
        if access == INFORMED:
            return _printed(paper.find_cell(cell, "gray-box"), key)
        if access:
            return _printed(paper.find_cell(cell, access), key)
        lines = [line for line in (paper.find_cell(cell, a) for a in ("black-box", "gray-box")) if line]
        return max((_printed(line, key) for line in lines), default=None) or _printed({}, key)

    def parameters(self, cell: str) -> float:
        """Edge parameters by the paper's count."""
        return _printed(paper.find_cell(cell), "edge_parameters_paper")

    def nonzero(self, cell: str) -> float:
        """Non-zero entries of z per image."""
        return _printed(paper.find_cell(cell), "nonzero_per_image")

    def latency(self, cell: str) -> float:
        """CPU milliseconds of the edge, whose network the paper does not name."""
        return _printed(paper.find("latency", cell.rpartition("/")[2]), "edge_cpu_ms")

    def trend(self, group: str, x: str, y: str) -> float:
        """Nothing: the paper shows a figure."""
        raise Unknown("the paper shows a figure without numbers")


def _printed(record: Mapping, key: str) -> float:
    if record.get(key) is None:
        raise Unknown("the paper's number is not in its available text")
    return record[key]


class Ours:
    """The results of the cells that ``rows.claims`` lists."""

    def __init__(self, results: Sequence[Results]) -> None:
        self.results = results
        self.cells = {r.cell: r for r in results}

    def __getitem__(self, cell: str) -> Results:
        if cell not in self.cells:
            raise Unknown(f"{cell} is not among the rows")
        return self.cells[cell]

    def change(self, cell: str) -> float:
        """Accuracy against the unprotected row of the same data and network, in points."""
        return _known(accuracy(self.results, self[cell]), "accuracy_change_points", cell)

    def decoder(self, cell: str, access: str | None = None) -> float:
        """PSNR of a decoder in dB; without an access, of the row's strongest."""
        r = self[cell]
        if access == CLOUD:
            found = [r["generator"]["decoders"].get(CLOUD_SIDE)]
        elif access == INFORMED:
            found = [decoders(r).get("gray_box", decoders(r).get("black_box"))]
        else:
            once = list(mirroring(r).values())
            found = [d for d in once if access in (None, d["access"])]
        if not found or None in found:
            raise Unknown(f"{cell} has no {access or ''} decoder".replace("  ", " "))
        best = max(found, key=lambda d: _known(d, "psnr_db_paper", cell))
        if best["failed"]:
            raise Unknown(f"the decoder of {cell} failed: no better than gray or the mean image")
        return best["psnr_db_paper"]

    def parameters(self, cell: str) -> float:
        """Edge parameters by the paper's count."""
        return _known(self[cell]["target"], "edge_parameters_paper", cell)

    def nonzero(self, cell: str) -> float:
        """Non-zero entries of z per image."""
        return _known(self[cell]["information"]["effective"], "nonzero_per_image", cell)

    def latency(self, cell: str) -> float:
        """CPU milliseconds of the edge, the median."""
        r = self[cell]
        if "cost" not in r.records:
            raise Unknown(f"{cell} was not timed")
        return _known(r["cost"]["cpu"] or {}, "edge_latency_ms", cell)

    def trend(self, group: str, x: str, y: str) -> float:
        """Spearman's rank correlation of two of DEPTH over a network's cuts; cuts with a failed attack left out.

        Raises Unknown where too few estimates of information are below their cap: the others only tie.
        """
        cuts = [r for r in self.results if r.cell.startswith(f"{group}/")]
        for name in (n.removeprefix("mi_") for n in (x, y) if n.startswith("mi_")):
            below = sum(not saturated(r["information"]["mine"][name]) for r in cuts)
            if below < LEAST:
                raise Unknown(f"{group}: {below} of {len(cuts)} estimates are below their cap, {LEAST} are needed")
        points = [(DEPTH[x](r), DEPTH[y](r)) for r in cuts]
        kept = [point for point in points if None not in point]
        if len(kept) < LEAST:
            raise Unknown(f"{group}: {len(kept)} of {len(points)} cuts have both values, {LEAST} are needed")
        return spearman(*zip(*kept, strict=True))


def _known(record: Mapping, key: str, cell: str) -> float:
    if record.get(key) is None:
        raise Unknown(f"{cell}: {record.get(f'{key}_reason', 'no reason was recorded')}")
    return record[key]


def _mi(name: str) -> Callable[[Results], float | None]:
    def read(r: Results) -> float | None:
        estimate = r["information"]["mine"][name]
        # estimates at the cap differ by chance alone: they are one rank
        return estimate["cap_nats"] if saturated(estimate) else estimate["mi_nats"]

    return read


def _psnr(attack: Mapping | None) -> float | None:
    """An attack's PSNR; None when it was not run, failed or diverged."""
    return None if attack is None or attack["failed"] else attack["psnr_db"]


DEPTH: Mapping[str, Callable[[Results], float | None]] = {
    "cut": lambda r: r["target"]["cell"]["cut"],
    "mi_calibrated": _mi("calibrated"),
    "mi_paper": _mi("paper"),
    "nonzero": lambda r: r["information"]["effective"]["nonzero_per_image"],
    "generator": lambda r: _psnr(r["generator"]["decoders"].get("black_box")),
    "mle": lambda r: _psnr(r["mle"]["variants"].get("tuned")),
}


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation of two series (n,), ties as mean ranks; raises Unknown when a series is constant."""
    ranked = [ranks(series) for series in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranked):
        raise Unknown("the values do not differ from each other")
    return float(np.corrcoef(*ranked)[0, 1])
