"""Tables' Markdown as HTML: the few forms that :mod:`splitprobe.report.markdown` writes, and no others."""

import html
import re
from collections.abc import Iterator

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 1400px; margin: 0 auto; padding: 0 24px 60px; }
h1 { font-size: 26px; } h2 { font-size: 21px; margin-top: 44px; border-bottom: 1px solid #ddd; } h3 { font-size: 16px; }
nav { columns: 3; } nav a { display: block; } a { color: #0072b2; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; margin: 10px 0; }
th, td { padding: 3px 9px; border-bottom: 1px solid #e4e4e4; text-align: right; vertical-align: top; }
th { border-bottom: 2px solid #999; white-space: normal; } .left { text-align: left; }
tr:hover td { background: #f6f6f6; }
img { max-width: 100%; height: auto; } code, pre { font-size: 12.5px; background: #f6f6f6; }
pre { padding: 12px; overflow-x: auto; } details { margin: 8px 0; }
"""


def inline(text: str) -> str:
    """Bold, italics, code, and raised numbers of notes; everything else is escaped."""
    text = html.escape(text, quote=False)
    text = re.sub(r"&lt;sup&gt;(\d+)&lt;/sup&gt;", r"<sup>\1</sup>", text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<em>\1</em>", text)


def converted(markdown: str, level: int) -> str:
    """A page as HTML; its title becomes a heading of ``level``, the others follow."""
    return "\n".join(part for block in _blocks(markdown) for part in _converted(block, level))


def _blocks(markdown: str) -> Iterator[list[str]]:
    """Lines that belong together: tables, lists, and single lines."""
    block: list[str] = []
    for line in [*markdown.splitlines(), ""]:
        same = block and line[:2] in ("| ", "- ") and line[:2] == block[0][:2]
        if block and not same:
            yield block
            block = []
        if line.strip():
            block.append(line)


def _converted(block: list[str], level: int) -> Iterator[str]:
    first = block[0]
    if first.startswith("| "):
        yield table(block)
    elif first.startswith("- "):
        yield "<ul>" + "".join(f"<li>{inline(line[2:])}</li>" for line in block) + "</ul>"
    elif first.startswith("#"):
        depth = len(first) - len(first.lstrip("#")) + level - 1
        yield f"<h{depth}>{inline(first.lstrip('# '))}</h{depth}>"
    else:
        yield f"<p>{inline(first)}</p>"


def table(lines: list[str]) -> str:
    """A Markdown table: header, rule with the columns' sides, then the body."""
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    sides = ["" if rule.endswith(":") else ' class="left"' for rule in cells[1]]

    def row(tag: str, line: list[str]) -> str:
        return (
            "<tr>" + "".join(f"<{tag}{side}>{inline(c)}</{tag}>" for side, c in zip(sides, line, strict=True)) + "</tr>"
        )

    body = "\n".join(row("td", line) for line in cells[2:])
    return f'<div class="wide"><table><thead>{row("th", cells[0])}</thead>\n<tbody>\n{body}\n</tbody></table></div>'
