"""Stage ``run_mle``: run a cell's MLE variants. Usage: python stages/run_mle.py CELL."""

from splitprobe import runtime
from splitprobe.attacks.base import run_attacks
from splitprobe.cells import Paths
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Attack the cell's target; write result, reconstructions and curve."""
    (cell,) = arguments
    params = Params.load()
    place = runtime.start(params.section("runtime", runtime.Settings))
    run_attacks("mle", cell, params, Paths(params.scale), place)


if __name__ == "__main__":
    runtime.run_stage(main)
