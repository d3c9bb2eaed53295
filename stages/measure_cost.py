"""Stage ``measure_cost``: latency of one cell's edge and cloud. Usage: python stages/measure_cost.py CELL."""

import own_sources  # noqa: F401

from splitprobe import runtime
from splitprobe.cells import Paths
from splitprobe.cost import measure_cost
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Time the cell's target; write the result."""
    (cell,) = arguments
    params = Params.load()
    paths = Paths(params.scale).first(cell)
    measure_cost(
        cell, params.seeded(paths.seed, cell), paths, runtime.start(params.section("runtime", runtime.Settings))
    )


if __name__ == "__main__":
    runtime.run_stage(main)
