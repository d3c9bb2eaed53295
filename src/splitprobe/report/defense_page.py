"""The blocks that the pages of Tables II, III, IV and VI share: accuracy and attacks, information and size, the paper.

Each shows the cells that ``names`` has, under these names; all results serve as what they are compared with.
"""

from collections.abc import Mapping, Sequence

from splitprobe.report.entries import (
    PAPER,
    STANDARD,
    accurate,
    accurate_beside,
    capped,
    compared,
    estimated,
    information_beside,
    scored,
)
from splitprobe.report.markdown import FAILED, Notes, beside, grid
from splitprobe.report.remarks import privacy
from splitprobe.report.results import Results
from splitprobe.report.scores import NO_ATTACK, decoders, floors, printed, strongest, variant, variant_title, variants


def shown(results: Sequence[Results], names: Mapping[str, str]) -> list[Results]:
    """The cells that have a name."""
    return [r for r in results if r.cell in names]


def attacks(results: Sequence[Results], names: Mapping[str, str]) -> list[str]:
    """One line per cell and decoder, then one per floor; standard conventions."""
    notes, mle = Notes(), variants(results)
    header = ["Method", "Access", "Accuracy, %", "Change, points", "Generator PSNR, dB", "SSIM", "MSE"]
    header += [*(f"MLE ({variant_title(name)}) PSNR, dB" for name in mle), "Strongest, dB"]
    lines = []
    for r in shown(results, names):
        head = [names[r.cell], *accurate(notes, results, r)]
        tail = [scored(notes, variant(r, name), "psnr_db", 2) for name in mle]
        tail.append(notes.value({"psnr_db": strongest(r), "psnr_db_reason": NO_ATTACK}, "psnr_db", 2))
        for decoder in decoders(r).values():
            scores = [scored(notes, decoder, key, decimals) for key, decimals in STANDARD]
            lines.append([head[0], decoder["access"], *head[1:], *scores, *tail])
            head, tail = [""] * 3, [""] * len(tail)  # what belongs to the method is printed once
    for label, generator, attacked in floors(results):
        scores = [notes.value(generator, key, decimals) for key, decimals in STANDARD]
        scores += [notes.value(attacked, "psnr_db", 2)] * len(mle)
        lines.append([f"*Floor: {label}*", "", "", "", *scores, ""])
    return [*grid(header, lines, left=2), "", FAILED, "", *notes.lines(), *privacy(results)]


def information(results: Sequence[Results], names: Mapping[str, str]) -> list[str]:
    """One line per cell: what z says about x, and how large edge and z are."""
    notes = Notes()
    header = ["Method", "MI (calibrated), nats", "MI (paper's estimator), nats"]
    header += ["Non-zero entries of z per image", "Dead channels", "Edge parameters", "z, bytes"]
    lines = []
    for r in shown(results, names):
        mine, z, target = r["information"]["mine"], r["information"]["effective"], r["target"]
        share = "" if z["density"] is None else f" ({100 * z['density']:.1f} %)"
        lines.append(
            [
                names[r.cell],
                estimated(notes, mine["calibrated"]),
                estimated(notes, mine["paper"]),
                f"{notes.value(z, 'nonzero_per_image', 0)} of {z['capacity']:,}{share}",
                f"{notes.value(z, 'dead_channels', 0)} of {z['channels']}",
                *(notes.value(target, key, 0) for key in ("edge_parameters", "z_bytes")),
            ]
        )
    return [*grid(header, lines), "", *capped(lines), *notes.lines()]


def beside_the_paper(results: Sequence[Results], names: Mapping[str, str]) -> list[str]:
    """The paper's columns in the paper's conventions, each cell ours and, in parentheses, the paper's."""
    notes = Notes()
    header = ["Method", "Access", "Accuracy, %", "Change, points", "Generator MSE", "PSNR, dB", "SSIM"]
    header += ["MLE MSE", "PSNR, dB", "SSIM", "MI, nats", "Non-zero", "Edge parameters"]
    lines = []
    for r in shown(results, names):
        # the paper's attackers see one release of an image
        once = [decoder for decoder in decoders(r).values() if decoder["queries"] == 1]
        for i, decoder in enumerate(once):
            scores = compared(notes, "generator", decoder, printed(r, decoder["access"]))
            # the paper repeats the method's numbers in its gray-box lines; once is enough
            head, tail = _method(notes, results, r, printed(r)) if i == 0 else ([""] * 2, [""] * 6)
            lines.append(["" if i else names[r.cell], decoder["access"], *head, *scores, *tail])
    for label, *images in floors(results):
        scores = [notes.value(floor, key, decimals) for floor in images for key, decimals in PAPER]
        lines.append([f"*Floor: {label}*", "", "", "", *scores, "", "", ""])
    return [*grid(header, lines, left=2), "", *notes.lines()]


def _method(notes: Notes, results: Sequence[Results], r: Results, theirs: Mapping) -> tuple[list[str], list[str]]:
    """What belongs to the method and not to a decoder: accuracy before, MLE, information and size after the scores."""
    size = notes.value(r["target"], "edge_parameters_paper", 0)
    mle = compared(notes, "mle", variant(r, "paper"), theirs)
    return (
        accurate_beside(notes, results, r, theirs),
        [*mle, *information_beside(notes, r, theirs), beside(size, theirs.get("edge_parameters_paper"), 0)],
    )
