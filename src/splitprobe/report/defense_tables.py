"""Tables II to VI: each row's accuracy, what attacks get out of z, how much z says; beside the paper's numbers.

Tables II to IV have the defenses, each on another network or other data, Table V SiftFunnel without one of its parts,
Table VI SiftFunnel on several networks. Differs from the paper's tables in the conventions: our blocks have MSE per
element, PSNR and SSIM per image, a calibrated estimate of mutual information next to the paper's, and the scores of
answering with a constant; the block beside the paper has its conventions, for that comparison alone. A block shows the
cells that ``names`` has, under these names; all results serve as what they are compared with.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import attacks, paper
from splitprobe.report.attacks import ESTIMATES, STAGES, variant_title
from splitprobe.report.differences import SIFTFUNNEL, differences
from splitprobe.report.entries import ACCURATE, PAPER, STANDARD, Entries
from splitprobe.report.frame import NO_REASON
from splitprobe.report.markdown import FAILED, NONE, bullets, document, marked, named, number, printed, stopped
from splitprobe.report.numbers import CLOUD_SIDE, UNPROTECTED, Numbers, open_numbers
from splitprobe.report.remarks import caption, privacy, remarks, warning
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
    "table5": Printed(
        "Table V: SiftFunnel without one of its parts",
        f"{CIFAR} and a ResNet-18 64 channels wide",
        "The paper's decoder of the whole SiftFunnel (0.2790) errs more than a constant color does (0.187): it failed, "
        "and the printed gain of each part is measured against it. The labels of the rows without KL, without Pearson "
        "and without L1 are lost in the available text; they are assigned by the order of the loss's terms.",
        mle=False,
    ),
    "table6": Printed(
        "Table VI: SiftFunnel on several networks",
        f"{CIFAR} and networks 128 (CNN) or 64 channels wide",
        "The ResNet-18's printed decoder errors (0.1957 black-box, 0.2790 gray-box) are above a constant color's "
        "(0.187): decoders that failed, not privacy.",
    ),
}
CLOUD = "SiftFunnel, attacked in the cloud"
REMARK = (
    f"{CLOUD}: a decoder of what the cloud's first layer, which widens z again, makes of it. It sees nothing that z "
    "does not have; the paper uses it to show what such an attacker gains. It does not count as a row's strongest."
)
COUNTED = (
    "The paper's count takes a layer once for each time that it is called, so CBAM's shared ones count twice. At "
    "the paper's width: our networks as wide as the paper's, on its image size, which needs no training."
)


def page(name: str, scale: str, numbers: Numbers, blocks: dict[str, list[str]], *more: str) -> str:
    """A page of results; ``blocks``: heading to lines, BESIDE among them; ``more``: what to note first."""
    theirs = TABLES[name]
    own = blocks | {BESIDE: [*warning(numbers, theirs.basis, theirs.quirks, theirs.mle), *blocks[BESIDE]]}
    own["Notes"] = bullets([*more, *remarks(numbers)])
    listed = [[f"## {heading}", "", *lines] for heading, lines in own.items()]
    return document(theirs.title, caption(scale, numbers), *listed)


def defenses(name: str, params: Params, paths: Paths) -> Table:
    """One of Tables II to IV for the cells that ``rows.<name>`` lists."""
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
    return Table(rows, lines, page(name, params.scale, numbers, blocks))


table2, table3, table4 = (partial(defenses, name) for name in ("table2", "table3", "table4"))


def table5(params: Params, paths: Paths) -> Table:
    """Table V for the cells that ``rows.table5`` lists: ablations, and the rows they are compared with.

    The paper gives the gray-box decoder alone. Where a row keeps the plain network's edge there is no such decoder, and
    the black-box one, which mirrors that edge, stands in its place. Of the whole SiftFunnel there is also the attack in
    the cloud, as the paper prints it.
    """
    numbers = open_numbers(params, paths, "table5")
    rows = {cell: metrics(numbers, cell) for cell in numbers.cells}
    items, listed = {cell: attacks.decoders(numbers, cell) for cell in numbers.cells}, []
    for cell, name in named(marked(numbers)).items():
        informed = ("generator gray_box", "generator black_box")
        listed.append((name, cell, next(item for item in informed if item in items[cell])))
        if cell.partition("/")[2] == SIFTFUNNEL and CLOUD_SIDE in numbers.items(cell):
            listed.append((CLOUD, cell, CLOUD_SIDE))
            items[cell].append(CLOUD_SIDE)
            for key in ("psnr_db", "ssim"):
                rows[cell][f"generator_cloud_side_{key}"] = numbers.number(cell, CLOUD_SIDE, key)
    own, beside = Entries(numbers), Entries(numbers)

    def tail(cell: str, item: str) -> list[str]:
        if item == CLOUD_SIDE:
            return [""] * 4
        estimates = [own.estimated(cell, estimate) for estimate in ("calibrated", "paper")]
        strongest, nonzero = ("strongest", "psnr_db", 2), ("effective", "nonzero_per_image", 0)
        return [own.value(cell, *strongest), *estimates, own.value(cell, *nonzero)]

    def tail_beside(cell: str, item: str) -> list[str]:
        if item != CLOUD_SIDE:
            return beside.information_beside(cell)
        # of the feature that the cloud widened, which no stage here measures
        widened, keys = paper.find_cell(cell, paper.CLOUD_SIDE), (("mi_nats", 4), ("nonzero_per_image", 0))
        return [f"not measured ({printed(widened.get(key), places)})" for key, places in keys]

    header = ["Row", "Access", *ACCURATE, "Generator PSNR, dB", "SSIM", "MSE", "Strongest, dB"]
    header += ["MI (calibrated), nats", "MI (paper's estimator), nats", "Non-zero entries of z"]
    header_beside = ["Row", "Access", *ACCURATE, "Generator MSE", "PSNR, dB", "SSIM", "MI, nats", "Non-zero"]
    scores, floored = partial(own.scores, keys=STANDARD), [("generator", *score) for score in STANDARD]
    blocks = {
        "Accuracy, attacks and information": own.by_decoder(
            listed, header, own.accurate, scores, tail, floored, FAILED
        ),
        BESIDE: beside.by_decoder(listed, header_beside, beside.accurate_beside, beside.scores_beside, tail_beside, ()),
    }
    return Table(rows, csv_lines(numbers, items), page("table5", params.scale, numbers, blocks, REMARK))


def table6(params: Params, paths: Paths) -> Table:
    """Table VI for the cells that ``rows.table6`` lists; unprotected ones serve for comparison alone."""
    numbers, names, key = open_numbers(params, paths, "table6"), {}, "edge_parameters_paper"
    for cell in numbers.cells:
        row = cell.partition("/")[2]
        if row != UNPROTECTED:
            variant = "" if row == SIFTFUNNEL else f", {numbers.text(cell, 'target', 'title')}"
            names[cell] = attacks.network(numbers, cell) + variant + stopped(numbers, cell)
    names = named(marked(numbers, names))
    blocks = {
        "Accuracy and attacks": attacked(numbers, names),
        "Information and size": information(numbers, names),
        "Edge parameters": _edges(numbers, names),
        BESIDE: beside_the_paper(numbers, names),
    }
    rows = {cell: metrics(numbers, cell) | {key: numbers.number(cell, "target", key)} for cell in numbers.cells}
    lines = csv_lines(numbers, {cell: attacks.decoders(numbers, cell) for cell in names})
    return Table(rows, lines, page("table6", params.scale, numbers, blocks))


def attacked(numbers: Numbers, names: Mapping[str, str]) -> list[str]:
    """One line per cell and decoder, then one per floor; standard conventions."""
    entries, mle = Entries(numbers), attacks.variants(numbers)
    header = ["Method", "Access", *ACCURATE, *(f"MLE ({variant_title(item)}) PSNR, dB" for item in mle)]
    header += ["Generator PSNR, dB", "SSIM", "MSE", "Strongest, dB", "Gain, dB"]
    listed = [(name, cell, item) for cell, name in names.items() for item in attacks.decoders(numbers, cell)]
    lines = entries.by_decoder(
        listed, header,
        lambda cell: entries.accurate(cell) + [entries.scores(cell, item, STANDARD[:1])[0] for item in mle],
        partial(entries.scores, keys=STANDARD),
        lambda cell, _: [entries.value(cell, "strongest", key, 2) for key in ("psnr_db", "gain_db")],
        [("mle", *STANDARD[0])] * len(mle) + [("generator", *score) for score in STANDARD], FAILED,
    )  # fmt: skip
    return [*lines, *privacy(numbers)]


def semantics(numbers: Numbers, names: Mapping[str, str]) -> list[str]:
    """What the images of each cell's best decoder and best MLE variant still show to a classifier, and whose they are.

    A line for each, since decoders and MLE attack different numbers of images: naming one among few is easier.
    """
    entries, lines = Entries(numbers), []

    def line(cell: str, name: str, title: str, images: float, item: str) -> list[str]:
        values = [entries.value(cell, item, key, decimals, NO_REASON) for key, decimals in STANDARD[:2]]
        values += [entries.value(cell, item, "perceptual", 3, NO_REASON)]
        keys = ("recognized", "recognized_adapted", "identified")
        shares = [numbers.number(cell, item, key, missing=NO_REASON) for key in keys]
        return [name, title, f"{images:,.0f}", *values, *(entries.notes.value(own.times(100), 1) for own in shares)]

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
    return entries.block(header, lines, *judged(numbers), left=2)


def judged(numbers: Numbers) -> Iterator[str]:
    """What the shares are to be compared with, for each data set whose classifier was trained."""
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
            yield (
                "Recognized: the share of images that get their true label from a classifier trained apart; "
                f"of the originals {100 * accuracy:.1f} % ({dataset}){of_few}, by chance {100 * chance:.1f} %. "
                "The second judge: for each row a copy of that classifier, fine-tuned on auxiliary images and what the "
                f"row's strong decoder makes of them, so that it knows this blur{seen}. "
                "Identified: the share whose nearest original, among all that were attacked, is their own. Perceptual: "
                "the distance in that classifier's features (0: identical), not comparable across data sets."
            )


def information(numbers: Numbers, names: Mapping[str, str]) -> list[str]:
    """One line per cell: what z says about x, and how large edge and z are."""
    entries, lines = Entries(numbers), []
    header = ["Method", *(f"MI ({label}), nats" for label in ESTIMATES.values()), "Coded size of z, bits", "Dependence"]
    header += ["Non-zero entries of z per image", "Dead channels", "Edge parameters", "z, bytes"]
    for cell, name in names.items():
        line = [name, *(entries.estimated(cell, estimate) for estimate in ESTIMATES)]
        line.append(entries.value(cell, "entropy", "coded_bits_per_image", 0, NO_REASON))
        line.append(entries.value(cell, "dependence", "dcor_squared", 3, NO_REASON))
        keys = ("density", "capacity", "channels")
        density, capacity, channels = (numbers.value(cell, "effective", key) for key in keys)
        share = "" if density is None else f" ({100 * density:.1f} %)"
        line.append(f"{entries.value(cell, 'effective', 'nonzero_per_image', 0)} of {capacity:,.0f}{share}")
        line.append(f"{entries.value(cell, 'effective', 'dead_channels', 0)} of {channels:.0f}")
        lines.append([*line, *(entries.value(cell, "target", key, 0) for key in ("edge_parameters", "z_bytes"))])
    return entries.block(header, lines)


def beside_the_paper(numbers: Numbers, names: Mapping[str, str]) -> list[str]:
    """The paper's columns in the paper's conventions, each entry ours and, in parentheses, the paper's."""
    entries = Entries(numbers)
    # the paper tuned its attack without saying how: both variants stand beside its numbers
    mle = [item for item in ("mle paper", "mle tuned") if item in attacks.variants(numbers)]
    header = ["Method", "Access", *ACCURATE]
    for title in (*(f"MLE ({variant_title(item)})" for item in mle), "Generator"):
        header += [f"{title} MSE", "PSNR, dB", "SSIM"]
    header += ["MI, nats", "Non-zero", "Edge parameters"]

    def head(cell: str) -> list[str]:
        scores = [score for item in mle for score in entries.scores_beside(cell, item, "mle paper")]
        return [*entries.accurate_beside(cell), *scores]

    def tail(cell: str, _: str) -> list[str]:
        return [*entries.information_beside(cell), entries.beside(cell, "target", "edge_parameters_paper", 0)]

    # the paper's attackers see one release of an image
    listed = [(name, cell, item) for cell, name in names.items() for item in attacks.mirroring(numbers, cell)]
    floored = [(stage, *score) for stage in [*["mle"] * len(mle), "generator"] for score in PAPER]
    return entries.by_decoder(listed, header, head, entries.scores_beside, tail, floored)


def _edges(numbers: Numbers, names: Mapping[str, str]) -> list[str]:
    """One line per network: the edge's parameters by both counts beside the plain edge's, here and at full width."""
    entries, lines = Entries(numbers), []
    for cell, name in names.items():
        base = numbers.reference(cell)
        counts = [entries.value(cell, "target", key, 0) for key in ("edge_parameters", "edge_parameters_paper")]
        own, usual = (row and numbers.value(row, "target", "edge_parameters") for row in (cell, base))
        wide, plain = (paper.edge(row) if row else {} for row in (cell, base))
        full = [printed(wide.get(key), 0) for key in ("edge_parameters_paper", "edge_macs", "z_bytes")]
        ratios = [(usual, own), *((plain.get(key), wide.get(key)) for key in ("edge_parameters_paper", "edge_macs"))]
        shares = [NONE if None in pair else f"{number(pair[0] / pair[1], 2)} : 1" for pair in ratios]
        lines.append([name, *counts, printed(usual, 0), shares[0], *full, *shares[1:]])
    header = ["Network", "Edge parameters", "By the paper's count", "Unprotected edge", "Unprotected to this edge"]
    header += ["Parameters at the paper's width", "MACs there", "z there, bytes"]
    header += ["Unprotected to this edge there: parameters", "MACs"]
    return entries.block(header, lines, COUNTED)
