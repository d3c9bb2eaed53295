"""Stage ``measure_depth``: one network at each cut. Usage: python stages/measure_depth.py GROUP --cuts N ..."""

import argparse

import own_sources  # noqa: F401

from splitprobe import runtime
from splitprobe.cells import Paths, repetitions
from splitprobe.depth import measure_depth
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Cut the trained network behind every block; estimate and attack each feature as for any other cell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("group")
    parser.add_argument("--cuts", type=int, required=True)
    for name in ("dataset", "model", "start"):
        parser.add_argument(f"--{name}", required=True)
    params, options = Params.load(), parser.parse_args(arguments)
    place = runtime.start(params.section("runtime", runtime.Settings))
    Paths(params.scale).promise("measure_depth", options.group)
    for repeated, paths in repetitions(options.group, params, Paths(params.scale)):
        measure_depth(options, repeated, paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
