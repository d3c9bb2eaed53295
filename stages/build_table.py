"""Stages ``build_table`` and ``build_report``. Usage: python stages/build_table.py TABLE, or report for all."""

import logging

import own_sources  # noqa: F401

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.tables import build_table
from splitprobe.runtime import run_stage

log = logging.getLogger("splitprobe")


def main(arguments: list[str]) -> None:
    """Build the table named on the command line (page, CSV and one JSON per row) or the report of all of them."""
    name = " ".join(arguments)
    params = Params.load()
    paths = Paths(params.scale)
    log.info("%s: %s", name, build_table(name, params, paths))


if __name__ == "__main__":
    run_stage(main)
