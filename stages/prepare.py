"""Stage prepare: one data set, from its source to uint8 images, labels and roles."""

import own_sources  # noqa: F401

from splitprobe.cells import Paths
from splitprobe.datasets.prepare import prepare
from splitprobe.params import Params, ParamsError
from splitprobe.runtime import run_stage


def main(arguments: list[str]) -> None:
    """Prepare the one data set named on the command line."""
    if len(arguments) != 1:
        raise ParamsError(f"one data set is needed, not {arguments}: python stages/prepare.py <dataset>")
    params = Params.load()
    prepare(arguments[0], params, Paths(params.scale))


if __name__ == "__main__":
    run_stage(main)
