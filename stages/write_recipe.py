"""Stages ``recipe_<script>``: what all cells of a script share. Usage: python stages/write_recipe.py SCRIPT."""

import own_sources  # noqa: F401

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.recipe import write_recipe
from splitprobe.runtime import run_stage


def main(arguments: list[str]) -> None:
    """Digest the code and the settings that the script's recipe declares in dvc.yaml."""
    (script,) = arguments
    params = Params.load()
    write_recipe(script, params, Paths(params.scale))


if __name__ == "__main__":
    run_stage(main)
