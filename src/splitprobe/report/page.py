"""The report: one HTML file per scale with all tables and figures, the claims, settings and versions.

It is written to metrics/<scale>/report.html, made of the tables beside it. Nothing is loaded from elsewhere, so that
the file can be sent alone and read without a network.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd
from markdown_it import MarkdownIt

from splitprobe.core.artifacts import atomic
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.report import frame
from splitprobe.report.markdown import grid, number, words
from splitprobe.report.numbers import rows

REPORT = "report"
LARGEST = 3_000_000  # bytes; more would not be sent by mail
# what decides a result besides the scale; rows only choose what is shown
SECTIONS = (
    "scales", "seed", "runtime", "data", "normalization", "model", "training", "loss", "defense", "variants",
    "ablation", "mine", "information", "calibration", "attack", "judge", "knowledge", "releases", "cost", "leaderboard",
    "criterion", "sweeps",
)  # fmt: skip
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 1400px; margin: 0 auto; padding: 0 24px 60px; }
h1 { font-size: 26px; } h2 { font-size: 21px; margin-top: 44px; border-bottom: 1px solid #ddd; } h3 { font-size: 16px; }
nav { columns: 3; } nav a { display: block; } a { color: #0072b2; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; margin: 10px 0; }
th, td { padding: 3px 9px; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
th { border-bottom: 2px solid #999; white-space: normal; }
tr:hover td { background: #f6f6f6; }
img { max-width: 100%; height: auto; } code, pre { font-size: 12.5px; background: #f6f6f6; }
pre { padding: 12px; overflow-x: auto; } details { margin: 8px 0; }
"""
WHOLE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<nav>{links}</nav>
{sections}
</body>
</html>
"""
# HTML in a user's words stays text
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


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
            parts.append((name, converted(_built(paths.table(name, "md"), name, "table").decode())))
        if name in figures:  # a table may share its name with a figure
            code = base64.b64encode(_built(paths.figure(name, "png"), name, "figure")).decode()
            title = f"Figure {name.removeprefix('figure')}" if name.startswith("figure") else f"Figure: {name}"
            html = f'<h2>{title}</h2>\n<img alt="{title}" src="data:image/png;base64,{code}">'
            parts.append((f"{name}_figure" if name in tables else name, html))
    parts += [("settings", _settings(params)), ("versions", _versions(paths))]
    title = f"splitprobe: scale {params.scale}"
    headings = {name: part.partition("<h2>")[2].partition("</h2>")[0] or name for name, part in parts}
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading in headings.items())
    sections = "\n".join(f'<section id="{name}">\n{part}\n</section>' for name, part in parts)
    text = WHOLE.format(title=title, style=STYLE, links=links, sections=sections)
    size = len(text.encode())
    if size > LARGEST:
        raise ParamsError(f"rows.{REPORT}: the page has {size:,} bytes, {LARGEST:,} is the most; list less")
    with atomic(paths.table(REPORT, "html")) as stream:
        stream.write(text)
    return paths.table(REPORT, "html")


def _built(file: Path, name: str, kind: str) -> bytes:
    """A table's or figure's file."""
    if not file.is_file():
        raise ParamsError(f"rows.{REPORT}: {name!r} has no {file}; stage build_{kind}@{name} builds it")
    return file.read_bytes()


def _settings(params: Params) -> str:
    """The settings: first those that differ between scales, as this scale has them."""
    names = [name for name in SECTIONS if name in params.tree]
    params.read |= {*names}
    shown = []
    for name in names:
        value, opened, title = params.raw(name), "", name
        if name == "scales":
            value = {key: item for key, item in value.items() if key not in ("names", "like")}  # of the other scales
            opened, title = " open", f"scale {params.scale}"
        tree = _tree(value if isinstance(value, Mapping) else {name: value})
        shown.append(f"<details{opened}><summary>{title}</summary><pre>{tree}</pre></details>")
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


def _versions(paths: Paths) -> str:
    """Versions, devices and seeds of all results of the scale, each with the number of results that have it."""
    table = pd.concat(map(frame.read, sorted(paths.numbers("*").parent.glob("*.csv"))), ignore_index=True)
    own = table[table.item.str.startswith("provenance ")].set_index("quantity")
    found = [(what, text) for key, what in (("device", "device"), ("python", "Python")) for text in own.text[[key]]]
    found += [("seed", f"{seed:.0f}") for seed in own.value[["seed"]]]
    found += [pair for text in own.text[["versions"]] for pair in json.loads(text).items()]
    counts = pd.Series(found).value_counts().sort_index()
    lines = [[what, words(str(value)), number(count, 0)] for (what, value), count in counts.items()]
    return "<h2>Versions</h2>\n" + converted("\n".join(grid(["What", "Value", "Results"], lines, left=2)))


def converted(markdown: str) -> str:
    """A page as HTML; its title becomes a heading of level 2, the others follow."""
    tokens = MARKDOWN.parse(markdown)
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = f"h{int(token.tag[1]) + 1}"
    html = MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})
    html = re.sub(r"&lt;sup&gt;(\d+)&lt;/sup&gt;", r"<sup>\1</sup>", html)  # the numbers of notes
    return html.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
