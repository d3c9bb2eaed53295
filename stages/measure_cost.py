"""Stage ``measure_cost``: latency of one cell. Usage: python stages/measure_cost.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe
from splitprobe.probes.cost import measure_cost


def main(arguments: list[str]) -> None:
    """Time edge and cloud of the first repetition; write costs/<cell>.json."""
    recipe = Recipe.load("measure_cost", *arguments)
    params, paths = recipe.first()
    place = runtime.start(params.section("runtime", runtime.Settings))
    measure_cost(recipe.cell.name, params, paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
