"""The tables and how they are written: a small JSON per row, a Markdown page and a CSV file with everything.

Also what several tables have in common: the JSON and the CSV lines of a cell.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from splitprobe.core.artifacts import atomic, write_csv, write_json
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import attacks, paper
from splitprobe.report.frame import NO_REASON
from splitprobe.report.numbers import LeftOut, Number, Numbers, left_out

# "<module>:<function>", looked up when it is needed, so that a table imports no other; it takes Params and Paths
TABLES = {
    "table1": "splitprobe.report.table1:build",
    "table2": "splitprobe.report.defense_tables:table2",
    "table3": "splitprobe.report.defense_tables:table3",
    "table4": "splitprobe.report.defense_tables:table4",
    "table5": "splitprobe.report.defense_tables:table5",
    "table6": "splitprobe.report.defense_tables:table6",
    "latency": "splitprobe.report.latency:build",
    "claims": "splitprobe.report.claims:build",
    "leaderboard": "splitprobe.report.leaderboard:build",
    "criterion": "splitprobe.report.criterion:build",
}

Flat = dict[str, Any]  # a Number, a plain number or a text under each name
PLACE = ("dataset", "model", "cut", "defense", "variant")
# a CSV line's prefix for each item, in the order of its columns; a decoder's own numbers come last
PREFIXES = {"network": "", "target": "", "training": "training_", "settings": "setting_", "facts": "fact_"}
PREFIXES |= {"effective": "z_", "entropy": "z_entropy_", "dependence": "z_dependence_"}
DIVERGED = "diverged_epoch"  # absent where training did not
SIZES = ("validation", "edge", "cloud", "z_bytes")  # begin what a line has of ``target``: accuracy is there in percent

# a row's JSON, by what comes first and last: dvc sorts its columns by name, but the file itself is read too
FIRST = {
    "accuracy_percent": ("network", "accuracy_percent"),
    "accuracy_change_points": ("network", "accuracy_change_points"),
    "strongest_psnr_db": ("strongest", "psnr_db"),
    "strongest_gain_db": ("strongest", "gain_db"),
}
LAST = {
    "z_coded_bits": ("entropy", "coded_bits_per_image"),
    "z_dcor_squared": ("dependence", "dcor_squared"),
    "nonzero_per_image": ("effective", "nonzero_per_image"),
    "dead_channels": ("effective", "dead_channels"),
    "edge_parameters": ("target", "edge_parameters"),
    "z_bytes": ("target", "z_bytes"),
    "epsilon": ("facts", "epsilon"),
}


@dataclass(frozen=True)
class Table:
    """``rows``: row name to the few numbers of its JSON; ``lines``: the CSV's lines; ``markdown``: the page."""

    rows: Mapping[str, Flat]
    lines: Sequence[Flat]
    markdown: str


def build_table(name: str, params: Params, paths: Paths) -> Path:
    """Build one of TABLES below metrics/<scale>/ from the rows that ``rows.<name>`` lists; returns the page to read.

    The folder ``<name>/`` gets one flat JSON per row, so that ``dvc metrics show`` of it is the table; ``<name>.md`` is
    the table to read, ``<name>.csv`` has every number. Raises ValueError for an unknown table, ParamsError for an
    unknown row, FileNotFoundError for numbers not yet collected.
    """
    if name not in TABLES:
        raise ValueError(f"no table {name!r}; known tables: {', '.join(TABLES)}")
    module, function = TABLES[name].split(":")
    try:
        table: Table = getattr(import_module(module), function)(params, paths)
    except LeftOut as nothing:
        table = Table({}, [], f"# {nothing}\n")
    absent = left_out(params, paths, name)
    # emptied first: a row that is no longer listed must not live on in its old file
    shutil.rmtree(paths.table(name), ignore_errors=True)
    # a table without rows has a file too: Git keeps no empty folder, and DVC would miss it in a fresh clone
    for row, record in (table.rows or {"none": {"rows": 0}}).items():
        write_json(paths.table(name) / f"{row}.json", small(record))
    lines = [plain(line) for line in table.lines]
    write_csv(paths.table(name, "csv"), lines, list(dict.fromkeys(key for line in lines for key in line)))
    with atomic(paths.table(name, "md")) as stream:
        stream.write(table.markdown)
        if absent:
            stream.write(f"\nLeft out at this scale: {', '.join(absent)}.\n")
    return paths.table(name, "md")


def plain(record: Mapping[str, Any]) -> Flat:
    """The record with numbers in place of quantities over seeds; ``<key>_sd`` and ``<key>_n`` behind those that differ.

    Whole numbers are counts and written as such.
    """
    out: Flat = {}
    for key, value in record.items():
        own = value if isinstance(value, Number) else Number(value)
        out[key] = int(own.value) if isinstance(own.value, float) and own.value.is_integer() else own.value
        if own.sd is not None:
            out |= {f"{key}_sd": own.sd, f"{key}_n": own.n}
    return out


def small(record: Mapping[str, Any]) -> Flat:
    """A row's JSON: absent values dropped (the CSV has their reasons), six digits, so that diffs stay readable."""
    known = {key: value for key, value in plain(record).items() if value is not None}
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in known.items()}


def flat(numbers: Numbers, cell: str, item: str, prefix: str) -> Flat:
    """An item's numbers and texts under ``<prefix><quantity>``; lists are left out."""
    out: Flat = {}
    for key in numbers.quantities(cell, item):
        value = numbers.number(cell, item, key)
        # a seed that diverged is not hidden behind those that did not
        if key == DIVERGED and value.highest is not None:
            value = Number(min(epoch for epoch in numbers.by_seed(cell, item, key).values() if epoch is not None))
        text = numbers.text(cell, item, key) if value.value is None else ""
        if not text.startswith("["):
            out[f"{prefix}{key}"] = text or value
    return out


def reasons(record: Mapping[str, Any]) -> str:
    """Why values of a record are absent, as ``<name>: <reason>``."""
    absent = {key: v.reason for key, v in record.items() if isinstance(v, Number) and v.value is None}
    return "; ".join(f"{key}: {reason}" for key, reason in absent.items() if reason != NO_REASON)


def identity(numbers: Numbers, cell: str, stage: str = "target") -> Flat:
    """The first columns of a CSV line: which row this is, and where a stage's result comes from."""
    source = f"provenance {stage}"
    return {
        **{"row": cell, "title": numbers.text(cell, "target", "title")},
        **{key: value for key, value in flat(numbers, cell, "cell", "").items() if key in PLACE},
        **{key: numbers.text(cell, source, key) for key in ("scale", "device")},
        "seeds": " ".join(f"{seed:.0f}" for seed in numbers.by_seed(cell, source, "seed").values()),
    }


def metrics(numbers: Numbers, cell: str) -> Flat:
    """A cell's JSON: what a reader of ``dvc metrics show`` needs first; then of several seeds each one's own."""
    decoders, variants = attacks.decoders(numbers, cell), attacks.variants(numbers, cell)
    # of the best decoder: all rows are attacked on the same images, while MLE has fewer
    best = attacks.best(numbers, cell, "generator") or ""
    places = {
        **FIRST,
        **{f"{_joined(item)}_{key}": (item, key) for item in decoders for key in ("psnr_db", "ssim")},
        **{f"{_joined(item)}_psnr_db": (item, "psnr_db") for item in variants},
        **{f"decoder_{key}": (best, key) for key in ("recognized", "recognized_adapted", "identified")},
        **{f"{_joined(item)}_nats": (item, "mi_nats") for item in numbers.items(cell, "mi")},
        **LAST,
    }
    record: Flat = {key: numbers.number(cell, *place, missing=NO_REASON) for key, place in places.items()}
    record["failed_attacks"] = attacks.failed(numbers, cell)
    # without a floor beside it, a low PSNR looks like protection
    record["floor_mean_image_psnr_db"] = numbers.number(cell, "floor generator mean_image", "psnr_db")
    seeds = numbers.seeds(cell) if len(numbers.seeds(cell)) > 1 else []
    # for comparisons seed by seed, with what `dvc exp run` has record too
    own = {key: numbers.by_seed(cell, *FIRST[key]) for key in ("accuracy_percent", "strongest_psnr_db")}
    return record | {f"seed_{seed}_{key}": values.get(seed) for seed in seeds for key, values in own.items()}


def _joined(item: str) -> str:
    return item.replace(" ", "_")


def csv_lines(numbers: Numbers, cells: Mapping[str, Sequence[str]]) -> list[Flat]:
    """A CSV line for each cell under each of its decoders, then one for each floor, under attacks on the same images.

    It has all that the stages recorded, then the paper's values. ``cells``: cell to its decoders.
    """
    lines = []
    for cell, decoder in ((cell, decoder) for cell, items in cells.items() for decoder in items):
        own_items = [*numbers.items(cell, "mi"), *attacks.variants(numbers, cell)]
        measured: Flat = {}
        for item, prefix in (PREFIXES | {i: f"{_joined(i)}_" for i in own_items} | {decoder: "generator_"}).items():
            own = flat(numbers, cell, item, prefix)
            measured |= own if item != "target" else {key: v for key, v in own.items() if key.startswith(SIZES)}
        access = numbers.text(cell, decoder, "access")
        theirs = paper.find_cell(cell, access).items()
        lines.append({
            **identity(numbers, cell),
            **{f"{stage}_images": numbers.number(cell, stage, "images") for stage in attacks.STAGES},
            **{f"strongest_{key}": numbers.number(cell, "strongest", key) for key in ("psnr_db", "gain_db")},
            **{"access": access, "decoder": decoder.split()[1]},
            **measured,
            **{f"paper_{key}": value for key, value in theirs if key not in ("row", "access")},
            "absent": reasons(measured),
        })  # fmt: skip
    for label, cell, name in attacks.floors(numbers):
        line = {"row": f"floor: {label}", **flat(numbers, cell, f"floor generator {name}", "generator_")}
        for item in attacks.variants(numbers):
            line |= flat(numbers, cell, f"floor mle {name}", f"{_joined(item)}_")
        lines.append(line)
    return lines
