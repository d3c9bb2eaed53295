"""The three blocks of Table II's page: accuracy and attacks, information and size, and beside the paper."""

from collections.abc import Mapping, Sequence

from splitprobe.report.markdown import DAGGER, FAILED, NONE, Notes, beside, grid, number
from splitprobe.report.remarks import privacy, warning
from splitprobe.report.results import Results, labels
from splitprobe.report.scores import accuracy, floors, printed, strongest, variant, variant_title, variants

NEAR_CAP = 0.01  # nats: an estimate this close to the most its estimator can reach is saturated
SATURATED = "‡"
NO_ATTACK = "no attack ended with a finite PSNR"
STANDARD = (("psnr_db", 2), ("ssim", 3), ("mse", 4))  # score and decimals
PAPER = (("mse_paper", 4), ("psnr_db_paper", 2), ("ssim_paper", 3))


def _scored(notes: Notes, attack: Mapping, key: str, decimals: int) -> str:
    """A score of an attack, marked when the attack failed."""
    return notes.value(attack, key, decimals) + (DAGGER if attack.get("failed") else "")


def _accuracy(notes: Notes, results: Sequence[Results], r: Results) -> tuple[str, str]:
    """Accuracy, and its change with a sign; the unprotected row itself has no change."""
    record = accuracy(results, r)
    # with its sign: a defense may also gain accuracy
    change = record["accuracy_change_points"]
    text = f"{change:+.1f}" if change is not None else notes.value(record, "accuracy_change_points", 1)
    return notes.value(record, "accuracy_percent", 1), NONE if r.row == "unprotected" else text


def attacks(results: Sequence[Results]) -> list[str]:
    """One line per cell and decoder, then one per floor; standard conventions."""
    notes, names, mle = Notes(), labels(results), variants(results)
    header = ["Method", "Access", "Accuracy, %", "Change, points", "Generator PSNR, dB", "SSIM", "MSE"]
    header += [*(f"MLE ({variant_title(name)}) PSNR, dB" for name in mle), "Strongest, dB"]
    lines = []
    for r in results:
        head = [names[r.cell], *_accuracy(notes, results, r)]
        tail = [_scored(notes, variant(r, name), "psnr_db", 2) for name in mle]
        tail.append(notes.value({"psnr_db": strongest(r), "psnr_db_reason": NO_ATTACK}, "psnr_db", 2))
        for decoder in r["generator"]["decoders"].values():
            scores = [_scored(notes, decoder, key, decimals) for key, decimals in STANDARD]
            lines.append([head[0], decoder["access"], *head[1:], *scores, *tail])
            head, tail = [""] * 3, [""] * len(tail)  # what belongs to the method is printed once
    for label, generator, attacked in floors(results):
        scores = [notes.value(generator, key, decimals) for key, decimals in STANDARD]
        scores += [notes.value(attacked, "psnr_db", 2)] * len(mle)
        lines.append([f"*Floor: {label}*", "", "", "", *scores, ""])
    return [*grid(header, lines, left=2), "", FAILED, "", *notes.lines(), *privacy(results)]


def information(results: Sequence[Results]) -> list[str]:
    """One line per cell: what z says about x, and how large edge and z are."""
    notes, names = Notes(), labels(results)
    header = ["Method", "MI (calibrated), nats", "MI (paper's estimator), nats"]
    header += ["Non-zero entries of z per image", "Dead channels", "Edge parameters", "z, bytes"]
    lines = []
    for r in results:
        mine, z, target = r["information"]["mine"], r["information"]["effective"], r["target"]
        share = "" if z["density"] is None else f" ({100 * z['density']:.1f} %)"
        lines.append(
            [
                names[r.cell],
                _estimate(notes, mine["calibrated"]),
                _estimate(notes, mine["paper"]),
                f"{notes.value(z, 'nonzero_per_image', 0)} of {z['capacity']:,}{share}",
                f"{notes.value(z, 'dead_channels', 0)} of {z['channels']}",
                *(notes.value(target, key, 0) for key in ("edge_parameters", "z_bytes")),
            ]
        )
    capped = f"{SATURATED} Within {NEAR_CAP} nats of the most this estimator can reach: saturated, so it ranks nothing."
    shown = [capped, ""] if any(SATURATED in cell for line in lines for cell in line) else []
    return [*grid(header, lines), "", *shown, *notes.lines()]


def _estimate(notes: Notes, estimate: Mapping) -> str:
    """Mutual information ± its spread, marked when it sits at the estimator's cap."""
    value, spread, cap = (estimate.get(key) for key in ("mi_nats", "mi_nats_std", "cap_nats"))
    text = notes.value(estimate, "mi_nats", 3)
    if value is not None and spread is not None:
        text += f" ± {number(spread, 3)}"
    return text + (SATURATED if None not in (value, cap) and value > cap - NEAR_CAP else "")


def beside_the_paper(results: Sequence[Results]) -> list[str]:
    """The paper's columns in the paper's conventions, each cell ours and, in parentheses, the paper's."""
    notes, names = Notes(), labels(results)
    header = ["Method", "Access", "Accuracy, %", "Change, points", "Generator MSE", "PSNR, dB", "SSIM"]
    header += ["MLE MSE", "PSNR, dB", "SSIM", "MI, nats", "Non-zero", "Edge parameters"]
    lines = []
    for r in results:
        # the paper's attackers see one release of an image
        once = [decoder for decoder in r["generator"]["decoders"].values() if decoder["queries"] == 1]
        for i, decoder in enumerate(once):
            scores = _compared(notes, "generator", decoder, printed(r, decoder["access"]))
            # the paper repeats the method's numbers in its gray-box lines; once is enough
            head, tail = _method(notes, results, r, printed(r)) if i == 0 else ([""] * 2, [""] * 6)
            lines.append(["" if i else names[r.cell], decoder["access"], *head, *scores, *tail])
    for label, *images in floors(results):
        scores = [notes.value(floor, key, decimals) for floor in images for key, decimals in PAPER]
        lines.append([f"*Floor: {label}*", "", "", "", *scores, "", "", ""])
    return [*warning(results), "", *grid(header, lines, left=2), "", *notes.lines()]


def _compared(notes: Notes, prefix: str, attack: Mapping, theirs: Mapping) -> list[str]:
    """An attack's three scores in the paper's conventions, each beside the paper's."""
    return [beside(_scored(notes, attack, key, d), theirs.get(f"{prefix}_{key}"), d) for key, d in PAPER]


def _method(notes: Notes, results: Sequence[Results], r: Results, theirs: Mapping) -> tuple[list[str], list[str]]:
    """What belongs to the method and not to a decoder: accuracy before, MLE, information and size after the scores."""
    percent, change = _accuracy(notes, results, r)
    their_change = theirs.get("accuracy_change_points")
    if their_change is not None:
        change += f" ({their_change:+.2f})"
    # the estimator of the paper, since the calibrated one measures on another scale
    mi, z = r["information"]["mine"]["paper"], r["information"]["effective"]
    return (
        [beside(percent, theirs.get("accuracy_percent"), 2), change],
        [
            *_compared(notes, "mle", variant(r, "paper"), theirs),
            beside(notes.value(mi, "mi_nats", 4), theirs.get("mi_nats"), 4),
            beside(notes.value(z, "nonzero_per_image", 0), theirs.get("nonzero_per_image"), 0),
            beside(notes.value(r["target"], "edge_parameters_paper", 0), theirs.get("edge_parameters_paper"), 0),
        ],
    )
