"""Stage ``build_report``: all tables and figures on one page. It takes no arguments."""

import own_sources  # noqa: F401

from splitprobe.core.recipe import Recipe
from splitprobe.core.runtime import run_stage
from splitprobe.report.figures import FIGURES
from splitprobe.report.page import write_report
from splitprobe.report.tables import TABLES


def main(arguments: list[str]) -> None:
    """Write metrics/<scale>/report.html from the tables and figures that are there."""
    recipe = Recipe.load("build_report", *arguments)
    write_report(recipe.params, recipe.paths, list(TABLES), list(FIGURES))


if __name__ == "__main__":
    run_stage(main)
