"""Latency: what a defense costs the edge in parameters, multiply-accumulates, bytes sent and milliseconds.

The paper gives three edge latencies (end of Section 6.3) without naming the network or the machine, so rows are
compared by their ratio to the unprotected one.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import markdown as md
from splitprobe.report import paper
from splitprobe.report.frame import NO_REASON
from splitprobe.report.numbers import NO_REFERENCE, UNPROTECTED, Number, Numbers, open_numbers
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
    f"ratios to the unprotected row can be compared ({md.NONE}: not in the paper)."
)
SIZES = ("edge_parameters", "edge_macs", "z_bytes")


def build(params: Params, paths: Paths) -> Table:
    """The latency table for the cells that ``rows.latency`` lists."""
    numbers, rows, lines = open_numbers(params, paths, "latency", extra=["costs"]), {}, []
    for cell in numbers.cells:
        rows[cell] = {key: numbers.number(cell, "target", key) for key in SIZES}
        line, every = identity(numbers, cell, "cost"), {}
        line |= {key: numbers.number(cell, "target", key) for key in (*SIZES, "cloud_parameters", "cloud_macs")}
        for device in DEVICES:
            timings = _timings(numbers, cell, device)
            rows[cell] |= _named(timings, device)
            line |= flat(numbers, cell, f"cost {device}", f"{device}_")
            line |= {f"{device}_edge_ratio": timings["edge_ratio"], **_named(_printed(cell, device), device, "paper_")}
            every |= {f"{device}_{key}": value for key, value in timings.items()}
        lines.append(line | {"absent": reasons(every)})
    # timed once, with the first seed's weights
    seeds = md.distinct(sorted({numbers.seeds(cell)[0] for cell in numbers.cells}))
    page = md.document(
        "Latency of edge and cloud",
        [
            f"**Scale {params.scale}: {md.words(md.data(numbers))}.** Seed {seeds}; "
            f"{md.devices(numbers)}.{md.explained(numbers)}"
        ],
        *_blocks(numbers),
        ["## Notes", "", *md.bullets([*_budgets(numbers), *NOTES])],
    )
    return Table(rows, lines, page)


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


def _named(timings: Mapping[str, Any], device: str, prefix: str = "") -> Flat:
    """Timings under the names of our columns: ``edge_cpu_ms`` for ``edge_latency_ms``."""
    label = f"_{DEVICES[device]}_"
    return {f"{prefix}{key.replace('_', label, 1).replace('latency_', '')}": value for key, value in timings.items()}


def _printed(cell: str, device: str) -> dict[str, float | None]:
    """The paper's edge latency in ms, and as a multiple of its unprotected row's, under the keys of our timings."""
    rows = (cell.partition("/")[2], UNPROTECTED)
    own, base = (paper.find("latency", row).get(f"edge_{DEVICES[device]}_ms") for row in rows)
    return {"edge_latency_ms": own, "edge_ratio": None if own is None else own / base}


def _blocks(numbers: Numbers) -> tuple[list[str], list[str]]:
    """Our sizes and timings; then the edge's timings and ratios beside the paper's."""
    header, header_beside = ["Method", "Edge parameters", "Edge MACs", "z, bytes"], ["Method"]
    for label in map(str.upper, DEVICES.values()):
        header += [f"{label} {half}, ms" for half in HALVES]
        header_beside += [f"{label}, ms", f"paper {label}, ms", f"{label} ratio", f"paper {label} ratio"]
    notes, notes_beside, lines, lines_beside = md.Notes(), md.Notes(), [], []
    for cell, name in md.named(md.labels(numbers)).items():
        lines.append([name, *(notes.value(numbers.number(cell, "target", key), 0) for key in SIZES)])
        lines_beside.append([name])
        for device in DEVICES:
            timings, theirs = _timings(numbers, cell, device), _printed(cell, device)
            for half in HALVES:
                median = notes.value(timings[f"{half}_latency_ms"], 3)
                # a median without a tail is enough said by one n/a
                tail = timings[f"{half}_latency_p95_ms"].value
                lines[-1].append(median if tail is None else f"{median} / {md.number(tail, 3)}")
            for key, decimals in (("edge_latency_ms", 3), ("edge_ratio", 2)):
                lines_beside[-1] += [notes_beside.value(timings[key], decimals), md.printed(theirs[key], decimals)]
    ours = notes.table(header, lines, "Milliseconds: median / 95th percentile.")
    return ours, ["## Beside the paper", "", BESIDE, "", *notes_beside.table(header_beside, lines_beside)]


def _budgets(numbers: Numbers) -> Iterator[str]:
    """How each device was timed, as far as it was there."""
    for device, label in DEVICES.items():
        timed = [cell for cell in numbers.cells if f"cost {device}" in numbers.items(cell)]
        if timed:
            keys = ("batch", "runs", "warmup", "threads")
            batch, runs, warmup, threads = (
                md.distinct(numbers.value(cell, f"cost {device}", key) for cell in timed) for key in keys
            )
            text = f"{label.upper()}: batch of {batch}, {runs} timed runs after {warmup} for warming up"
            yield f"{text}; threads: {threads}." if device == "cpu" else f"{text}."
