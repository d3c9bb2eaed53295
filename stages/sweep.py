"""Stage ``sweep``: a row of Table II at other values of its settings. Usage: python stages/sweep.py ROW."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.recipe import Recipe


def main(arguments: list[str]) -> None:
    """Train and attack the row once per value and seed; write a JSON of each."""
    recipe = Recipe.load("sweep", *arguments)
    recipe.promise("sweeps")
    if not recipe.seeds:
        return
    from splitprobe.probes.knobs import runs
    from splitprobe.probes.sweep import run_sweep  # here: a scale without sweeps need not wait for torch

    run_sweep(recipe.cell, runs(recipe), runtime.start(recipe.params.section("runtime", runtime.Settings)))


if __name__ == "__main__":
    runtime.run_stage(main)
