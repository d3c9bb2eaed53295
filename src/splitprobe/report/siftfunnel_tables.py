"""Tables V and VI: SiftFunnel without one of its parts, and SiftFunnel on several networks."""

from functools import partial

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import defense_tables as blocks
from splitprobe.report import paper
from splitprobe.report.attacks import decoders, network
from splitprobe.report.captions import marked, stopped
from splitprobe.report.differences import SIFTFUNNEL
from splitprobe.report.entries import STANDARD, Entries, capped
from splitprobe.report.markdown import FAILED, NONE, grid, named, number, printed
from splitprobe.report.numbers import CLOUD_SIDE, UNPROTECTED, Numbers
from splitprobe.report.rows import open_numbers
from splitprobe.report.tables import Table, csv_lines, metrics

PARTS = blocks.Printed(
    "Table V: SiftFunnel without one of its parts",
    f"{blocks.CIFAR} and a ResNet-18 64 channels wide",
    "The paper's decoder of the whole SiftFunnel (0.2790) errs more than a constant color does (0.187): it failed, and "
    "the printed gain of each part is measured against it. The labels of the rows without KL, without Pearson and "
    "without L1 are lost in the available text; they are assigned by the order of the loss's terms.",
    mle=False,
)
NETWORKS = blocks.Printed(
    "Table VI: SiftFunnel on several networks",
    f"{blocks.CIFAR} and networks 128 (CNN) or 64 channels wide",
    "The ResNet-18's printed decoder errors (0.1957 black-box, 0.2790 gray-box) are above a constant color's (0.187): "
    "decoders that failed, not privacy.",
)
CLOUD = "SiftFunnel, attacked in the cloud"
REMARK = (
    f"{CLOUD}: a decoder of what the cloud's first layer, which widens z again, makes of it. It sees nothing that z "
    "does not have; the paper uses it to show what such an attacker gains. It does not count as a row's strongest."
)


def table5(params: Params, paths: Paths) -> Table:
    """Table V for the cells that ``rows.table5`` lists: ablations, and the rows they are compared with.

    The paper gives the gray-box decoder alone. Where a row keeps the plain network's edge there is no such decoder, and
    the black-box one, which mirrors that edge, stands in its place. Of the whole SiftFunnel there is also the attack in
    the cloud, as the paper prints it.
    """
    numbers = open_numbers(params, paths, "table5")
    shown = {"Accuracy, attacks and information": _parts(numbers), blocks.BESIDE: _parts_beside(numbers)}
    page = blocks.page(PARTS, params.scale, numbers, shown, [REMARK])
    rows = {cell: metrics(numbers, cell) for cell in numbers.cells}
    items = {cell: decoders(numbers, cell) for cell in numbers.cells}
    for cell in filter(partial(_attacked_in_cloud, numbers), numbers.cells):
        items[cell].append(CLOUD_SIDE)
        for key in ("psnr_db", "ssim"):
            rows[cell][f"generator_cloud_side_{key}"] = numbers.number(cell, CLOUD_SIDE, key)
    return Table(rows, csv_lines(numbers, items), page)


def _attacked_in_cloud(numbers: Numbers, cell: str) -> bool:
    return cell.partition("/")[2] == SIFTFUNNEL and CLOUD_SIDE in numbers.items(cell)


def _informed(numbers: Numbers, cell: str) -> str:
    """The decoder that mirrors the edge, as an item: gray-box, or black-box where the plain edge is kept."""
    return next(item for item in ("generator gray_box", "generator black_box") if item in decoders(numbers, cell))


def _listed(numbers: Numbers) -> list[tuple[str, str, str]]:
    """(name, cell, item) of each line: a row's informed decoder, and the attack in the cloud below its row."""
    lines = []
    for cell, name in named(marked(numbers)).items():
        lines.append((name, cell, _informed(numbers, cell)))
        lines += [(CLOUD, cell, CLOUD_SIDE)] if _attacked_in_cloud(numbers, cell) else []
    return lines


def _parts(numbers: Numbers) -> list[str]:
    """One line per row, one for the attack in the cloud, one per floor; standard conventions."""
    entries, lines = Entries(numbers), []
    header = ["Row", "Access", "Accuracy, %", "Change, points", "Generator PSNR, dB", "SSIM", "MSE", "Strongest, dB"]
    header += ["MI (calibrated), nats", "MI (paper's estimator), nats", "Non-zero entries of z"]
    for name, cell, item in _listed(numbers):
        accurate, tail = ["", ""], [""] * 4
        if item != CLOUD_SIDE:
            accurate, tail = entries.accurate(cell), [entries.value(cell, "strongest", "psnr_db", 2)]
            tail += [entries.estimated(cell, estimate) for estimate in ("calibrated", "paper")]
            tail += [entries.value(cell, "effective", "nonzero_per_image", 0)]
        scores = entries.scores(cell, item, STANDARD)
        lines.append([name, numbers.text(cell, item, "access"), *accurate, *scores, *tail])
    lines += entries.floors([("generator", *score) for score in STANDARD], after=4)
    return [*grid(header, lines, left=2), "", FAILED, "", *capped(lines), *entries.notes.lines()]


def _parts_beside(numbers: Numbers) -> list[str]:
    """The paper's columns in the paper's conventions, each entry ours and, in parentheses, the paper's."""
    entries, lines = Entries(numbers), []
    header = ["Row", "Access", "Accuracy, %", "Change, points", "Generator MSE", "PSNR, dB", "SSIM", "MI, nats"]
    for name, cell, item in _listed(numbers):
        own = item != CLOUD_SIDE
        accurate, scores = entries.accurate_beside(cell) if own else ["", ""], entries.scores_beside(cell, item)
        tail = entries.information_beside(cell) if own else _widened(cell)
        lines.append([name, numbers.text(cell, item, "access"), *accurate, *scores, *tail])
    return [*grid([*header, "Non-zero"], lines, left=2), "", *entries.notes.lines()]


def _widened(cell: str) -> list[str]:
    """What the paper prints of the feature that the cloud widened; no stage here measures it."""
    line = paper.find_cell(cell, paper.CLOUD_SIDE)
    return [
        f"not measured ({printed(line.get(key), places)})" for key, places in (("mi_nats", 4), ("nonzero_per_image", 0))
    ]


def table6(params: Params, paths: Paths) -> Table:
    """Table VI for the cells that ``rows.table6`` lists; unprotected ones serve for comparison alone."""
    numbers = open_numbers(params, paths, "table6")
    shown = [cell for cell in numbers.cells if cell.partition("/")[2] != UNPROTECTED]
    names = {cell: network(numbers, cell) for cell in shown}
    for cell in shown:
        if cell.partition("/")[2] != SIFTFUNNEL:
            names[cell] += f", {numbers.text(cell, 'target', 'title')}"
        names[cell] += stopped(numbers, cell)
    names = named(marked(numbers, names))
    page = {
        "Accuracy and attacks": blocks.attacked(numbers, names),
        "Information and size": blocks.information(numbers, names),
        "Edge parameters": _edges(numbers, names),
        blocks.BESIDE: blocks.beside_the_paper(numbers, names),
    }
    key = "edge_parameters_paper"
    rows = {cell: metrics(numbers, cell) | {key: numbers.number(cell, "target", key)} for cell in numbers.cells}
    lines = csv_lines(numbers, {cell: decoders(numbers, cell) for cell in shown})
    return Table(rows, lines, blocks.page(NETWORKS, params.scale, numbers, page))


def _edges(numbers: Numbers, names: dict[str, str]) -> list[str]:
    """One line per network: the edge's parameters by both counts beside the plain edge's, here and at full width."""
    entries, lines = Entries(numbers), []
    for cell, name in names.items():
        base = numbers.reference(cell)
        counts = [entries.value(cell, "target", key, 0) for key in ("edge_parameters", "edge_parameters_paper")]
        own, usual = (row and numbers.value(row, "target", "edge_parameters") for row in (cell, base))
        wide = [paper.edge(row) if row else {} for row in (cell, base)]
        full = [printed(wide[0].get(key), 0) for key in ("edge_parameters_paper", "edge_macs", "z_bytes")]
        ratios = (
            (usual, own),
            *((wide[1].get(key), wide[0].get(key)) for key in ("edge_parameters_paper", "edge_macs")),
        )
        shares = [NONE if None in pair else f"{number(pair[0] / pair[1], 2)} : 1" for pair in ratios]
        lines.append([name, *counts, printed(usual, 0), shares[0], *full, *shares[1:]])
    header = ["Network", "Edge parameters", "By the paper's count", "Unprotected edge", "Unprotected to this edge"]
    header += ["Parameters at the paper's width", "MACs there", "z there, bytes"]
    header += ["Unprotected to this edge there: parameters", "MACs"]
    why = (
        "The paper's count takes a layer once for each time that it is called, so CBAM's shared ones count twice. At "
        "the paper's width: our networks as wide as the paper's, on its image size, which needs no training."
    )
    return [*grid(header, lines), "", why, "", *entries.notes.lines()]
