"""Stage ``train_prior``: a denoiser of the auxiliary images. Usage: python stages/train_prior.py DATASET."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe
from splitprobe.targets.prior import train_prior


def main(arguments: list[str]) -> None:
    """Train the denoiser of the data set named on the command line; write its checkpoint and its errors."""
    recipe = Recipe.load("train_prior", *arguments)
    place = runtime.start(recipe.params.section("runtime", runtime.Settings))
    train_prior(arguments[0], recipe.params, recipe.paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
