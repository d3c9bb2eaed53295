"""Stage ``probe_target``: what one cell's feature says and gives away. Usage: python stages/probe_target.py CELL."""

from splitprobe import runtime
from splitprobe.attacks.base import run_attacks
from splitprobe.cells import Paths
from splitprobe.information.measure import measure_information
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Estimate information and run every family of attacks; write results, reconstructions and curves."""
    (cell,) = arguments
    params = Params.load()
    place = runtime.start(params.section("runtime", runtime.Settings))
    measure_information(cell, params, Paths(params.scale), place)
    run_attacks(cell, params, Paths(params.scale), place)


if __name__ == "__main__":
    runtime.run_stage(main)
