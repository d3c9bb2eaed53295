"""Stage ``train_target``: train one cell. Usage: python stages/train_target.py CELL."""

import own_sources  # noqa: F401

from splitprobe.core import runtime
from splitprobe.core.stage import each_seed


def work(cell, params, paths, place) -> None:
    """Write checkpoint, record and curve of one seed."""
    from splitprobe.targets.training import train_target

    train_target(cell, params, paths, place)


def main(arguments: list[str]) -> None:
    """Train the cell for each of its seeds."""
    each_seed("train_target", arguments, ["targets", "target"], work)


if __name__ == "__main__":
    runtime.run_stage(main)
