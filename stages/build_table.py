"""Stage ``build_table``: one table from the results of its rows. Usage: python stages/build_table.py TABLE."""

import logging

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.tables import build_table
from splitprobe.runtime import run_stage

log = logging.getLogger("splitprobe")


def main(arguments: list[str]) -> None:
    """Build the table named on the command line; write its page, its CSV and one JSON per row."""
    name = " ".join(arguments)
    params = Params.load()
    paths = Paths(params.scale)
    build_table(name, params, paths)
    log.info("%s: %s, .csv beside it, rows in %s/", name, paths.table(name, "md"), paths.table(name))


if __name__ == "__main__":
    run_stage(main)
