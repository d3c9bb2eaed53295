"""Stage ``build_figure``: one figure from the results of its rows. Usage: python stages/build_figure.py FIGURE."""

import logging

import own_sources  # noqa: F401

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.figures import build_figure
from splitprobe.runtime import run_stage

log = logging.getLogger("splitprobe")


def main(arguments: list[str]) -> None:
    """Draw the figure named on the command line; write it as PNG and PDF."""
    name = " ".join(arguments)
    params = Params.load()
    paths = Paths(params.scale)
    build_figure(name, params, paths)
    log.info("%s: %s and %s", name, paths.figure(name, "png"), paths.figure(name, "pdf"))


if __name__ == "__main__":
    run_stage(main)
