"""Stage ``train_generator``: fit all decoders of one cell. Usage: python stages/train_generator.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.stage import each_seed


def work(cell, params, paths, place) -> None:
    """Write results, reconstructions, curves and the strong decoders of one seed."""
    from splitprobe.attacks.generator import train_generator

    train_generator(cell.name, params, paths, place)


def main(arguments: list[str]) -> None:
    """Fit and score the decoders for each seed of the cell."""
    each_seed("train_generator", arguments, ["decoders", "generator"], work)


if __name__ == "__main__":
    runtime.run_stage(main)
