"""Tables II, III and IV: each defense's accuracy, what attacks get out of z, how much z says; beside the paper's.

They differ in network and data alone. Differs from the paper's tables in the conventions: our block has MSE per
element, PSNR and SSIM per image, a calibrated estimate of mutual information next to the paper's, and the scores of
answering with a constant; the block beside the paper has the paper's conventions, for that comparison alone.

Table VI has some of the blocks too. Each shows the cells that ``names`` has, under these names; all results serve as
what they are compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import attacks
from splitprobe.report.attacks import STAGES
from splitprobe.report.captions import marked
from splitprobe.report.differences import differences
from splitprobe.report.entries import ESTIMATES, PAPER, STANDARD, Entries, explained
from splitprobe.report.frame import NO_REASON
from splitprobe.report.markdown import FAILED, NONE, bullets, document, grid, named
from splitprobe.report.numbers import Numbers
from splitprobe.report.remarks import caption, privacy, remarks, warning
from splitprobe.report.rows import open_numbers
from splitprobe.report.tables import Table, csv_lines, metrics


@dataclass(frozen=True)
class Printed:
    """A table of the paper: our title, what it was measured on, what is odd about its numbers; whether it has MLE."""

    title: str
    basis: str
    quirks: str
    mle: bool = True


BESIDE = "Beside the paper"
CIFAR = "CIFAR-10 at 64 × 64 with 40,000 training images"
# the last sentence of each: numbers that cannot be right are quoted all the same
TABLES = {
    "table2": Printed(
        "Table II: defenses against model inversion",
        f"{CIFAR} and a network 128 channels wide",
        "The printed MSE and PSNR of MID and of DPSGD's generator contradict each other; they are quoted as they "
        "stand.",
    ),
    "table3": Printed(
        "Table III: defenses against model inversion, ResNet-18",
        f"{CIFAR} and a ResNet-18 64 channels wide",
        "SiftFunnel's printed decoder errors (0.1957 black-box, 0.2790 gray-box) are above a constant color's (0.187): "
        "decoders that failed, not privacy. The printed MI of unprotected, NLS and MID is at the most that the paper's "
        "estimator can reach. The accuracies of eight defenses are lost. The printed MSE and PSNR of MLE contradict "
        "each other for unprotected and DPSGD, and BiDO and VIB share one generator MSE and PSNR; all are quoted as "
        "they stand.",
    ),
    "table4": Printed(
        "Table IV: defenses against model inversion, faces",
        "FaceScrub at 64 × 64 with about 34,500 training images of 530 people and a network 128 channels wide",
        "The printed change of MID's accuracy was taken against Table III's unprotected row (-8.86 against its own), "
        "and the printed MSE of the unprotected generator is a third of what its PSNR means; they are quoted as they "
        "stand. By the black-box decoder, the paper's AE is more private than its SiftFunnel.",
    ),
}


def page(theirs: Printed, scale: str, numbers: Numbers, blocks: dict[str, list[str]], more: Sequence[str] = ()) -> str:
    """A page of results; ``blocks``: heading to lines, BESIDE among them; ``more``: what to note first."""
    warned = warning(numbers, theirs.basis, theirs.quirks, theirs.mle)
    own = blocks | {BESIDE: [*warned, *blocks[BESIDE]]}
    listed = [[f"## {heading}", "", *lines] for heading, lines in own.items()]
    notes = ["## Notes", "", *bullets([*more, *remarks(numbers)])]
    return document(theirs.title, caption(scale, numbers), *listed, notes)


def build(name: str, params: Params, paths: Paths) -> Table:
    """One of TABLES for the cells that ``rows.<name>`` lists."""
    numbers = open_numbers(params, paths, name)
    names = named(marked(numbers))
    blocks = {
        "Accuracy and attacks": attacked(numbers, names),
        "What the images still show": semantics(numbers, names),
        "Information and size": information(numbers, names),
        BESIDE: beside_the_paper(numbers, names),
        "Where the rows differ from the paper": differences(numbers),
    }
    lines = csv_lines(numbers, {cell: attacks.decoders(numbers, cell) for cell in numbers.cells})
    rows = {cell: metrics(numbers, cell) for cell in numbers.cells}
    return Table(rows, lines, page(TABLES[name], params.scale, numbers, blocks))


table2, table3, table4 = (partial(build, name) for name in TABLES)


def attacked(numbers: Numbers, names: Mapping[str, str]) -> list[str]:
    """One line per cell and decoder, then one per floor; standard conventions."""
    entries, mle = Entries(numbers), attacks.variants(numbers)
    header = ["Method", "Access", "Accuracy, %", "Change, points"]
    header += [f"MLE ({attacks.variant_title(item)}) PSNR, dB" for item in mle]
    header += ["Generator PSNR, dB", "SSIM", "MSE", "Strongest, dB", "Gain, dB"]
    lines = []
    for cell, name in names.items():
        head = [*entries.accurate(cell), *(entries.scores(cell, item, STANDARD[:1])[0] for item in mle)]
        tail = [entries.value(cell, "strongest", key, 2) for key in ("psnr_db", "gain_db")]
        for item in attacks.decoders(numbers, cell):
            access, scores = numbers.text(cell, item, "access"), entries.scores(cell, item, STANDARD)
            lines.append([name, access, *head, *scores, *tail])
            name, head, tail = "", [""] * len(head), [""] * len(tail)  # what belongs to the method is printed once
    columns = [("mle", *STANDARD[0])] * len(mle) + [("generator", *score) for score in STANDARD]
    lines += entries.floors(columns, after=2)
    return [*grid(header, lines, left=2), "", FAILED, "", *entries.notes.lines(), *privacy(numbers)]


def semantics(numbers: Numbers, names: Mapping[str, str]) -> list[str]:
    """What the images of each cell's best decoder and best MLE variant still show to a classifier, and whose they are.

    A line for each, since decoders and MLE attack different numbers of images: naming one among few is easier.
    """
    entries, lines = Entries(numbers), []

    def line(cell: str, name: str, title: str, images: float, item: str) -> list[str]:
        values = [entries.value(cell, item, key, decimals, NO_REASON) for key, decimals in STANDARD[:2]]
        values += [entries.value(cell, item, "perceptual", 3, NO_REASON)]
        values += [entries.share(cell, item, key) for key in ("recognized", "recognized_adapted", "identified")]
        return [name, title, f"{images:,.0f}", *values]

    for cell, name in names.items():
        for stage in STAGES:
            item = attacks.best(numbers, cell, stage)
            title = NONE if item is None else attacks.title(numbers, cell, item)
            images = numbers.value(cell, stage, "images")
            lines.append(line(cell, name if stage == STAGES[0] else "", title, images, item or NONE))
    most = {stage: max(numbers.value(cell, stage, "images") for cell in numbers.cells) for stage in STAGES}
    for label, cell, name in attacks.floors(numbers):
        lines += [line(cell, f"*Floor: {label}*", "", most[stage], f"floor {stage} {name}") for stage in STAGES]
    header = ["Method", "Attack", "Images", "PSNR, dB", "SSIM", "Perceptual", "Recognized, %"]
    header += ["by the second judge, %", "Identified, %"]
    return [*grid(header, lines, left=2), "", *judged(numbers), *entries.notes.lines()]


def judged(numbers: Numbers) -> list[str]:
    """What the shares are to be compared with, for each data set whose classifier was trained."""
    text = []
    for dataset, cell in numbers.datasets().items():
        accuracy, few = (
            numbers.value(cell, f"judge {stage}", "accuracy_on_originals", missing=NO_REASON) for stage in STAGES
        )
        if accuracy is not None:
            chance, images = numbers.value(cell, "judge generator", "chance"), numbers.value(cell, "mle", "images")
            of_few = "" if few is None else f" (of the {images:,.0f} that MLE attacks: {100 * few:.1f} %)"
            rows = [row for row in numbers.cells if numbers.network(row)[0] == dataset]
            place = ("judge generator", "adapted_accuracy_on_originals")
            second = (numbers.value(row, *place, missing=NO_REASON) for row in rows)
            known = [100 * share for share in second if share is not None]
            seen = f"; of the originals it knows {min(known):.1f} to {max(known):.1f} %" if known else ""
            text += [
                "Recognized: the share of images that get their true label from a classifier trained apart; "
                f"of the originals {100 * accuracy:.1f} % ({dataset}){of_few}, by chance {100 * chance:.1f} %. "
                "The second judge: for each row a copy of that classifier, fine-tuned on auxiliary images and what the "
                f"row's strong decoder makes of them, so that it knows this blur{seen}. "
                "Identified: the share whose nearest original, among all that were attacked, is their own. Perceptual: "
                "the distance in that classifier's features (0: identical), not comparable across data sets.",
                "",
            ]
    return text


def information(numbers: Numbers, names: Mapping[str, str]) -> list[str]:
    """One line per cell: what z says about x, and how large edge and z are."""
    entries = Entries(numbers)
    header = ["Method", *(f"MI ({label}), nats" for label in ESTIMATES.values())]
    header += ["Coded size of z, bits", "Dependence", "Non-zero entries of z per image", "Dead channels"]
    header += ["Edge parameters", "z, bytes"]
    lines = []
    for cell, name in names.items():
        keys = ("density", "capacity", "channels")
        density, capacity, channels = (numbers.value(cell, "effective", key) for key in keys)
        share = "" if density is None else f" ({100 * density:.1f} %)"
        lines.append(
            [
                name,
                *(entries.estimated(cell, estimate) for estimate in ESTIMATES),
                entries.value(cell, "entropy", "coded_bits_per_image", 0, missing=NO_REASON),
                entries.value(cell, "dependence", "dcor_squared", 3, missing=NO_REASON),
                f"{entries.value(cell, 'effective', 'nonzero_per_image', 0)} of {capacity:,.0f}{share}",
                f"{entries.value(cell, 'effective', 'dead_channels', 0)} of {channels:.0f}",
                *(entries.value(cell, "target", key, 0) for key in ("edge_parameters", "z_bytes")),
            ]
        )
    return [*grid(header, lines), "", *explained(lines), *entries.notes.lines()]


def beside_the_paper(numbers: Numbers, names: Mapping[str, str]) -> list[str]:
    """The paper's columns in the paper's conventions, each entry ours and, in parentheses, the paper's."""
    entries, lines = Entries(numbers), []
    # the paper tuned its attack without saying how: both variants stand beside its numbers
    mle = [item for item in ("mle paper", "mle tuned") if item in attacks.variants(numbers)]
    header = ["Method", "Access", "Accuracy, %", "Change, points"]
    for item in mle:
        header += [f"MLE ({attacks.variant_title(item)}) MSE", "PSNR, dB", "SSIM"]
    header += ["Generator MSE", "PSNR, dB", "SSIM", "MI, nats", "Non-zero", "Edge parameters"]
    for cell, name in names.items():
        head = entries.accurate_beside(cell)
        head += [score for item in mle for score in entries.scores_beside(cell, item, "mle paper")]
        tail = [*entries.information_beside(cell), entries.beside(cell, "target", "edge_parameters_paper", 0)]
        for item in attacks.mirroring(numbers, cell):  # the paper's attackers see one release of an image
            access, scores = numbers.text(cell, item, "access"), entries.scores_beside(cell, item)
            lines.append([name, access, *head, *scores, *tail])
            # the paper repeats the method's numbers in its gray-box lines; once is enough
            name, head, tail = "", [""] * len(head), [""] * len(tail)
    stages = ["mle"] * len(mle) + ["generator"]
    lines += entries.floors([(stage, *score) for stage in stages for score in PAPER], after=3)
    return [*grid(header, lines, left=2), "", *explained(lines), *entries.notes.lines()]
