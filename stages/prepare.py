"""Stage ``prepare``: one data set, from its source to uint8 images, labels and roles. Usage: ... prepare.py DATASET."""

import own_sources  # noqa: F401

from splitprobe.core.recipe import Recipe
from splitprobe.core.runtime import run_stage
from splitprobe.datasets.prepare import prepare


def main(arguments: list[str]) -> None:
    """Prepare the data set named on the command line."""
    recipe = Recipe.load("prepare", *arguments)
    prepare(arguments[0], recipe.params, recipe.paths)


if __name__ == "__main__":
    run_stage(main)
