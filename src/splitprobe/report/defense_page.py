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
    share,
)
from splitprobe.report.markdown import FAILED, NONE, Notes, beside, grid, number
from splitprobe.report.remarks import privacy
from splitprobe.report.results import Results
from splitprobe.report.scores import (
    ATTACKING,
    NO_ATTACK,
    best_of,
    decoders,
    floors,
    gain,
    mirroring,
    printed,
    strongest,
    variant,
    variant_title,
    variants,
)

# how information.json calls its estimates of mutual information, and what readers call them
ESTIMATES = {"calibrated": "calibrated", "infonce": "InfoNCE", "decoder": "decoder's", "paper": "paper's estimator"}
SEMANTIC = ("recognized", "identified")


def shown(results: Sequence[Results], names: Mapping[str, str]) -> list[Results]:
    """The cells that have a name."""
    return [r for r in results if r.cell in names]


def attacks(results: Sequence[Results], names: Mapping[str, str]) -> list[str]:
    """One line per cell and decoder, then one per floor; standard conventions."""
    notes, mle = Notes(), variants(results)
    header = ["Method", "Access", "Accuracy, %", "Change, points", "Generator PSNR, dB", "SSIM", "MSE"]
    header += [*(f"MLE ({variant_title(name)}) PSNR, dB" for name in mle), "Strongest, dB", "Gain, dB"]
    lines = []
    for r in shown(results, names):
        head = [names[r.cell], *accurate(notes, results, r)]
        tail = [scored(notes, variant(r, name), "psnr_db", 2) for name in mle]
        best = {"psnr_db": strongest(r), "psnr_db_reason": NO_ATTACK, "gain_db": gain(r), "gain_db_reason": NO_ATTACK}
        tail += [notes.value(best, key, 2) for key in ("psnr_db", "gain_db")]
        for decoder in decoders(r).values():
            scores = [scored(notes, decoder, key, decimals) for key, decimals in STANDARD]
            lines.append([head[0], decoder["access"], *head[1:], *scores, *tail])
            head, tail = [""] * 3, [""] * len(tail)  # what belongs to the method is printed once
    for label, generator, attacked in floors(results):
        scores = [notes.value(generator, key, decimals) for key, decimals in STANDARD]
        scores += [notes.value(attacked, "psnr_db", 2)] * len(mle)
        lines.append([f"*Floor: {label}*", "", "", "", *scores, "", ""])
    return [*grid(header, lines, left=2), "", FAILED, "", *notes.lines(), *privacy(results)]


def information(results: Sequence[Results], names: Mapping[str, str]) -> list[str]:
    """One line per cell: what z says about x, and how large edge and z are."""
    notes = Notes()
    header = ["Method", *(f"MI ({label}), nats" for label in ESTIMATES.values())]
    header += ["Coded size of z, bits", "Dependence", "Non-zero entries of z per image", "Dead channels"]
    header += ["Edge parameters", "z, bytes"]
    lines = []
    for r in shown(results, names):
        z, target = r["information"]["effective"], r["target"]
        estimates, entropy, dependence = (r["information"].get(key, {}) for key in ("mine", "entropy", "dependence"))
        share = "" if z["density"] is None else f" ({100 * z['density']:.1f} %)"
        lines.append(
            [
                names[r.cell],
                *(estimated(notes, estimates.get(name, {})) for name in ESTIMATES),
                notes.value(entropy, "coded_bits_per_image", 0),
                notes.value(dependence, "dcor_squared", 3),
                f"{notes.value(z, 'nonzero_per_image', 0)} of {z['capacity']:,}{share}",
                f"{notes.value(z, 'dead_channels', 0)} of {z['channels']}",
                *(notes.value(target, key, 0) for key in ("edge_parameters", "z_bytes")),
            ]
        )
    return [*grid(header, lines), "", *capped(lines), *notes.lines()]


def semantics(results: Sequence[Results], names: Mapping[str, str]) -> list[str]:
    """What the images of each cell's best decoder and best MLE variant still show to a classifier, and whose they are.

    A line for each, since decoders and MLE attack different numbers of images: naming one among few is easier.
    """
    notes, lines = Notes(), []

    def line(name: str, title: str, images: int, scores: Mapping) -> list[str]:
        values = [notes.value(scores, key, decimals) for key, decimals in STANDARD[:2]]
        return [name, title, number(images, 0), *values, *(share(notes, scores, key) for key in SEMANTIC)]

    for r in shown(results, names):
        name = names[r.cell]
        for stage in ATTACKING:
            title, scores = best_of(r, stage)
            lines.append(line(name, title or NONE, r[stage]["images"], scores))
            name = ""
    for label, *each in floors(results):
        lines += [
            line(f"*Floor: {label}*", "", images(results, stage), f) for stage, f in zip(ATTACKING, each, strict=True)
        ]
    header = ["Method", "Attack", "Images", "PSNR, dB", "SSIM", "Recognized, %", "Identified, %"]
    return [*grid(header, lines, left=2), "", *judged(results), *notes.lines()]


def images(results: Sequence[Results], stage: str) -> int:
    """On how many images a stage's attacks of some rows are scored, at most."""
    return max(r[stage]["images"] for r in results)


def judged(results: Sequence[Results]) -> list[str]:
    """What the shares are to be compared with, for each data set."""
    text = []
    for r in {r.network[0]: r for r in reversed(results)}.values():
        judge = r["generator"].get("judge", {})
        few = r["mle"].get("judge", {}).get("accuracy_on_originals")
        of_few = "" if few is None else f" (of the {r['mle']['images']:,} that MLE attacks: {100 * few:.1f} %)"
        if judge.get("accuracy_on_originals") is not None:
            text += [
                "Recognized: the share of images that get their true label from a classifier trained apart; "
                f"of the originals {100 * judge['accuracy_on_originals']:.1f} % ({r.network[0]}){of_few}, by chance "
                f"{100 * judge['chance']:.1f} %. Identified: the share whose nearest original, among all that were "
                "attacked, is their own.",
                "",
            ]
    return text


def beside_the_paper(results: Sequence[Results], names: Mapping[str, str]) -> list[str]:
    """The paper's columns in the paper's conventions, each cell ours and, in parentheses, the paper's."""
    notes = Notes()
    header = ["Method", "Access", "Accuracy, %", "Change, points", "Generator MSE", "PSNR, dB", "SSIM"]
    header += ["MLE MSE", "PSNR, dB", "SSIM", "MI, nats", "Non-zero", "Edge parameters"]
    lines = []
    for r in shown(results, names):
        # the paper's attackers see one release of an image
        once = list(mirroring(r).values())
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
