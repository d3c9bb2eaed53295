"""Stage ``calibrate_information``: every measure of information on known answers. It takes no arguments."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe
from splitprobe.information.calibrate import calibrate_information


def main(arguments: list[str]) -> None:
    """Try the measures on Gaussians with the scale's budget; write calibration/all.json."""
    recipe = Recipe.load("calibrate_information", *arguments)
    place = runtime.start(recipe.params.section("runtime", runtime.Settings))
    calibrate_information(recipe.params, recipe.paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
