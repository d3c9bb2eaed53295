"""What the stages of a cell share: they do their work once per seed, with the settings of their recipe."""

from collections.abc import Callable, Sequence

from splitprobe.core import runtime
from splitprobe.core.cells import Cell, Paths
from splitprobe.core.params import Params
from splitprobe.core.recipe import Recipe

Work = Callable[[Cell, Params, Paths, runtime.Runtime], None]


def each_seed(script: str, arguments: Sequence[str], parts: Sequence[str], work: Work) -> None:
    """Make the folders ``parts`` (see :meth:`Recipe.promise`), then do a stage's work for each seed of its cell.

    ``arguments`` are those of the command line, the cell's name. ``work`` should import what it needs itself: a cell
    that is left out, with no seeds, then does not wait for torch.
    """
    recipe = Recipe.load(script, *arguments)
    recipe.promise(*parts)
    if recipe.seeds:
        place = runtime.start(recipe.params.section("runtime", runtime.Settings))
        for params, paths in recipe.repetitions():
            work(recipe.cell, params, paths, place)
