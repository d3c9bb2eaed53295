"""The tables and how they are written: a small JSON per row, a Markdown page and a CSV file with everything."""

import shutil
from collections.abc import Callable

from splitprobe.artifacts import atomic, write_csv, write_json
from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import latency, table1, table2
from splitprobe.report.table import Table, columns, small

TABLES: dict[str, Callable[[Params, Paths], Table]] = {
    "table1": table1.build,
    "table2": table2.build,
    "latency": latency.build,
}


def build_table(name: str, params: Params, paths: Paths) -> None:
    """Build one of TABLES from the rows that ``rows.<name>`` lists and write it below metrics/<scale>/.

    The folder ``<name>/`` gets one flat JSON per row, so that ``dvc metrics show`` of it is the table; ``<name>.md`` is
    the table to read, ``<name>.csv`` has every number. Raises ValueError for an unknown table, ParamsError for a row
    that is unknown or whose stages have not run.
    """
    if name not in TABLES:
        raise ValueError(f"no table {name!r}; known tables: {', '.join(TABLES)}")
    table = TABLES[name](params, paths)
    # emptied first: a row that is no longer listed must not live on in its old file
    shutil.rmtree(paths.table(name), ignore_errors=True)
    for row, record in table.rows.items():
        write_json(paths.table(name) / f"{row}.json", small(record))
    write_csv(paths.table(name, "csv"), table.lines, columns(table.lines))
    with atomic(paths.table(name, "md")) as stream:
        stream.write(table.markdown)
