"""The paper's printed numbers, as CSV files beside this module, in the paper's own conventions.

``table1.csv`` is Table I, ``table2.csv`` Table II (CIFAR-10, CNN), ``latency.csv`` the sentence that ends Section 6.3.
MSE is summed over the color channels, PSNR a mean over batches, SSIM taken with the batch as a third spatial axis. An
empty cell is a number that the available text of the paper no longer shows. Columns ending in ``_inferred`` are not
printed there: they follow from its percentages or from the size of its sources.
"""

from pathlib import Path

from splitprobe.artifacts import read_csv

FOLDER = Path(__file__).parent / "paper"
TEXT = ("row", "access", "title", "auxiliary")

Record = dict[str, str | float | None]


def load(name: str) -> list[Record]:
    """The lines of one of the files, numbers as numbers and empty cells as None."""
    return [{k: v if k in TEXT else _number(v) for k, v in line.items()} for line in read_csv(FOLDER / f"{name}.csv")]


def find(name: str, row: str, access: str | None = None) -> Record:
    """The paper's line of a row (and access); an empty record when the paper has none."""
    for line in load(name):
        if line["row"] == row and access in (None, line.get("access")):
            return line
    return {}


def _number(text: str) -> float | None:
    if not text:
        return None
    return int(text) if text.isdigit() else float(text)
