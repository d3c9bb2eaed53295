"""Stage ``calibrate_information``: every measure of information on known answers. It takes no arguments."""

import own_sources  # noqa: F401

from splitprobe import runtime
from splitprobe.cells import Paths
from splitprobe.information.calibrate import calibrate_information
from splitprobe.params import Params, ParamsError


def main(arguments: list[str]) -> None:
    """Try the measures on Gaussians with the scale's budget; write calibration.json."""
    if arguments:
        raise ParamsError(f"no argument is needed, not {arguments}: python stages/calibrate_information.py")
    params = Params.load()
    place = runtime.start(params.section("runtime", runtime.Settings))
    calibrate_information(params, Paths(params.scale), place)


if __name__ == "__main__":
    runtime.run_stage(main)
