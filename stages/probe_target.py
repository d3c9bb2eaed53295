"""Stage ``probe_target``: what one cell's feature says and gives away. Usage: python stages/probe_target.py CELL."""

import own_sources  # noqa: F401

from splitprobe import runtime
from splitprobe.cells import Paths
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Attack each of the cell's targets and estimate information; write results, reconstructions and curves."""
    (cell,) = arguments
    params = Params.load()
    Paths(params.scale).promise("probe_target", cell)
    trained = Paths(params.scale).trained(cell)
    if not trained:
        return
    from splitprobe.probe import probe_target  # here: a group that is left out need not wait for torch

    place = runtime.start(params.section("runtime", runtime.Settings))
    for paths in trained:
        probe_target(cell, params.seeded(paths.seed, cell), paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
