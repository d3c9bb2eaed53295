"""Table VI: SiftFunnel on several networks, each against the unprotected network of its own kind."""

from collections.abc import Sequence

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import defense_page as page
from splitprobe.report.markdown import NONE, Notes, bullets, document, grid, number
from splitprobe.report.records import csv_lines, floor_lines, row
from splitprobe.report.remarks import caption, remarks, warning
from splitprobe.report.results import Results, collect, reference
from splitprobe.report.scores import SIFTFUNNEL, network
from splitprobe.report.table import Table

STAGES = ("target", "information", "generator", "mle")
BASIS = "CIFAR-10 at 64 × 64 with 40,000 training images and networks 128 (CNN) or 64 channels wide"
QUIRKS = (
    "The ResNet-18's printed decoder errors (0.1957 black-box, 0.2790 gray-box) are above a constant color's (0.187): "
    "decoders that failed, not privacy."
)


def build(params: Params, paths: Paths) -> Table:
    """Table VI for the cells that ``rows.table6`` lists; unprotected ones serve for comparison alone."""
    results = collect(params, paths, "table6", STAGES)
    names = {r.cell: named(r) for r in results if r.row != "unprotected"}
    shown = page.shown(results, names)
    text = document(
        "Table VI: SiftFunnel on several networks",
        caption(params.scale, results),
        ["## Accuracy and attacks", "", *page.attacks(results, names)],
        ["## Information and size", "", *page.information(results, names)],
        ["## Edge parameters", "", *_sizes(results, shown)],
        ["## Beside the paper", "", *warning(results, BASIS, QUIRKS, mle=True), *page.beside_the_paper(results, names)],
        ["## Notes", "", *bullets(remarks(results))],
    )
    rows = {r.cell: row(results, r) | {"edge_parameters_paper": r["target"]["edge_parameters_paper"]} for r in results}
    return Table(rows, [*(line for r in shown for line in csv_lines(results, r)), *floor_lines(results)], text)


def named(r: Results) -> str:
    """The network's name for readers, with the row's own title where it is not SiftFunnel itself."""
    return network(r) if r.row == SIFTFUNNEL else f"{network(r)}, {r.title}"


def _sizes(results: Sequence[Results], shown: Sequence[Results]) -> list[str]:
    """One line per network: the edge's parameters by both counts, beside the plain edge's."""
    notes, lines = Notes(), []
    for r in shown:
        target, base = r["target"], reference(results, r)
        counts = [notes.value(target, key, 0) for key in ("edge_parameters", "edge_parameters_paper")]
        plain, ratio = NONE, NONE
        if base is not None:
            plain = number(base["target"]["edge_parameters"], 0)
            ratio = number(base["target"]["edge_parameters"] / target["edge_parameters"], 2)
        lines.append([named(r), *counts, plain, ratio])
    header = ["Network", "Edge parameters", "By the paper's count", "Unprotected edge", "Times smaller"]
    why = "The paper's count takes a layer once for each time that it is called, so CBAM's shared ones count twice."
    return [*grid(header, lines), "", why, "", *notes.lines()]
