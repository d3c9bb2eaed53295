"""Stage ``run_mle``: attack one cell by optimization. Usage: python stages/run_mle.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.stage import each_seed


def work(cell, params, paths, place) -> None:
    """Write results, reconstructions and curves of one seed."""
    from splitprobe.attacks.optimized import run_mle

    run_mle(cell.name, params, paths, place)


def main(arguments: list[str]) -> None:
    """Run all variants of MLE for each seed of the cell."""
    each_seed("run_mle", arguments, ["mle"], work)


if __name__ == "__main__":
    runtime.run_stage(main)
