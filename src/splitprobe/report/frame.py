"""All results as one tidy table, a line for each number: who, cell, seed, item, quantity, value, text, reason.

``metrics/<scale>/numbers/<part>.csv`` hold it, a file for each group of cells and one each for the data sets, the
latencies, the sweeps, the attacker's knowledge, the releases of an image and the calibration. They are written once
from what the stages noted and are part of the repository, so that every table and figure can be built from a clone.
Columns:

- ``who``: ``ours`` or ``paper`` (the printed numbers, which are added when the table is read);
- ``cell``: such as ``cnn/siftfunnel``, or ``cnn/siftfunnel@loss.lambda_dcor=2`` for a point of its sweep;
- ``seed``: of defender and attacker; -1 for the paper and for what no seed belongs to, such as latencies;
- ``item``: what was measured, such as ``generator black_box`` (an attack), ``floor mle gray``, ``mi calibrated``;
- ``quantity``: the number's name with its unit, such as ``psnr_db``;
- ``value``: the number; flags are 1 and 0; empty where there is none, then ``reason`` says why;
- ``text``: in place of a number what is none: titles, devices, and lists as JSON.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from splitprobe.core.artifacts import Record, atomic, damaged, read_json, reading
from splitprobe.core.cells import Paths
from splitprobe.report import paper

COLUMNS = ("who", "cell", "seed", "item", "quantity", "value", "text", "reason")
STAGES = ("target", "information", "generator", "mle")  # the results of a cell, a JSON each
NO_REASON = "no reason was recorded"
NO_SEED = -1  # of numbers that belong to no repetition
DIGITS = 12  # of a value in the files: differences of nearby numbers keep the six digits of JSON
KEY = ["cell", "seed", "item", "quantity"]  # what no two lines of ours have in common
# quantities that are numbers, by their last word; what a file has instead of one is damage
MEASURED = re.compile(
    r"(.*_)?(accuracy|bits|bytes|db|epochs|failed|identified|images|macs|ms|mse|nats|parameters|perceptual|recognized"
    r"|seed|ssim)(_paper|_std|_per_image|_adapted)?"
)
LISTED = ("blocks", "z_shape", "classes", "versions")  # quantities whose text is JSON

Line = tuple[str, str, float | None, str, str]  # item, quantity, value, text, reason


def lines(record: Mapping[str, Any], *path: str) -> Iterator[Line]:
    """A line for each value of a nested record; ``path`` says where it stands: the stage first."""
    item = item_name(path)
    for key, value in record.items():
        reason = record.get(f"{key}_reason", "")
        if isinstance(value, Mapping) and key != "versions":
            yield from lines(value, *path, key)
        elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value) and key != "blocks":
            for i, part in enumerate(value):
                yield from lines(part, *path, f"{key} {i}")
        elif value is None:
            yield item, key, None, "", reason or NO_REASON
        elif isinstance(value, bool | int | float):
            yield item, key, float(value), "", reason
        elif isinstance(value, str):
            if not (key.endswith("_reason") and key.removesuffix("_reason") in record):
                yield item, key, None, value, ""
        else:
            yield item, key, None, json.dumps(value, ensure_ascii=False), ""


def item_name(path: Sequence[str]) -> str:
    """The item that a part of a stage's record is: ``generator black_box``, ``floor mle gray``, ``mi paper``."""
    stage, *rest = path
    match rest:
        case []:
            return stage
        case ["decoders" | "variants", name]:
            return f"{stage} {name}"
        case ["floors", name]:
            return f"floor {stage} {name}"
        case ["mine", name]:
            return f"mi {name}"
        case ["provenance" | "judge" as part]:
            return f"{part} {stage}"
    return " ".join(rest if stage in ("target", "information") else path)


def collect(paths: Paths, part: str) -> pd.DataFrame:
    """The table of one part of the study from what its stages noted below ``data/<scale>``.

    ``part`` is a group of cells, or ``prepared``, ``costs``, ``sweeps``, ``knowledge``, ``releases`` or
    ``calibration``.
    """
    listed = []
    for cell, seed, stage, record in _noted(paths, part):
        for item, quantity, value, text, reason in lines(record, stage):
            if text and MEASURED.fullmatch(quantity):
                raise damaged(record.path, f"{item}: {quantity} = {text!r} is no number")
            listed.append((cell, seed, item, quantity, value, text, reason))
    table = pd.DataFrame(listed, columns=[*COLUMNS[1:]]).astype({"value": float})
    return table.assign(who="ours")[[*COLUMNS]]


def _noted(paths: Paths, part: str) -> Iterator[tuple[str, int, str, Record]]:
    """(cell, seed, stage, record) of everything that the stages of a part noted."""
    root = paths.data / part
    if part == "prepared":
        for file in sorted(root.glob("*/summary.json")):
            yield file.parent.name, NO_SEED, part, read_json(file)
    elif part == "calibration":
        yield part, NO_SEED, part, read_json(paths.calibration)
    elif part in ("costs", "knowledge", "releases"):
        for file in sorted(root.rglob("*.json")):
            cell = file.relative_to(root).with_suffix("").as_posix()
            yield cell, NO_SEED, part.removesuffix("s"), read_json(file)
    elif part == "sweeps":
        for file in chain.from_iterable(paths.tried()):
            record = read_json(file)
            with reading(file):
                knob = record["knob"]
                cell = f"{record['target']['cell']['name']}@{knob['key']}={knob['value']:.12g}"
                seed = int(file.stem)
                if not all(isinstance(noted, Record) for noted in record.values()):
                    raise ValueError("it holds more than objects with names")
            yield from ((cell, seed, *noted) for noted in record.items())
    else:
        for folder in sorted(path for path in (paths.data / "results" / part).glob("*") if path.is_dir()):
            cell = f"{part}/{folder.name}"
            repetitions = list(paths.probed(cell))
            if not repetitions:
                yield cell, NO_SEED, "cell", {"left_out": True}
            for own, stage in product(repetitions, STAGES):
                yield cell, own.seed, stage, read_json(own.result(cell, f"{stage}.json"))


def write(table: pd.DataFrame, file: Path) -> None:
    """Write a part's table without its column ``who``, which is ``ours`` there: counts in full, else DIGITS."""

    def digits(value: float) -> str:
        return "" if value != value else f"{value:.0f}" if value.is_integer() else f"{value:.{DIGITS}g}"

    with atomic(file) as stream:
        listed = table.assign(value=table.value.map(digits))[[*COLUMNS[1:]]]
        listed.to_csv(stream, index=False, lineterminator="\n")


def read(file: Path) -> pd.DataFrame:
    """A part's table; raises FileNotFoundError or DamagedFile naming a file that is absent or not of this form."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: stage collect_numbers@{file.stem} writes it")
    # pandas itself fills short lines up, and shifts long ones
    with reading(file), open(file, encoding="utf-8", newline="") as stream:
        lines = csv.reader(stream, strict=True)
        header, listed = next(lines, []), []
        if header != [*COLUMNS[1:]]:
            raise ValueError(f"its columns are {', '.join(header) or 'absent'}, not {', '.join(COLUMNS[1:])}")
        for line in lines:
            if len(line) != len(header):
                raise ValueError(f"line {lines.line_num} has {len(line)} fields, not {len(header)}")
            listed.append(line)
        table = pd.DataFrame(listed, columns=header, dtype=str)
        absent = table.value == ""
        table = table.assign(value=table.value.mask(absent, "nan")).astype({"seed": int, "value": float})
        for what, wrong in _wrong(table, absent):
            if wrong.any():
                at = int(np.argmax(wrong))
                raise ValueError(f"{what}, first in line {at + 2}: {', '.join(map(str, table.iloc[at]))}")
    return table.assign(who="ours")[[*COLUMNS]]


def _wrong(table: pd.DataFrame, absent: pd.Series) -> Iterator[tuple[str, pd.Series]]:
    """What can be wrong with the lines of a file, in words, and which have it; ``absent``: those without a value."""

    def broken(text: str) -> bool:
        try:
            return text != "" and not isinstance(json.loads(text), list | dict)
        except ValueError:
            return True

    yield "a name is empty", (table[["cell", "item", "quantity"]] == "").any(axis=1)
    yield "a value is not finite", ~absent & ~np.isfinite(table.value)
    yield "a value has a text beside it", ~absent & (table.text != "")
    measured = [quantity for quantity in table.quantity.unique() if MEASURED.fullmatch(quantity)]
    yield "a text is where a number belongs", table.quantity.isin(measured) & (table.text != "")
    yield "a line is there twice", table.duplicated(KEY)
    listed = table.text.where(table.quantity.isin(LISTED), "")
    yield "a list is no JSON", pd.Series([broken(text) for text in listed], dtype=bool)


# the paper's columns that are no score of a decoder: item and quantity in our table
PRINTED = {
    "accuracy_percent": ("network", "accuracy_percent"),
    "accuracy_change_points": ("network", "accuracy_change_points"),
    "mi_nats": ("mi paper", "mi_nats"),
    "nonzero_per_image": ("effective", "nonzero_per_image"),
    "edge_parameters_paper": ("target", "edge_parameters_paper"),
    **{f"mle_{key}": ("mle paper", key) for key in ("mse_paper", "psnr_db_paper", "ssim_paper")},
}


def printed(cells: Sequence[str]) -> pd.DataFrame:
    """The paper's lines of some cells, as far as it prints any."""
    listed = []
    for cell in cells:
        # latencies are those of a network that the paper does not name
        timed = paper.find("latency", cell.partition("/")[2]) if cell.startswith("cnn/") else {}
        values = {("cost cpu", "edge_latency_ms"): timed["edge_cpu_ms"]} if timed else {}
        for access in ("black-box", "gray-box", paper.CLOUD_SIDE):
            decoder = f"generator {access.replace('-', '_')}"
            for key, value in paper.find_cell(cell, access).items():
                # what else the line of an attack in the cloud has is of the feature that the cloud widened
                own = key.startswith("generator_") or access != paper.CLOUD_SIDE
                if own and isinstance(value, int | float):
                    values.setdefault(PRINTED.get(key, (decoder, key.removeprefix("generator_"))), value)
        listed += [("paper", cell, NO_SEED, *place, float(value), "", "") for place, value in values.items()]
    return pd.DataFrame(listed, columns=[*COLUMNS])


def load(paths: Paths, parts: Sequence[str]) -> pd.DataFrame:
    """The table of some parts of a scale and the paper's lines of the cells in them."""
    ours = pd.concat([read(paths.numbers(part)) for part in parts], ignore_index=True)
    theirs = printed(list(dict.fromkeys(ours.cell)))
    return pd.concat([ours, theirs], ignore_index=True) if len(theirs) else ours


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Over seeds, by who, cell, item and quantity: ``mean``, ``sd``, ``n``, ``max``, ``text`` and ``reason``.

    A mean exists where each seed of the cell has a value (of what no seed belongs to, where there is one); ``sd``
    (n - 1 in the denominator) where seeds differ. A text is the first seed's, a reason the first that is given.
    """
    keys = ["who", "cell", "item", "quantity"]
    frame = frame.assign(reason=frame.reason.where(frame.reason != ""))  # so that "first" is the first that is given
    seeds = frame.groupby(["who", "cell", frame.seed == NO_SEED]).seed.transform("nunique")
    grouped = frame.assign(seeds=seeds).groupby(keys, sort=False)
    over = grouped.agg(
        seeds=("seeds", "first"),
        mean=("value", "mean"), sd=("value", "std"), n=("value", "count"), low=("value", "min"), max=("value", "max"),
        text=("text", "first"), reason=("reason", "first"),
    )  # fmt: skip
    every, same = (over.n == over.seeds).to_numpy(), (over.low == over["max"]).to_numpy()
    # a mean of equal numbers may differ from them in its last digit
    over["mean"] = np.where(every, np.where(same, over.low, over["mean"]), np.nan)
    over["reason"] = over.reason.fillna("")
    over["sd"] = np.where(every & ~same, over.sd, np.nan)
    return over.drop(columns=["seeds", "low"])
