"""Stage ``train_generator``: fit all decoders of one cell. Usage: python stages/train_generator.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe


def main(arguments: list[str]) -> None:
    """Fit and score the decoders for each seed; write results, reconstructions, curves and the strong decoders."""
    recipe = Recipe.load("train_generator", *arguments)
    recipe.promise("decoders", "generator")
    if not recipe.seeds:
        return
    from splitprobe.attacks.generator import train_generator  # here: a group that is left out need not wait for torch

    place = runtime.start(recipe.params.section("runtime", runtime.Settings))
    for params, paths in recipe.repetitions():
        train_generator(recipe.cell.name, params, paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
