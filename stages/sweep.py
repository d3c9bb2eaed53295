"""Stage ``sweep``: a cell at other values of its settings. Usage: python stages/sweep.py CELL --dataset D ..."""

import argparse
from dataclasses import fields

import own_sources  # noqa: F401

from splitprobe import runtime
from splitprobe.cells import Cell, Paths
from splitprobe.knobs import runs
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Train and attack the cell that dvc.yaml passes once per value and seed; write a JSON of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    for field in fields(Cell)[1:]:
        parser.add_argument(f"--{field.name}", type=field.type, required=True)
    cell = Cell(**vars(parser.parse_args(arguments)))
    params = Params.load()
    Paths(params.scale).promise("sweep", cell.name)
    wanted = runs(cell, params, Paths(params.scale))
    if not wanted:
        return
    from splitprobe.sweep import run_sweep  # here: a scale without sweeps need not wait for torch

    run_sweep(cell, wanted, runtime.start(params.section("runtime", runtime.Settings)))


if __name__ == "__main__":
    runtime.run_stage(main)
