"""The tables and how they are written: a small JSON per row, a Markdown page and a CSV file with everything."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from splitprobe.artifacts import atomic, write_csv, write_json
from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import claims, criterion, defense_table, latency, leaderboard, table1, table5, table6
from splitprobe.report.page import REPORT, write_report
from splitprobe.report.results import LeftOut, left_out
from splitprobe.report.table import Table, columns, small

TABLES: dict[str, Callable[[Params, Paths], Table]] = {
    "table1": table1.build,
    **{name: partial(defense_table.build, name) for name in defense_table.TABLES},
    "table5": table5.build,
    "table6": table6.build,
    "latency": latency.build,
    "claims": claims.build,
    "leaderboard": leaderboard.build,
    "criterion": criterion.build,
}


def build_table(name: str, params: Params, paths: Paths) -> Path:
    """Build one of TABLES, or the report, below metrics/<scale>/; returns the page to read.

    A table shows the rows that ``rows.<name>`` lists. The folder ``<name>/`` gets one flat JSON per row, so that ``dvc
    metrics show`` of it is the table; ``<name>.md`` is the table to read, ``<name>.csv`` has every number. The report,
    ``report.html``, shows the tables and figures that ``rows.report`` lists. Raises ValueError for an unknown table,
    ParamsError for a row that is unknown or whose stages have not run.
    """
    if name == REPORT:
        from splitprobe.report.figures import FIGURES  # here, because tables do without matplotlib

        return write_report(params, paths, list(TABLES), list(FIGURES))
    if name not in TABLES:
        raise ValueError(f"no table {name!r}; known tables: {', '.join([*TABLES, REPORT])}")
    try:
        table = TABLES[name](params, paths)
    except LeftOut as nothing:
        table = Table({}, [], f"# {nothing}\n")
    page, absent = table.markdown, left_out(params, paths, name)
    if absent:
        page += f"\nLeft out at this scale, which has no seed for them: {', '.join(absent)}.\n"
    # emptied first: a row that is no longer listed must not live on in its old file
    shutil.rmtree(paths.table(name), ignore_errors=True)
    for row, record in table.rows.items():
        write_json(paths.table(name) / f"{row}.json", small(record))
    write_csv(paths.table(name, "csv"), table.lines, columns(table.lines))
    with atomic(paths.table(name, "md")) as stream:
        stream.write(page)
    return paths.table(name, "md")
