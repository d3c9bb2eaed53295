"""The paper's printed numbers, as CSV files beside this module, in the paper's own conventions.

``table1.csv`` is Table I, ``table2.csv`` Table II (CIFAR-10, CNN), ``table3.csv`` Table III (CIFAR-10, ResNet-18),
``table4.csv`` Table IV (faces, CNN), ``table5.csv`` Table V (ablations on ResNet-18), ``table6.csv`` Table VI
(SiftFunnel on three networks), ``latency.csv`` the sentence that ends Section 6.3. ``edges.csv`` is not printed there:
``targets.edges`` counts it on our networks at the paper's width, which needs no training. MSE is summed over the color
channels, PSNR a mean over batches, SSIM taken with the batch as a third spatial axis. An empty cell is a number that
the available text of the paper no longer shows. Columns ending in ``_inferred`` are not printed there: they follow from
its percentages or from the size of its sources.

Quoted as they stand, though they cannot all be right: an MSE that is not 3 x 10^(-PSNR / 10) (II: MID and DPSGD's
generator; III: MLE of unprotected and DPSGD; IV: unprotected's generator); in III, BiDO and VIB with the same generator
MSE and PSNR; in IV, MID's change of accuracy, which was taken against Table III's unprotected row (-8.86 against its
own). SiftFunnel's decoders in III (0.1957 and 0.2790) err more than a constant color does (0.187): they failed.
Inferred are the names of some rows whose labels are lost: NLS in IV; V's ``no_kl``, ``no_pearson`` and ``no_l1``.
"""

from functools import cache
from pathlib import Path

from splitprobe.core.artifacts import read_csv

FOLDER = Path(__file__).parent / "paper"
TEXT = ("row", "access", "title", "auxiliary")
# which of the paper's tables the cells of a group belong to
GROUPS = {"cnn": "table2", "resnet18": "table3", "faces": "table4", "ablation": "table5", "vgg16": "table6"}
CLOUD_SIDE = "cloud-side"  # the access of a decoder of what the cloud's first layer makes of z
NETWORKS = "table6"  # one method on several networks: its rows are named by whole cells

Record = dict[str, str | float | None]


@cache
def load(name: str) -> list[Record]:
    """The lines of one of the files, numbers as numbers and empty cells as None; read once, so not to be changed."""

    def number(text: str) -> float | None:
        return (int if text.isdigit() else float)(text) if text else None

    return [{k: v if k in TEXT else number(v) for k, v in line.items()} for line in read_csv(FOLDER / f"{name}.csv")]


def find(name: str, row: str, access: str | None = None) -> Record:
    """The paper's line of a row (and access) in a table; an empty record when the paper has none."""
    return next((line for line in load(name) if line["row"] == row and access in (None, line.get("access"))), {})


def find_cell(cell: str, access: str | None = None) -> Record:
    """The paper's line of a cell (and access), in the table that the cell's group belongs to; empty when there is none.

    The cell's name decides and not its defense: a variant of a method is not what the paper ran.
    """
    if (cell, access) == ("resnet18/siftfunnel", CLOUD_SIDE):  # which Table V names as a row of its own
        return find("table5", "cloud_side")
    group, _, row = cell.partition("/")
    table = GROUPS.get(group)
    return find(table, cell if table == NETWORKS else row, access) if table else {}


def edge(cell: str) -> Record:
    """What a cell's edge costs at the paper's width; an empty record for one that is not listed."""
    return find("edges", cell)


def classes(cell: str) -> float | None:
    """How many classes the paper's data of a cell have."""
    return find("table1", "faces" if cell.startswith("faces") else "objects")["classes"]


def cells() -> list[str]:
    """All cells of which the paper prints a line."""
    lines = ((group, table, line) for group, table in GROUPS.items() for line in load(table))
    own = [(group, table, line["row"]) for group, table, line in lines if line["access"] != CLOUD_SIDE]
    return list(dict.fromkeys(row if table == NETWORKS else f"{group}/{row}" for group, table, row in own))
