"""Stage ``train_mine``: estimate a cell's mutual and effective information. Usage: python stages/train_mine.py CELL."""

from splitprobe import runtime
from splitprobe.cells import Paths
from splitprobe.information.measure import measure_information
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Measure the cell's target; write information.json and the estimator curve."""
    (cell,) = arguments
    params = Params.load()
    place = runtime.start(params.section("runtime", runtime.Settings))
    measure_information(cell, params, Paths(params.scale), place)


if __name__ == "__main__":
    runtime.run_stage(main)
