"""Latency: what a defense costs the edge in parameters, multiply-accumulates, bytes sent and milliseconds.

The paper gives three edge latencies (end of Section 6.3) without naming the network or the machine, so rows are
compared by their ratio to the unprotected one.
"""

from collections.abc import Mapping, Sequence

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import paper
from splitprobe.report.markdown import NONE, Notes, bullets, document, grid, number
from splitprobe.report.results import NO_REFERENCE, Results, collect, data, distinct, labels, origin, reference
from splitprobe.report.table import Flat, Table, flat, reasons

DEVICES = {"cpu": "CPU", "cuda": "GPU"}
HALVES = ("edge", "cloud")
SIZES = ("edge_parameters", "edge_macs", "z_bytes")


def build(params: Params, paths: Paths) -> Table:
    """The latency table for the cells that ``rows.latency`` lists."""
    results = collect(params, paths, "latency", ("target", "cost"))
    page = document(
        "Latency of edge and cloud",
        [f"**Scale {params.scale}: {data(results)}.** {origin([r.seeds[0] for r in results])}."],
        _ours(results),
        ["## Beside the paper", "", *_beside(results)],
        ["## Notes", "", *bullets(_remarks(results))],
    )
    return Table({r.cell: _row(results, r) for r in results}, [_line(results, r) for r in results], page)


def _timing(r: Results, device: str) -> Mapping:
    """A device's timings; only reasons where it was not there."""
    cost = r["cost"]
    if cost[device] is not None:
        return cost[device]
    why = cost.get(f"{device}_reason", "no reason was recorded")
    return {f"{half}_latency{part}_ms_reason": why for half in HALVES for part in ("", "_p95")}


def _ratio(results: Sequence[Results], r: Results, device: str) -> Flat:
    """Edge latency as a multiple of the unprotected row's, or the reason why there is none."""
    own, base = _timing(r, device), reference(results, r)
    # both of one device: a ratio across devices would say nothing about the defense
    if own.get("edge_latency_ms") is None:
        return {"ratio": None, "ratio_reason": own.get("edge_latency_ms_reason", "no reason was recorded")}
    if base is None or not _timing(base, device).get("edge_latency_ms"):
        return {"ratio": None, "ratio_reason": NO_REFERENCE}
    return {"ratio": own["edge_latency_ms"] / _timing(base, device)["edge_latency_ms"]}


def _printed_ratio(r: Results, device: str) -> float | None:
    """The paper's latency as a multiple of its unprotected row's."""
    key = f"edge_{DEVICES[device].lower()}_ms"
    own, base = paper.find("latency", r.row).get(key), paper.find("latency", "unprotected")[key]
    return None if own is None else own / base


def _row(results: Sequence[Results], r: Results) -> Flat:
    """The row's JSON."""
    row: Flat = {key: r["target"][key] for key in SIZES}
    for device, label in DEVICES.items():
        for half in HALVES:
            timing, short = _timing(r, device), f"{half}_{label.lower()}"
            row[f"{short}_ms"] = timing.get(f"{half}_latency_ms")
            row[f"{short}_p95_ms"] = timing.get(f"{half}_latency_p95_ms")
        row[f"edge_{label.lower()}_ratio"] = _ratio(results, r, device)["ratio"]
    return row


def _line(results: Sequence[Results], r: Results) -> Flat:
    """The row's CSV line: sizes, all timings with their settings, the paper's values and ratios."""
    line = r.identity("cost") | {key: r["target"][key] for key in (*SIZES, "cloud_parameters", "cloud_macs")}
    why = []
    for device, label in DEVICES.items():
        timing, ratio = _timing(r, device), _ratio(results, r, device)
        line |= flat(f"{device}_", timing) | {f"{device}_edge_ratio": ratio["ratio"]}
        why += [*reasons(f"{device}_", timing), *reasons(f"{device}_edge_", ratio)]
        line[f"paper_edge_{label.lower()}_ms"] = paper.find("latency", r.row).get(f"edge_{label.lower()}_ms")
        line[f"paper_edge_{label.lower()}_ratio"] = _printed_ratio(r, device)
    return line | {"absent": "; ".join(why)}


def _ours(results: Sequence[Results]) -> list[str]:
    header = ["Method", "Edge parameters", "Edge MACs", "z, bytes"]
    header += [f"{label} {half}, ms" for label in DEVICES.values() for half in HALVES]
    notes, names, lines = Notes(), labels(results), []
    for r in results:
        line = [names[r.cell], *(notes.value(r["target"], key, 0) for key in SIZES)]
        for device in DEVICES:
            timing = _timing(r, device)
            for half in HALVES:
                median = notes.value(timing, f"{half}_latency_ms", 3)
                # a median without a tail is enough said by one n/a
                tail = timing.get(f"{half}_latency_p95_ms")
                line.append(median if tail is None else f"{median} / {number(tail, 3)}")
        lines.append(line)
    return [*grid(header, lines), "", "Milliseconds: median / 95th percentile.", "", *notes.lines()]


def _beside(results: Sequence[Results]) -> list[str]:
    header = ["Method"]
    for label in DEVICES.values():
        header += [f"{label}, ms", f"paper {label}, ms", f"{label} ratio", f"paper {label} ratio"]
    notes, names, lines = Notes(), labels(results), []
    for r in results:
        line, theirs = [names[r.cell]], paper.find("latency", r.row)
        for device, label in DEVICES.items():
            printed, ratio = theirs.get(f"edge_{label.lower()}_ms"), _printed_ratio(r, device)
            line += [
                notes.value(_timing(r, device), "edge_latency_ms", 3),
                NONE if printed is None else number(printed, 3),
                notes.value(_ratio(results, r, device), "ratio", 2),
                NONE if ratio is None else number(ratio, 2),
            ]
        lines.append(line)
    text = (
        "Edge alone, one image. The paper names neither the network nor the machine behind its milliseconds, so only "
        f"the ratios to the unprotected row can be compared ({NONE}: not in the paper)."
    )
    return [text, "", *grid(header, lines), "", *notes.lines()]


def _remarks(results: Sequence[Results]) -> list[str]:
    lines = []
    for device, label in DEVICES.items():
        timed = [r["cost"][device] for r in results if r["cost"][device] is not None]
        if timed:
            batch, runs, warmup = (distinct(t[key] for t in timed) for key in ("batch", "runs", "warmup"))
            threads = f"; threads: {distinct(t['threads'] for t in timed)}" if device == "cpu" else ""
            lines.append(f"{label}: batch of {batch}, {runs} timed runs after {warmup} for warming up{threads}.")
    return [
        *lines,
        "One forward pass in float32; the edge includes what the defense does to z before sending it.",
        "MACs: multiply-accumulates of one image; z: bytes of one image's feature as float32.",
        "Timings differ between machines and, a little, between runs; parameters, MACs and bytes do not.",
    ]
