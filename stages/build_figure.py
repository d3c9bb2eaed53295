"""Stage ``build_figure``: one figure from the table of all numbers. Usage: python stages/build_figure.py NAME."""

import own_sources  # noqa: F401

from splitprobe.core.recipe import Recipe
from splitprobe.core.runtime import run_stage
from splitprobe.report.figures import build_figure


def main(arguments: list[str]) -> None:
    """Draw the figure named on the command line; write it as PNG and PDF."""
    recipe = Recipe.load("build_figure", *arguments)
    build_figure(arguments[0], recipe.params, recipe.paths)


if __name__ == "__main__":
    run_stage(main)
