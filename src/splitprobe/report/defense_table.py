"""Tables II, III and IV: each defense's accuracy, what two attacks get out of z, how much z says; beside the paper's.

They differ in network and data alone. Differs from the paper's tables in the conventions: our block has MSE per
element, PSNR and SSIM per image, a calibrated estimate of mutual information next to the paper's, and the scores of
answering with a constant; the block beside the paper has the paper's conventions, for that comparison alone.
"""

from dataclasses import dataclass

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import defense_page as page
from splitprobe.report.differences import differences
from splitprobe.report.markdown import bullets, document
from splitprobe.report.records import csv_lines, floor_lines, row
from splitprobe.report.remarks import caption, remarks, warning
from splitprobe.report.results import collect, labels
from splitprobe.report.table import Table

STAGES = ("target", "information", "generator", "mle")


@dataclass(frozen=True)
class Printed:
    """A table of the paper: our title, what its numbers were measured on, and what is odd about them."""

    title: str
    basis: str
    quirks: str


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


def build(name: str, params: Params, paths: Paths) -> Table:
    """One of TABLES for the cells that ``rows.<name>`` lists."""
    results, theirs = collect(params, paths, name, STAGES), TABLES[name]
    names = labels(results)
    text = document(
        theirs.title,
        caption(params.scale, results),
        ["## Accuracy and attacks", "", *page.attacks(results, names)],
        ["## What the images still show", "", *page.semantics(results, names)],
        ["## Information and size", "", *page.information(results, names)],
        [
            "## Beside the paper",
            "",
            *warning(results, theirs.basis, theirs.quirks, mle=True),
            *page.beside_the_paper(results, names),
        ],
        ["## Where the rows differ from the paper", "", *differences(results)],
        ["## Notes", "", *bullets(remarks(results))],
    )
    lines = [line for r in results for line in csv_lines(results, r)]
    return Table({r.cell: row(results, r) for r in results}, [*lines, *floor_lines(results)], text)
