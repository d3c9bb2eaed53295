"""Stage ``train_generator``: fit a cell's decoders. Usage: python stages/train_generator.py CELL."""

from splitprobe import runtime
from splitprobe.attacks.base import run_attacks
from splitprobe.cells import Paths
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Attack the cell's target; write result, reconstructions and curve."""
    (cell,) = arguments
    params = Params.load()
    place = runtime.start(params.section("runtime", runtime.Settings))
    run_attacks("generator", cell, params, Paths(params.scale), place)


if __name__ == "__main__":
    runtime.run_stage(main)
