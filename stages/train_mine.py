"""Stage ``train_mine``: estimate the information in one cell's feature. Usage: python stages/train_mine.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe


def main(arguments: list[str]) -> None:
    """Fit the estimators and take all measures for each seed; write results, histograms and curves."""
    recipe = Recipe.load("train_mine", *arguments)
    recipe.promise("information")
    if not recipe.seeds:
        return
    from splitprobe.probes.estimate import train_mine  # here: a group that is left out need not wait for torch

    place = runtime.start(recipe.params.section("runtime", runtime.Settings))
    for params, paths in recipe.repetitions():
        train_mine(recipe.cell.name, params, paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
