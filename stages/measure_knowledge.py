"""Stage ``measure_knowledge``: a decoder on fewer and other images. Usage: python stages/measure_knowledge.py CELL."""

import own_sources  # noqa: F401

from splitprobe import runtime
from splitprobe.cells import Paths
from splitprobe.knowledge import measure_knowledge
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Fit one decoder on each set of auxiliary images; write knowledge/<cell>.json."""
    (cell,) = arguments
    params = Params.load()
    paths = Paths(params.scale).first(cell)
    place = runtime.start(params.section("runtime", runtime.Settings))
    measure_knowledge(cell, params.seeded(paths.seed, cell), paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
