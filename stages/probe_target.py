"""Stage ``probe_target``: what one cell's feature says and gives away. Usage: python stages/probe_target.py CELL."""

from splitprobe import runtime
from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.probe import probe_target


def main(arguments: list[str]) -> None:
    """Attack each of the cell's targets and estimate information; write results, reconstructions and curves."""
    (cell,) = arguments
    params = Params.load()
    place = runtime.start(params.section("runtime", runtime.Settings))
    Paths(params.scale).promise("probe_target", cell)
    for paths in Paths(params.scale).trained(cell):
        probe_target(cell, params.seeded(paths.seed, cell), paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
