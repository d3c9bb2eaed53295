"""Stage ``run_mle``: attack one cell by optimization. Usage: python stages/run_mle.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe


def main(arguments: list[str]) -> None:
    """Run all variants of MLE for each seed; write results, reconstructions and curves."""
    recipe = Recipe.load("run_mle", *arguments)
    recipe.promise("mle")
    if not recipe.seeds:
        return
    from splitprobe.attacks.optimized import run_mle  # here: a group that is left out need not wait for torch

    place = runtime.start(recipe.params.section("runtime", runtime.Settings))
    for params, paths in recipe.repetitions():
        run_mle(recipe.cell.name, params, paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
