"""Rows of params.yaml, the results behind them, and what is said when they are not there."""

import shutil

import numpy as np
import pytest

from splitprobe.params import ParamsError
from splitprobe.report import results
from splitprobe.report.figures import build_figure
from splitprobe.report.markdown import Notes, beside, grid, number
from splitprobe.report.tables import build_table


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("cnn/ae", r"rows\.table2 = 'cnn/ae': a list"),
        ([], r"rows\.table2 = \[\]: a list"),
        (None, r"rows\.table2 = None: a list"),
        ([3], r"rows\.table2: 3 is no row"),
        (["../../etc"], r"rows\.table2: '\.\./\.\./etc' is no row"),
        (["cnn/ae", "cnn/ae"], r"rows\.table2: 'cnn/ae' is listed twice"),
    ],
)
def test_rows_must_be_a_list_of_distinct_names(repository, value, message):
    repository.rows["table2"] = value
    with pytest.raises(ParamsError, match=message):
        build_table("table2", repository.params(), repository.paths)


def test_missing_rows_key_is_named(repository):
    del repository.rows["latency"]
    with pytest.raises(ParamsError, match=r"rows\.latency: missing"):
        build_table("latency", repository.params(), repository.paths)


@pytest.mark.parametrize(
    ("stage", "script"),
    [
        ("target", "probe_target"),
        ("information", "probe_target"),
        ("generator", "probe_target"),
        ("mle", "probe_target"),
    ],
)
def test_a_row_without_results_names_the_stage_that_builds_it(repository, stage, script):
    repository.paths.result("cnn/ae", f"{stage}.json").unlink()
    with pytest.raises(ParamsError, match=rf"rows\.table2: 'cnn/ae' has no .*{stage}\.json; stage {script}@cnn/ae"):
        build_table("table2", repository.params(), repository.paths)


def test_an_unknown_row_and_an_unbuilt_dataset_are_refused(repository):
    repository.rows["table2"] = ["cnn/unprotected", "cnn/nobody"]
    with pytest.raises(ParamsError, match=r"rows\.table2: 'cnn/nobody' .* provided that dvc\.yaml lists cnn/nobody"):
        build_table("table2", repository.params(), repository.paths)
    repository.rows["table1"] = ["landscapes"]
    with pytest.raises(ParamsError, match=r"rows\.table1: 'landscapes' .* stage prepare@landscapes"):
        build_table("table1", repository.params(), repository.paths)
    repository.paths.cost("cnn/ae").unlink()
    with pytest.raises(ParamsError, match=r"rows\.latency: 'cnn/ae' .* stage measure_cost@cnn/ae"):
        build_table("latency", repository.params(), repository.paths)


def empty(repository, cell):
    """As the stages leave a cell whose group has no seed."""
    folder = repository.paths.data / "results" / cell
    shutil.rmtree(folder)
    folder.mkdir()


def test_a_group_without_a_seed_is_left_out(repository):
    empty(repository, "cnn/ae")
    found = results.collect(repository.params(), repository.paths, "table2", ("target",))
    assert "cnn/ae" not in [r.cell for r in found]
    assert len(found) == len(repository.rows["table2"]) - 1
    page = build_table("table2", repository.params(), repository.paths).read_text()
    assert page.endswith("\nLeft out at this scale, which has no seed for them: cnn/ae.\n")
    assert not repository.paths.table("table2").joinpath("cnn/ae.json").exists()


def test_tables_and_figures_of_such_groups_alone_say_so(repository):
    repository.rows |= {"table2": ["cnn/ae"], "figure4": ["cnn/ae"]}
    empty(repository, "cnn/ae")
    page = build_table("table2", repository.params(), repository.paths).read_text()
    assert page.startswith("# table2 is left out at scale demo: its rows have no seed there\n")
    assert list(repository.paths.table("table2").rglob("*.json")) == []
    build_figure("figure4", repository.params(), repository.paths)
    assert repository.paths.figure("figure4", "png").stat().st_size > 1000


def test_only_the_own_rows_are_read_from_params(repository):
    params = repository.params()
    build_table("table2", params, repository.paths)
    assert params.read == {"rows.table2"}


def test_images_and_curves_of_a_cell(repository):
    (cell,) = results.collect(repository.params(), repository.paths, "table2", ("target",))[2:3]
    assert cell.cell == "cnn/ae"
    assert sorted(cell.images("generator")) == ["black_box", "gray_box", "x"]
    assert cell.curve("information").name == "mine.csv"
    cell.curve("mle").unlink()
    with pytest.raises(ParamsError, match="stage probe_target@cnn/ae"):
        cell.curve("mle")


def test_equal_titles_are_told_apart(repository):
    repository.edit("cnn/gaussian_noise", "target", lambda record: record.update(title="Autoencoder"))
    found = results.collect(repository.params(), repository.paths, "table2", ("target",))
    assert results.labels(found)["cnn/unprotected"] == "Unprotected"
    assert results.labels(found)["cnn/gaussian_noise"] == "Autoencoder (cnn/gaussian_noise)"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([3200, 3200], "3,200"),
        ([8, 12, 10], "8 to 12"),
        ([1e-3, 0.1], "0.001 to 0.1"),
        (["a", "b", "a"], "a / b"),
        ([], ""),
    ],
)
def test_distinct_values_for_a_caption(values, text):
    assert results.distinct(values) == text


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
    ],
)
def test_number_for_readers(value, decimals, text):
    assert number(value, decimals) == text


def test_notes_number_each_reason_once():
    notes = Notes()
    record = {"a": None, "a_reason": "diverged", "b": None, "b_reason": "diverged", "c": None, "d": 2.0}
    assert [notes.value(record, key, 1) for key in "abcd"] == [
        "n/a<sup>1</sup>",
        "n/a<sup>1</sup>",
        "n/a<sup>2</sup>",
        "2.0",
    ]
    assert notes.lines() == ["<sup>1</sup> diverged", "", "<sup>2</sup> no reason was recorded", ""]


def test_grid_and_beside():
    assert beside("1.5", None, 2) == "1.5 (–)"
    assert beside("1.5", 0.0164, 4) == "1.5 (0.0164)"
    assert grid(["a", "b"], [["x", "1"]]) == ["| a | b |", "| :--- | ---: |", "| x | 1 |"]
