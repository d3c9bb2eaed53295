"""Table V: SiftFunnel without one of its parts, under the decoder that knows the edge; and an attack inside the cloud.

The paper gives the gray-box decoder alone. Where a row keeps the plain network's edge there is no such decoder, and the
black-box one, which mirrors that edge, stands in its place.
"""

from collections.abc import Mapping, Sequence

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import paper
from splitprobe.report.entries import (
    STANDARD,
    accurate,
    accurate_beside,
    capped,
    compared,
    estimated,
    information_beside,
    scored,
)
from splitprobe.report.markdown import FAILED, Notes, bullets, document, grid
from splitprobe.report.records import csv_line, csv_lines, floor_lines, row
from splitprobe.report.remarks import caption, remarks, warning
from splitprobe.report.results import Results, collect, labels
from splitprobe.report.scores import CLOUD_SIDE, NO_ATTACK, decoders, floors, strongest
from splitprobe.report.table import Flat, Table

STAGES = ("target", "information", "generator", "mle")
BASIS = "CIFAR-10 at 64 × 64 with 40,000 training images and a ResNet-18 64 channels wide"
QUIRKS = (
    "The paper's decoder of the whole SiftFunnel (0.2790) errs more than a constant color does (0.187): it failed, and "
    "the printed gain of each part is measured against it. The labels of the rows without KL, without Pearson and "
    "without L1 are lost in the available text; they are assigned by the order of the loss's terms."
)
CLOUD = "SiftFunnel, attacked in the cloud"
REMARK = (
    f"{CLOUD}: a decoder of what the cloud's first layer, which widens z again, makes of it. It sees nothing that z "
    "does not have; the paper uses it to show what such an attacker gains. It does not count as a row's strongest."
)


def build(params: Params, paths: Paths) -> Table:
    """Table V for the cells that ``rows.table5`` lists: ablations, and the rows they are compared with."""
    results = collect(params, paths, "table5", STAGES)
    text = document(
        "Table V: SiftFunnel without one of its parts",
        caption(params.scale, results),
        ["## Accuracy, attacks and information", "", *_ours(results)],
        ["## Beside the paper", "", *warning(results, BASIS, QUIRKS, mle=False), *_beside(results)],
        ["## Notes", "", *bullets([REMARK, *remarks(results)])],
    )
    lines = [line for r in results for line in [*csv_lines(results, r), *_cloud_lines(results, r)]]
    return Table({r.cell: _row(results, r) for r in results}, [*lines, *floor_lines(results)], text)


def informed(r: Results) -> Mapping:
    """The record of the decoder that mirrors the edge: gray-box, or black-box where the plain edge is kept."""
    found = decoders(r)
    return found.get("gray_box", found["black_box"])


def _theirs(r: Results) -> paper.Record:
    return paper.find("table5", r.row, "gray-box")


def _cloud(r: Results) -> Mapping | None:
    """The attack in the cloud on the whole SiftFunnel, the one that the paper prints; None for every other row."""
    return r["generator"]["decoders"].get(CLOUD_SIDE) if r.row == "siftfunnel" else None


def _row(results: Sequence[Results], r: Results) -> Flat:
    """The row's JSON."""
    cloud = _cloud(r)
    attacked = {} if cloud is None else {f"generator_{CLOUD_SIDE}_{key}": cloud[key] for key in ("psnr_db", "ssim")}
    return row(results, r) | attacked


def _cloud_lines(results: Sequence[Results], r: Results) -> list[Flat]:
    """The CSV line of the attack in the cloud, where there was one."""
    theirs = paper.find("table5", CLOUD_SIDE)
    return [] if _cloud(r) is None else [csv_line(results, r, CLOUD_SIDE, theirs)]


def _ours(results: Sequence[Results]) -> list[str]:
    notes, names = Notes(), labels(results)
    header = ["Row", "Access", "Accuracy, %", "Change, points", "Generator PSNR, dB", "SSIM", "MSE", "Strongest, dB"]
    header += ["MI (calibrated), nats", "MI (paper's estimator), nats", "Non-zero entries of z"]
    lines = []
    for r in results:
        attack, mine = informed(r), r["information"]["mine"]
        best = {"psnr_db": strongest(r), "psnr_db_reason": NO_ATTACK}
        lines.append(
            [
                *(names[r.cell], attack["access"], *accurate(notes, results, r)),
                *(scored(notes, attack, key, d) for key, d in STANDARD),
                notes.value(best, "psnr_db", 2),
                *(estimated(notes, mine[name]) for name in ("calibrated", "paper")),
                notes.value(r["information"]["effective"], "nonzero_per_image", 0),
            ]
        )
        if _cloud(r) is not None:
            scores = [scored(notes, _cloud(r), key, d) for key, d in STANDARD]
            lines.append([CLOUD, _cloud(r)["access"], "", "", *scores, *[""] * 4])
    for label, generator, _ in floors(results):
        scores = [notes.value(generator, key, d) for key, d in STANDARD]
        lines.append([f"*Floor: {label}*", "", "", "", *scores, *[""] * 4])
    return [*grid(header, lines, left=2), "", FAILED, "", *capped(lines), *notes.lines()]


def _beside(results: Sequence[Results]) -> list[str]:
    notes, names = Notes(), labels(results)
    header = ["Row", "Access", "Accuracy, %", "Change, points", "Generator MSE", "PSNR, dB", "SSIM", "MI, nats"]
    lines = []
    for r in results:
        theirs, attack = _theirs(r), informed(r)
        scores = compared(notes, "generator", attack, theirs)
        known = information_beside(notes, r, theirs)
        lines.append([names[r.cell], attack["access"], *accurate_beside(notes, results, r, theirs), *scores, *known])
        if _cloud(r) is not None:
            scores = compared(notes, "generator", _cloud(r), paper.find("table5", CLOUD_SIDE))
            lines.append([CLOUD, _cloud(r)["access"], "", "", *scores, "", ""])
    return [*grid([*header, "Non-zero"], lines, left=2), "", *notes.lines()]
