"""Stage ``train_judge``: the classifier that looks at reconstructions. Usage: python stages/train_judge.py DATASET."""

import own_sources  # noqa: F401

from splitprobe import runtime
from splitprobe.cells import Paths
from splitprobe.judge_training import train_judge
from splitprobe.params import Params


def main(arguments: list[str]) -> None:
    """Train the judge of the data set named on the command line; write its checkpoint and its accuracy."""
    (dataset,) = arguments
    params = Params.load()
    train_judge(dataset, params, Paths(params.scale), runtime.start(params.section("runtime", runtime.Settings)))


if __name__ == "__main__":
    runtime.run_stage(main)
