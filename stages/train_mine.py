"""Stage ``train_mine``: estimate the information in one cell's feature. Usage: python stages/train_mine.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.stage import each_seed


def work(cell, params, paths, place) -> None:
    """Write results, histograms and curves of one seed."""
    from splitprobe.probes.estimate import train_mine

    train_mine(cell.name, params, paths, place)


def main(arguments: list[str]) -> None:
    """Fit the estimators and take all measures for each seed of the cell."""
    each_seed("train_mine", arguments, ["information"], work)


if __name__ == "__main__":
    runtime.run_stage(main)
