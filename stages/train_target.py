"""Stage ``train_target``: train one cell. Usage: python stages/train_target.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe


def main(arguments: list[str]) -> None:
    """Train the cell once per seed; write checkpoints, records and curves."""
    recipe = Recipe.load("train_target", *arguments)
    recipe.promise("targets", "target")
    if not recipe.seeds:
        return
    from splitprobe.targets.training import train_target  # here: a group that is left out need not wait for torch

    place = runtime.start(recipe.params.section("runtime", runtime.Settings))
    for params, paths in recipe.repetitions():
        train_target(recipe.cell, params, paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
