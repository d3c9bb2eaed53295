"""Stage ``build_table``: one table from the table of all numbers. Usage: python stages/build_table.py NAME."""

import own_sources  # noqa: F401

from splitprobe.core.recipe import Recipe
from splitprobe.core.runtime import run_stage
from splitprobe.report.tables import build_table


def main(arguments: list[str]) -> None:
    """Build the table named on the command line: page, CSV and one JSON per row."""
    recipe = Recipe.load("build_table", *arguments)
    build_table(arguments[0], recipe.params, recipe.paths)


if __name__ == "__main__":
    run_stage(main)
