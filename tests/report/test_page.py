"""The report: one page that holds all it shows, built from tables and figures that exist."""

import base64
import json
import re
from html import escape
from html.parser import HTMLParser

import pytest
from fabricated_items import DEVICE
from PIL import Image

from splitprobe.core.params import Params, ParamsError
from splitprobe.report.markdown import grid, words
from splitprobe.report.page import converted, write_report

SETTINGS = {"scales": {"names": ["tiny", "demo"], "target": {"epochs": {"tiny": 99, "demo": 6}, "lr": 1e-3}}}
LEFT, RIGHT = (f'style="text-align:{side}"' for side in ("left", "right"))
TABLE = "# Table II: defenses\n\n| Defense | Accuracy |\n| :--- | ---: |\n| Unprotected | 77.5 |\n"


class Checked(HTMLParser):
    """Complains about tags that are not closed in order, and collects addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def params(repository) -> Params:
    """Two tables and a figure, built; two cells."""
    repository.rows = {"report": ["table2", "figure3", "claims"]}
    for name, text in (("table2", TABLE), ("claims", "# The paper's claims\n"), ("criterion", "# The criterion\n")):
        repository.paths.table(name, "md").parent.mkdir(parents=True, exist_ok=True)
        repository.paths.table(name, "md").write_text(text)
    for name in ("figure3", "criterion"):
        repository.paths.figure(name, "png").parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9)).save(repository.paths.figure(name, "png"))
    for cell, python in (("cnn/unprotected", "3.11.9"), ("cnn/ae", "3.12.1")):
        repository.set(cell, "provenance target", python=python, versions=json.dumps({"torch": "2.9"}))
    repository.params()
    sections = {"loss": {"alpha_kl": 3.5, "empty": {}}, "criterion": {"resamples": 100}}
    return Params({"scale": "demo", "seed": 7, "rows": repository.rows, **sections, **SETTINGS})


def report(params: Params, own) -> str:
    path = write_report(
        params, own.paths, ("table2", "table5", "claims", "criterion"), ("figure2", "figure3", "criterion")
    )
    assert path == own.paths.table("report", "html")
    return path.read_text()


def test_the_page_is_well_formed_and_loads_nothing(params, repository):
    text = report(params, repository)
    page = Checked(text)
    assert page.open == []
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert all(f'id="{link[1:]}"' in text for link in page.links if link.startswith("#"))
    (code,) = re.findall(r"base64,([^\"]+)\"", text)
    assert base64.b64decode(code) == repository.paths.figure("figure3", "png").read_bytes()
    assert str(repository.paths.root) not in text


def test_it_has_tables_claims_settings_and_versions_in_order(params, repository):
    text = report(params, repository)
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == ["Table II: defenses", "Figure 3", "The paper's claims", "Settings", "Versions"]
    assert f"<td {LEFT}>Unprotected</td>\n<td {RIGHT}>77.5</td>" in text
    assert "<summary>scale demo</summary>" in text
    assert "target:\n  epochs: 6\n  lr: 0.001</pre>" in text
    assert "alpha_kl: 3.5\nempty: {}" in text
    assert "epochs: 99" not in text
    assert "tiny" not in text
    assert params.read == {"scales", "seed", "loss", "criterion", "rows.report"}


def test_versions_count_the_results_that_have_them(params, repository):
    text = report(params, repository)
    for what, value, count in (
        *(("Python", "3.11.9", 1), ("Python", "3.12.1", 1), ("torch", "2.9", 2)),
        *(("device", DEVICE, 4 * 4 + 4 + 3), ("seed", "0", 4 * 4 + 4 + 3)),  # stages of cells, latencies, data sets
    ):
        assert f"<td {LEFT}>{what}</td>\n<td {LEFT}>{value}</td>\n<td {RIGHT}>{count}</td>" in text


def test_a_table_and_a_figure_of_one_name_are_both_shown(params, repository):
    repository.rows["report"] = ["criterion", "claims"]
    text = report(params, repository)
    assert re.findall(r'<section id="(\w+)">', text)[:3] == ["criterion", "criterion_figure", "claims"]
    assert "<h2>Figure: criterion</h2>" in text
    assert "<summary>criterion</summary><pre>resamples: 100" in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("table9", r"rows\.report: 'table9' is no table or figure; known here: table2, table5, claims"),
        ("table5", r"'table5' has no .*table5\.md; stage build_table@table5"),
        ("figure2", r"'figure2' has no .*figure2\.png; stage build_figure@figure2"),
        ("figure3", r"rows\.report: the page has 4,\d+,\d+ bytes, 3,000,000 is the most"),
    ],
)
def test_what_is_missing_or_too_large_is_named(params, repository, name, message):
    repository.rows["report"] = [name]
    repository.paths.figure("figure3", "png").write_bytes(bytes(3_000_000))
    with pytest.raises(ParamsError, match=message):
        report(params, repository)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a < b & c", "a &lt; b &amp; c"),
        ("n/a<sup>2</sup>", "n/a<sup>2</sup>"),
        ("<script>", "&lt;script&gt;"),
        ("**Scale** of `z` *Floor: gray*", "<strong>Scale</strong> of <code>z</code> <em>Floor: gray</em>"),
        ("2 * 3 * 4", "2 * 3 * 4"),
    ],
)
def test_inline_forms(text, html):
    assert converted(text) == f"<p>{html}</p>\n"


@pytest.mark.parametrize(
    ("title", "markdown"),
    [
        ("BiDO, normalized HSIC (a_b) [2] ± 1 & co: 3 × 4.", None),  # as it is
        ("a|b", r"a\|b"), ("a\\|b", r"a\\\|b"), ("`x` *y* _z_ a_b", r"\`x\` \*y\* \_z\_ a_b"),
        ("<script>alert(1)</script>", r"\<script>alert(1)\</script>"), ("[a](b)", r"[a\](b)"), ("a\n b\r\nc", "a b c"),
        ("$5 ~ $6", r"\$5 \~ \$6"), ("&lt;b&#62;", r"\&lt;b\&#62;"), ("日本", None),
    ],
)  # fmt: skip
def test_a_users_words_are_shown_as_they_are(title, markdown):
    assert words(title) == (title if markdown is None else markdown)
    shown = escape(" ".join(title.split()), quote=False)
    assert converted(words(title)) == f"<p>{shown}</p>\n"
    html = converted("\n".join(grid(["x", "y"], [[words(title), "1"]])))
    assert f"<td {LEFT}>{shown}</td>\n<td {RIGHT}>1</td>" in html


def test_blocks():
    html = converted("# T\n\n## U\n\ntext\n\n- a\n- b\n\n| x | y |\n| :--- | ---: |\n| 1 |  |\n")
    assert re.sub(r"\n|>\s+(?=<)", lambda found: found[0].strip(), html) == (
        "<h2>T</h2><h3>U</h3><p>text</p><ul><li>a</li><li>b</li></ul>"
        f'<div class="wide"><table><thead><tr><th {LEFT}>x</th><th {RIGHT}>y</th></tr></thead>'
        f"<tbody><tr><td {LEFT}>1</td><td {RIGHT}></td></tr></tbody></table></div>"
    )
