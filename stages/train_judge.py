"""Stage ``train_judge``: the classifier that looks at reconstructions. Usage: python stages/train_judge.py DATASET."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe
from splitprobe.targets.judge_training import train_judge


def main(arguments: list[str]) -> None:
    """Train the judge of the data set named on the command line; write its checkpoint and its accuracy."""
    recipe = Recipe.load("train_judge", *arguments)
    place = runtime.start(recipe.params.section("runtime", runtime.Settings))
    train_judge(arguments[0], recipe.params, recipe.paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
