"""Stage ``train_target``: train one cell. Usage: python stages/train_target.py CELL --dataset D --model M ..."""

import argparse
from dataclasses import fields

import own_sources  # noqa: F401

from splitprobe import runtime
from splitprobe.cells import Cell, Paths, repetitions
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Read the cell that dvc.yaml passes, train it once per seed, write checkpoints, records and curves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    for field in fields(Cell)[1:]:
        parser.add_argument(f"--{field.name}", type=field.type, required=True)
    cell = Cell(**vars(parser.parse_args(arguments)))
    params = Params.load()
    Paths(params.scale).promise("train_target", cell.name)
    wanted = list(repetitions(cell.group, params, Paths(params.scale)))
    if not wanted:
        return
    from splitprobe.training import train_target  # here: a group that is left out need not wait for torch

    place = runtime.start(params.section("runtime", runtime.Settings))
    for repeated, paths in wanted:
        train_target(cell, repeated, paths, place)


if __name__ == "__main__":
    runtime.run_stage(main)
