"""Stage ``measure_knowledge``: a decoder on fewer and other images. Usage: python stages/measure_knowledge.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe
from splitprobe.probes.knowledge import measure_knowledge


def main(arguments: list[str]) -> None:
    """Fit one decoder on each set of auxiliary images; write knowledge/<cell>.json."""
    recipe = Recipe.load("measure_knowledge", *arguments)
    params, paths = recipe.first()
    place = runtime.start(params.section("runtime", runtime.Settings))
    measure_knowledge(recipe.cell.name, params, paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
