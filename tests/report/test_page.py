"""The report: one page that holds all it shows, built from tables and figures that exist."""

import base64
import re
from html.parser import HTMLParser

import pytest

from splitprobe.artifacts import write_json
from splitprobe.params import Params, ParamsError
from splitprobe.report.figures import build_figure
from splitprobe.report.hypertext import converted, inline
from splitprobe.report.tables import build_table

SETTINGS = {"scales": {"demo": {"target": {"epochs": 6, "lr": 1e-3}}, "small": {"target": {"epochs": 99}}}}


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
def params(whole) -> Params:
    """Two tables and a figure, built."""
    whole.rows["report"] = ["table2", "figure3", "claims"]
    made = Params({"scale": "demo", "seed": 7, "loss": {"alpha_kl": 3.5, "empty": {}}, "rows": whole.rows, **SETTINGS})
    build_table("table2", made, whole.paths)
    build_table("claims", made, whole.paths)
    build_figure("figure3", made, whole.paths)
    made.read.clear()
    return made


def report(params, whole) -> str:
    path = build_table("report", params, whole.paths)
    assert path == whole.paths.table("report", "html")
    return path.read_text()


def test_the_page_is_well_formed_and_loads_nothing(params, whole):
    text = report(params, whole)
    page = Checked(text)
    assert page.open == []
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert all(f'id="{link[1:]}"' in text for link in page.links if link.startswith("#"))
    (code,) = re.findall(r"base64,([^\"]+)\"", text)
    assert base64.b64decode(code) == whole.paths.figure("figure3", "png").read_bytes()
    assert len(text) < 5_000_000
    assert str(whole.paths.root) not in text


def test_it_has_tables_claims_settings_and_versions_in_order(params, whole):
    text = report(params, whole)
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        *("Table II: defenses against model inversion", "Figure 3", "The paper's claims", "Settings", "Versions"),
    ]
    assert '<td class="left">Unprotected</td><td class="left">black-box</td><td>77.5</td>' in text
    assert "<summary>scales.demo</summary><pre>target:\n  epochs: 6\n  lr: 0.001</pre>" in text
    assert "alpha_kl: 3.5\nempty: {}" in text
    assert "epochs: 99" not in text
    assert '<td class="left">Python</td><td class="left">3.11.9</td>' in text
    assert params.read == {
        *("scales.demo", "seed", "loss", "rows.report", "rows.table2", "rows.figure3", "rows.claims"),
    }


def test_a_table_and_a_figure_of_one_name_are_both_shown(params, whole):
    whole.rows["report"] = ["criterion", "claims"]
    params.tree["criterion"] = {"resamples": 100, "level": 0.9, "seed": 1, "least": 8}
    build_table("criterion", params, whole.paths)
    build_figure("criterion", params, whole.paths)
    text = report(params, whole)
    assert re.findall(r'<section id="(\w+)">', text)[:3] == ["criterion", "criterion_figure", "claims"]
    assert "<h2>Figure: criterion</h2>" in text
    assert "<summary>criterion</summary><pre>resamples: 100" in text


def test_times_appear_once_there_are_any(params, whole):
    assert "<h2>Times</h2>" not in report(params, whole)
    write_json(whole.paths.seconds("cnn/vib", "target"), {"seconds": 61.26})
    write_json(whole.paths.seconds("cnn/vib", "mle"), {"seconds": 1000})
    text = report(params, whole)
    assert '<td class="left">cnn/vib</td><td>61.3</td><td>1,000.0</td><td>1,061.3</td>' in text
    assert '<td class="left"><strong>all</strong></td><td>61.3</td><td>1,000.0</td><td>1,061.3</td>' in text


def test_what_is_missing_is_named(params, whole):
    whole.rows["report"] = ["table9"]
    with pytest.raises(ParamsError, match=r"rows\.report: 'table9' is no table or figure; known here: table1, table2"):
        report(params, whole)
    whole.rows["report"] = ["table5"]
    with pytest.raises(ParamsError, match=r"'table5' has no .*table5\.md; stage build_table@table5"):
        report(params, whole)
    whole.rows["report"] = ["leaderboard"]
    with pytest.raises(ParamsError, match=r"'leaderboard' has no .*leaderboard\.md; stage build_leaderboard builds it"):
        report(params, whole)
    whole.rows["report"] = ["figure2"]
    with pytest.raises(ParamsError, match=r"'figure2' has no .*figure2\.png; stage build_figure@figure2"):
        report(params, whole)
    whole.rows["report"] = ["figure3"]
    whole.paths.figure("figure3", "png").write_bytes(bytes(4_000_000))
    with pytest.raises(ParamsError, match=r"rows\.report: the page has 5,\d+,\d+ bytes, 5,000,000 is the most"):
        report(params, whole)


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
    assert inline(text) == html


def test_blocks():
    html = converted("# T\n\n## U\n\ntext\n\n- a\n- b\n\n| x | y |\n| :--- | ---: |\n| 1 |  |\n", 2)
    assert html.splitlines() == [
        "<h2>T</h2>",
        "<h3>U</h3>",
        "<p>text</p>",
        "<ul><li>a</li><li>b</li></ul>",
        '<div class="wide"><table><thead><tr><th class="left">x</th><th>y</th></tr></thead>',
        "<tbody>",
        '<tr><td class="left">1</td><td></td></tr>',
        "</tbody></table></div>",
    ]
