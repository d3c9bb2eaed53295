"""Rows of params.yaml, the numbers behind them, and the pieces of which pages consist."""

import numpy as np
import pytest

from splitprobe.core.params import ParamsError
from splitprobe.report.markdown import Notes, distinct, grid, marked, number, origin, signed
from splitprobe.report.numbers import LeftOut, Number, left_out, open_numbers, rows
from splitprobe.report.tables import build_table


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"cnn": 1}, r"rows\.table2 = .*: a list"),
        ([], r"rows\.table2 = \[\]: a list"),
        ("", r"rows\.table2 = '': a list"),
        (None, r"rows\.table2 = None: a list"),
        ([3], r"rows\.table2: 3 is no row"),
        (["../../etc"], r"rows\.table2: '\.\./\.\./etc' is no row"),
        ("cnn/ae cnn/ae", r"rows\.table2: 'cnn/ae' is listed twice"),
    ],
)
def test_rows_must_be_distinct_names(repository, value, message):
    repository.rows["table2"] = value
    with pytest.raises(ParamsError, match=message):
        build_table("table2", repository.params(), repository.paths)


def test_rows_are_a_list_or_a_text_and_only_the_own_ones_are_read(repository):
    repository.rows["table2"] = "cnn/ae\n cnn/siftfunnel"
    params = repository.params()
    assert rows(params, "table2") == ["cnn/ae", "cnn/siftfunnel"]
    assert params.read == {"rows.table2"}
    del repository.rows["latency"]
    with pytest.raises(ParamsError, match=r"rows\.latency: missing"):
        build_table("latency", repository.params(), repository.paths)


def test_an_unknown_row_and_an_unprepared_data_set_are_refused(repository):
    repository.rows |= {"table2": ["cnn/unprotected", "cnn/nobody"], "table1": ["landscapes"]}
    with pytest.raises(ParamsError, match=r"rows\.table2: 'cnn/nobody' .* collect_numbers@cnn .* lists cnn/nobody"):
        build_table("table2", repository.params(), repository.paths)
    with pytest.raises(ParamsError, match=r"rows\.table1: 'landscapes' .* stage prepare@landscapes"):
        build_table("table1", repository.params(), repository.paths)
    repository.rows["table2"] = ["vgg16/ae"]
    with pytest.raises(FileNotFoundError, match=r"vgg16\.csv is missing: stage collect_numbers@vgg16"):
        build_table("table2", repository.params(), repository.paths)


def test_a_row_that_says_so_is_left_out(repository):
    repository.values["budget"] = {("budget/ae", -1, "cell", "left_out"): (1, "", "")}
    repository.rows["table2"] += ["budget/ae"]
    params, paths = repository.params(), repository.paths
    assert open_numbers(params, paths, "table2").cells == repository.rows["table2"][:-1]
    assert left_out(params, paths, "table2") == ["budget/ae"]
    page = build_table("table2", params, paths).read_text()
    assert page.endswith("\nLeft out at this scale: budget/ae.\n")
    assert not (paths.table("table2") / "budget").exists()
    repository.rows["table2"] = ["budget/ae"]
    with pytest.raises(LeftOut):
        repository.numbers("table2")
    page = build_table("table2", params, paths).read_text()
    assert page.startswith("# table2 is left out at scale demo: it does without its rows\n")
    assert [file.name for file in paths.table("table2").rglob("*.json")] == ["none.json"]


def test_names_in_captions(repository):
    repository.set("cnn/gaussian_noise", "target", title="Autoencoder")
    repository.reseed("cnn/ae", 0, 1)
    names = marked(repository.numbers("table2"))
    assert names["cnn/unprotected"] == "Unprotected [1]"
    assert names["cnn/gaussian_noise"] == "Autoencoder (cnn/gaussian_noise) [1]"
    assert names["cnn/ae"] == "Autoencoder (cnn/ae)"


def test_seeds_and_devices_in_captions(thrice):
    assert origin(thrice.numbers("table2")) == (
        "Seeds 1, 2, 3: mean ± standard deviation over 3 seeds; CPU, 2 threads, float32"
    )
    thrice.reseed("cnn/ae", 1)
    text = origin(thrice.numbers("table2"), "images", spreads=False)
    assert text == "Seeds 1, 2, 3: means; 1 of 4 rows have fewer seeds; images of seed 1; CPU, 2 threads, float32"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([3200, 3200.0], "3,200"),
        ([8.0, 12.0, 10.0], "8 to 12"),
        ([1e-3, 0.1], "0.001 to 0.1"),
        (["a", "b", "a"], "a / b"),
        ([], ""),
    ],
)
def test_distinct_values_for_a_caption(values, text):
    assert distinct(values) == text


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (24.3149, 2, "24.31"),
        (299520, 4, "299,520"),
        (1877.4, 0, "1,877"),
        (1.74e-5, 4, "1.7e-05"),
        (0.0, 3, "0.000"),
        (-3.21, 1, "-3.2"),
        (np.float64(0.5), 2, "0.50"),
        (Number(3.0, 2.645, 3), 2, "3.00 ± 2.65"),
        (Number(3.0, 0.0004, 3), 2, "3.00 ± 0.0004"),
        (Number(3.0, None, 3), 1, "3.0"),
    ],
)
def test_number_for_readers(value, decimals, text):
    assert number(value, decimals) == text


def test_changes_have_a_sign():
    assert signed(Number(-1.5, 0.707, 2), 1) == "-1.5 ± 0.7"
    assert signed(Number(0.5), 1) == "+0.5"
    assert signed(Number(-0.01), 1) == "0.0"


def test_notes_number_each_reason_once():
    notes = Notes()
    values = [Number(None, reason="diverged"), Number(None, reason="diverged"), Number(None), Number(2.0)]
    assert [notes.value(value, 1) for value in values] == [*["n/a<sup>1</sup>"] * 2, "n/a<sup>2</sup>", "2.0"]
    assert notes.table(["x"], [])[3:] == ["<sup>1</sup> diverged", "", "<sup>2</sup> no reason was recorded", ""]


def test_grid():
    assert grid(["a", "b"], [["x", "1"]]) == ["| a | b |", "| :--- | ---: |", "| x | 1 |"]
