"""The report: one HTML file per scale with all tables and figures, the claims, settings, versions and times.

It is written to metrics/<scale>/report.html: it is a page of numbers, made of the tables beside it. Nothing is loaded
from elsewhere, so that the file can be sent alone and read without a network.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from pathlib import Path

from splitprobe.artifacts import atomic, read_json
from splitprobe.cells import Paths
from splitprobe.params import Params, ParamsError
from splitprobe.report.hypertext import STYLE, converted, table
from splitprobe.report.markdown import NONE, grid, number
from splitprobe.report.results import STAGES, result_file, rows

REPORT = "report"
OWN_STAGE = {"leaderboard": "build_leaderboard"}  # of tables with more dependencies than the others
LARGEST = 5_000_000  # bytes; more would not be sent by mail
# what decides a result besides the scale; rows only choose what is shown
SECTIONS = ("seed", "runtime", "data", "normalization", "model", "training", "loss", "defense", "variants")
SECTIONS += ("ablation", "mine", "information", "calibration", "attack", "judge", "knowledge", "cost")
SECTIONS += ("leaderboard", "criterion", "sweeps")


def write_report(params: Params, paths: Paths, tables: Sequence[str], figures: Sequence[str]) -> Path:
    """Write the report of what ``rows.report`` lists, tables and figures by name, in its order; returns its path.

    Raises ParamsError for a name that is neither or that has not been built, and when the page gets too large.
    """
    parts = []
    for name in rows(params, REPORT):
        if name not in (*tables, *figures):
            known = ", ".join([*tables, *figures])
            raise ParamsError(f"rows.{REPORT}: {name!r} is no table or figure; known here: {known}")
        if name in tables:
            parts.append((name, converted(_built(paths.table(name, "md"), name, "table").decode(), 2)))
        if name in figures:  # a table may share its name with a figure
            parts.append((f"{name}_figure" if name in tables else name, _figure(paths, name)))
    results = list(_results(params, paths, [name for name, _ in parts]))
    parts += [("settings", _settings(params)), ("versions", _versions(results))]
    times = _times(results)
    parts += [("times", times)] if times else []
    text = _whole(params.scale, parts)
    size = len(text.encode())
    if size > LARGEST:
        raise ParamsError(f"rows.{REPORT}: the page has {size:,} bytes, {LARGEST:,} is the most; list less")
    with atomic(paths.table(REPORT, "html")) as stream:
        stream.write(text)
    return paths.table(REPORT, "html")


def _whole(scale: str, parts: Sequence[tuple[str, str]]) -> str:
    """The document around its parts."""
    title = f"splitprobe: scale {scale}"
    links = "".join(f'<a href="#{name}">{_heading(name, part)}</a>' for name, part in parts)
    sections = "\n".join(f'<section id="{name}">\n{part}\n</section>' for name, part in parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{title}</h1>\n<nav>{links}</nav>\n{sections}\n</body>\n</html>\n"
    )


def _heading(name: str, part: str) -> str:
    """A part's own heading, for the links above."""
    return part.partition("<h2>")[2].partition("</h2>")[0] or name


def _built(file: Path, name: str, kind: str) -> bytes:
    """A table's or figure's file."""
    if not file.is_file():
        stage = OWN_STAGE.get(name, f"build_{kind}@{name}")
        raise ParamsError(f"rows.{REPORT}: {name!r} has no {file}; stage {stage} builds it")
    return file.read_bytes()


def _figure(paths: Paths, name: str) -> str:
    """A figure's PNG inside the page."""
    code = base64.b64encode(_built(paths.figure(name, "png"), name, "figure")).decode()
    title = name.capitalize().replace("Figure", "Figure ") if name.startswith("figure") else f"Figure: {name}"
    return f'<h2>{title}</h2>\n<img alt="{title}" src="data:image/png;base64,{code}">'


def _settings(params: Params) -> str:
    """The scale's own settings, then those that all scales share."""
    names = [f"scales.{params.scale}", *(name for name in SECTIONS if name in params.tree)]
    params.read |= {*names}
    shown = []
    for name in names:
        value = params.raw(name)
        tree = _tree(value if isinstance(value, Mapping) else {name: value})
        opened = " open" if "." in name else ""
        shown.append(f"<details{opened}><summary>{name}</summary><pre>{tree}</pre></details>")
    return "<h2>Settings</h2>\n<p>The parts of <code>params.yaml</code> behind these results.</p>\n" + "\n".join(shown)


def _tree(value: Mapping, indent: str = "") -> str:
    """A value of params.yaml, nested sections indented."""
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            lines += [f"{indent}{key}:", _tree(item, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {escape(json.dumps(item, ensure_ascii=False), quote=False)}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Source:
    """Where a result comes from, and how long it took when it was last made here; None where that is not known."""

    cell: str
    stage: str
    provenance: Mapping
    seconds: float | None


def _results(params: Params, paths: Paths, names: Sequence[str]) -> Iterator[Source]:
    """Every result behind the listed tables and figures, seed by seed."""
    listed = [rows(params, name) for name in names if name in params.raw("rows")]
    for cell in dict.fromkeys(cell for cells in listed for cell in cells):
        for own, stage in product(paths.probed(cell), STAGES):
            file, noted = result_file(own, cell, stage), own.seconds(cell, stage)
            if file.is_file():
                seconds = read_json(noted)["seconds"] if noted.is_file() else None
                yield Source(cell, stage, read_json(file)["provenance"], seconds)


def _versions(results: Sequence[Source]) -> str:
    """Versions, devices and seeds, each with the number of results that have it."""
    counts: dict[tuple[str, str], int] = {}
    for source in (result.provenance for result in results):
        known = {"Python": source["python"], "device": source["device"], "seed": source["seed"], **source["versions"]}
        for key, value in known.items():
            counts[key, str(value)] = counts.get((key, str(value)), 0) + 1
    lines = [[key, value, number(count, 0)] for (key, value), count in sorted(counts.items())]
    return "<h2>Versions</h2>\n" + table(grid(["What", "Value", "Results"], lines, left=2))


def _times(results: Sequence[Source]) -> str:
    """How long the work behind each result took when it last ran on this machine; nothing where none is known."""
    seconds: dict[tuple[str, str], float] = {}
    for result in results:
        if result.seconds is not None:
            key = (result.cell, result.stage)
            seconds[key] = seconds.get(key, 0.0) + result.seconds
    if not seconds:
        return ""
    stages = [stage for stage in STAGES if any(key[1] == stage for key in seconds)]
    lines = []
    for cell in dict.fromkeys(cell for cell, _ in seconds):
        own = [seconds.get((cell, stage)) for stage in stages]
        lines.append([cell, *(NONE if s is None else number(float(s), 1) for s in own), _sum(own)])
    total = [[seconds[key] for key in seconds if key[1] == stage] for stage in stages]
    lines.append(["**all**", *map(_sum, total), _sum([s for stage in total for s in stage])])
    header = ["Cell", *stages, "all"]
    text = "Seconds of work behind each result when it last ran here, all seeds, without the start of its process."
    return f"<h2>Times</h2>\n<p>{text}</p>\n" + table(grid(header, lines))


def _sum(seconds: Sequence[float | None]) -> str:
    return number(float(sum(s for s in seconds if s is not None)), 1)
