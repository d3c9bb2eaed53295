"""Stage ``collect_numbers``: one part of the results as lines of one table. Usage: ... collect_numbers.py PART."""

import own_sources  # noqa: F401

from splitprobe.core.recipe import Recipe
from splitprobe.core.runtime import run_stage
from splitprobe.report import frame, pictures


def main(arguments: list[str]) -> None:
    """Write metrics/<scale>/numbers/<part>.csv, and the pictures that figures show of the part's cells."""
    recipe, (part,) = Recipe.load("collect_numbers", *arguments), arguments
    frame.write(frame.collect(recipe.paths, part), recipe.paths.numbers(part))
    pictures.collect_pictures(recipe.params, recipe.paths, part)


if __name__ == "__main__":
    run_stage(main)
