"""Stage ``measure_releases``: attacks on many releases of an image. Usage: python stages/measure_releases.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe
from splitprobe.probes.releases import measure_releases


def main(arguments: list[str]) -> None:
    """Score decoder and MLE on each number of releases; write releases/<cell>.json."""
    recipe = Recipe.load("measure_releases", *arguments)
    params, paths = recipe.first()
    place = runtime.start(params.section("runtime", runtime.Settings))
    measure_releases(recipe.cell.name, params, paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
