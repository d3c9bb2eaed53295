"""Latency: what a defense costs the edge in parameters, multiply-accumulates, bytes sent and milliseconds.

The paper gives three edge latencies (end of Section 6.3) without naming the network or the machine, so rows are
compared by their ratio to the unprotected one.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import paper
from splitprobe.report.captions import data, devices, distinct, explained, labels
from splitprobe.report.frame import NO_REASON
from splitprobe.report.markdown import NONE, Notes, bullets, document, grid, named, number, printed, words
from splitprobe.report.numbers import NO_REFERENCE, UNPROTECTED, Number, Numbers
from splitprobe.report.rows import open_numbers
from splitprobe.report.tables import Flat, Table, flat, identity, reasons

DEVICES = {"cpu": "cpu", "cuda": "gpu"}  # as PyTorch and as columns name them
HALVES = ("edge", "cloud")
NOTES = (
    "One forward pass in float32; the edge includes what the defense does to z before sending it.",
    "MACs: multiply-accumulates of one image; z: bytes of one image's feature as float32.",
    "Timings differ between machines and, a little, between runs; parameters, MACs and bytes do not.",
)
BESIDE = (
    "Edge alone, one image. The paper names neither the network nor the machine behind its milliseconds, so only the "
    f"ratios to the unprotected row can be compared ({NONE}: not in the paper)."
)
SIZES = ("edge_parameters", "edge_macs", "z_bytes")


def build(params: Params, paths: Paths) -> Table:
    """The latency table for the cells that ``rows.latency`` lists."""
    numbers = open_numbers(params, paths, "latency", extra=["costs"])
    # timed once, with the first seed's weights
    seeds = distinct(sorted({numbers.seeds(cell)[0] for cell in numbers.cells}))
    page = document(
        "Latency of edge and cloud",
        [f"**Scale {params.scale}: {words(data(numbers))}.** Seed {seeds}; {devices(numbers)}.{explained(numbers)}"],
        *_blocks(numbers),
        ["## Notes", "", *bullets([*_budgets(numbers), *NOTES])],
    )
    rows = {cell: _row(numbers, cell) for cell in numbers.cells}
    return Table(rows, [_line(numbers, cell) for cell in numbers.cells], page)


def _timings(numbers: Numbers, cell: str, device: str) -> dict[str, Number]:
    """What was timed on a device, and ``edge_ratio``: the edge's latency as a multiple of the unprotected row's.

    Where the device was not there, all are absent with that reason.
    """
    item, base = f"cost {device}", numbers.reference(cell)
    why = numbers.number(cell, "cost", device, missing=NO_REASON).reason
    keys = [f"{half}_latency{part}_ms" for half, part in product(HALVES, ("", "_p95"))]
    timings = {key: numbers.number(cell, item, key, missing=why) for key in keys}
    ratio = own = timings["edge_latency_ms"]
    if own.value is not None:
        # both of one device: a ratio across devices would say nothing about the defense
        usual = base and numbers.value(base, item, "edge_latency_ms", missing=why)
        ratio = Number(own.value / usual) if usual else Number(None, reason=NO_REFERENCE)
    return timings | {"edge_ratio": ratio}


def _printed(cell: str, device: str) -> dict[str, float | None]:
    """The paper's edge latency in ms, and as a multiple of its unprotected row's, under the keys of our timings."""
    key = f"edge_{DEVICES[device]}_ms"
    own, base = paper.find("latency", cell.partition("/")[2]).get(key), paper.find("latency", UNPROTECTED)[key]
    return {"edge_latency_ms": own, "edge_ratio": None if own is None else own / base}


def _named(timings: Mapping[str, Any], device: str, prefix: str = "") -> Flat:
    """Timings under the names of our columns: ``edge_cpu_ms`` for ``edge_latency_ms``."""
    label = f"_{DEVICES[device]}_"
    return {f"{prefix}{key.replace('_', label, 1).replace('latency_', '')}": value for key, value in timings.items()}


def _row(numbers: Numbers, cell: str) -> Flat:
    """The row's JSON."""
    row: Flat = {key: numbers.number(cell, "target", key) for key in SIZES}
    for device in DEVICES:
        row |= _named(_timings(numbers, cell, device), device)
    return row


def _line(numbers: Numbers, cell: str) -> Flat:
    """The row's CSV line: sizes, all timings with their settings, the paper's values and ratios."""
    line = identity(numbers, cell, "cost")
    line |= {key: numbers.number(cell, "target", key) for key in (*SIZES, "cloud_parameters", "cloud_macs")}
    every: Flat = {}
    for device in DEVICES:
        timings = {f"{device}_{key}": value for key, value in _timings(numbers, cell, device).items()}
        ratio = f"{device}_edge_ratio"
        line |= flat(numbers, cell, f"cost {device}", f"{device}_") | {ratio: timings[ratio]}
        line |= _named(_printed(cell, device), device, "paper_")
        every |= timings
    return line | {"absent": reasons(every)}


def _blocks(numbers: Numbers) -> tuple[list[str], list[str]]:
    """Our sizes and timings; then the edge's timings and ratios beside the paper's."""
    header, header_beside = ["Method", "Edge parameters", "Edge MACs", "z, bytes"], ["Method"]
    for label in map(str.upper, DEVICES.values()):
        header += [f"{label} {half}, ms" for half in HALVES]
        header_beside += [f"{label}, ms", f"paper {label}, ms", f"{label} ratio", f"paper {label} ratio"]
    notes, notes_beside, lines, lines_beside = Notes(), Notes(), [], []
    for cell, name in named(labels(numbers)).items():
        line, line_beside = [name, *(notes.value(numbers.number(cell, "target", key), 0) for key in SIZES)], [name]
        for device in DEVICES:
            timings, theirs = _timings(numbers, cell, device), _printed(cell, device)
            for half in HALVES:
                median = notes.value(timings[f"{half}_latency_ms"], 3)
                # a median without a tail is enough said by one n/a
                tail = timings[f"{half}_latency_p95_ms"].value
                line.append(median if tail is None else f"{median} / {number(tail, 3)}")
            for key, decimals in (("edge_latency_ms", 3), ("edge_ratio", 2)):
                line_beside += [notes_beside.value(timings[key], decimals), printed(theirs[key], decimals)]
        lines.append(line)
        lines_beside.append(line_beside)
    ours = [*grid(header, lines), "", "Milliseconds: median / 95th percentile.", "", *notes.lines()]
    return ours, ["## Beside the paper", "", BESIDE, "", *grid(header_beside, lines_beside), "", *notes_beside.lines()]


def _budgets(numbers: Numbers) -> list[str]:
    """How each device was timed, as far as it was there."""
    lines = []
    for device, label in DEVICES.items():
        timed = [cell for cell in numbers.cells if f"cost {device}" in numbers.items(cell)]
        if timed:
            keys = ("batch", "runs", "warmup", "threads")
            own = {key: distinct(numbers.value(cell, f"cost {device}", key) for cell in timed) for key in keys}
            text = f"{label.upper()}: batch of {{batch}}, {{runs}} timed runs after {{warmup}} for warming up"
            lines.append((text + ("; threads: {threads}." if device == "cpu" else ".")).format(**own))
    return lines
