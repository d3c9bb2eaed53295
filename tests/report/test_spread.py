"""Several seeds: means, spreads and counts in every entry, and what must be computed seed by seed."""

import json
import math
import shutil

import pytest

from splitprobe.artifacts import read_csv, write_json
from splitprobe.report import tradeoff
from splitprobe.report.criterion_values import gains
from splitprobe.report.fano import identification
from splitprobe.report.markdown import number, signed
from splitprobe.report.results import collect, origin
from splitprobe.report.scores import accuracy, gain, strongest
from splitprobe.report.spread import Mean, mean, merged
from splitprobe.report.style import styled
from splitprobe.report.table import flat, small
from splitprobe.report.tables import build_table

STAGES = ("target", "information", "generator", "mle")


def test_a_mean_knows_its_spread():
    value = mean([1.0, 2.0, 6.0])
    assert (value, value.n) == (3.0, 3)
    assert value.sd == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert json.dumps({"v": value}) == '{"v": 3.0}'
    assert number(value, 2) == "3.00 ± 2.65 [3]"
    assert signed(mean([-1.0, -2.0]), 1) == "-1.5 ± 0.7 [2]"
    assert signed(0.5, 1) == "+0.5"


def test_what_all_seeds_agree_on_has_no_spread():
    assert mean([3, 3]) == 3
    assert type(mean([3, 3])) is int
    assert mean([None, 2.0]) is None


def test_records_are_merged_leaf_by_leaf():
    records = [
        {"a": 1.0, "b": {"failed": False, "lr": 0.1}, "t": "x", "l": [1], "n": 4},
        {"a": 2.0, "b": {"failed": True, "lr": 0.1}, "t": "x", "l": [2], "n": 4},
    ]
    whole = merged(records)
    assert whole == {"a": 1.5, "b": {"failed": True, "lr": 0.1}, "t": "x", "l": [1], "n": 4}
    assert isinstance(whole["a"], Mean)
    assert merged(records[:1]) is records[0]


def test_a_seed_that_diverged_is_not_hidden_by_those_that_did_not():
    records = [{"diverged_epoch": epoch, "lr": 1.0} for epoch in (None, 5, None, 3)]
    assert merged(records) == {"diverged_epoch": 3, "lr": 1.0}
    assert merged(records[::2])["diverged_epoch"] is None


def test_an_absent_value_of_one_seed_is_absent_with_its_reason():
    assert merged([{"v": 1.0}, {"v": None, "v_reason": "diverged"}]) == {"v": None, "v_reason": "diverged"}
    assert merged([{"cpu": {"ms": 1.0}}, {"cpu": {"ms": 3.0}}])["cpu"]["ms"] == 2.0
    assert merged([{"cuda": None, "cuda_reason": "none here"}] * 2)["cuda"] is None


def test_flat_records_carry_spread_and_count():
    row = {"psnr_db": mean([10.0, 12.0]), "images": 8}
    assert flat("x_", row) == {"x_psnr_db": 11.0, "x_psnr_db_sd": math.sqrt(2), "x_psnr_db_n": 2, "x_images": 8}
    assert small(row)["psnr_db_sd"] == pytest.approx(1.41421)


@pytest.fixture
def repeated(repository):
    """The four cells with seeds 0, 1 and 2; unprotected lacks seed 2."""
    for seed in (1, 2):
        for cell in ("unprotected", "gaussian_noise", "ae", "siftfunnel"):
            if (cell, seed) == ("unprotected", 2):
                continue
            source = repository.paths.result(f"cnn/{cell}", "x").parent
            shutil.copytree(source, source.parent / str(seed))
            for file in (source.parent / str(seed)).glob("*.json"):
                record = json.loads(file.read_text())
                record["provenance"]["seed"] = seed
                write_json(file, record)
    return repository


def edit(repository, cell, seed, stage, change):
    file = repository.paths.seeded(seed).result(cell, f"{stage}.json")
    record = json.loads(file.read_text())
    change(record)
    write_json(file, record)


def by_row(repository):
    found = collect(repository.params(), repository.paths, "table2", STAGES)
    return found, {r.row: r for r in found}


def test_the_strongest_attack_is_that_of_each_seed(repeated):
    """The maximum of the means would be another number: different attacks win on different seeds."""
    edit(repeated, "cnn/siftfunnel", 1, "generator", lambda r: r["decoders"]["black_box"].update(psnr_db=15.0))
    edit(repeated, "cnn/siftfunnel", 2, "mle", lambda r: r["variants"]["tuned"].update(psnr_db=18.0))
    _, rows = by_row(repeated)
    assert strongest(rows["siftfunnel"]) == pytest.approx((12.9 + 15.0 + 18.0) / 3)
    assert strongest(rows["siftfunnel"]).n == 3
    assert gain(rows["siftfunnel"]) == pytest.approx((12.9 + 15.0 + 18.0) / 3 - 12.2)
    assert strongest(rows["ae"]) == 20.9


def test_the_criterion_takes_the_same_attacks_and_fano_each_seeds_own(repeated):
    edit(repeated, "cnn/siftfunnel", 1, "generator", lambda r: r["decoders"]["black_box"].update(psnr_db=15.0))
    edit(repeated, "cnn/siftfunnel", 2, "mle", lambda r: r["variants"]["tuned"].update(psnr_db=18.0, identified=0.9))
    _, rows = by_row(repeated)
    (found,) = gains([rows["siftfunnel"]], "strongest")
    assert found == pytest.approx(gain(rows["siftfunnel"]))
    each = [identification(run) for run in rows["siftfunnel"].seeds]
    assert [one.access for one in each] == ["gray-box", "black-box", "white-box"]
    whole = identification(rows["siftfunnel"])
    assert whole.error == pytest.approx(sum(one.error for one in each) / 3)
    assert whole.access == "gray-box / black-box / white-box"
    assert whole.bounds["infonce"] == pytest.approx(sum(one.bounds["infonce"] for one in each) / 3)


def test_accuracy_is_compared_seed_by_seed(repeated):
    edit(repeated, "cnn/unprotected", 1, "target", lambda r: r.update(accuracy=0.8))
    edit(repeated, "cnn/siftfunnel", 1, "target", lambda r: r.update(accuracy=0.7))
    found, rows = by_row(repeated)
    record = accuracy(found, rows["siftfunnel"])
    assert record["accuracy_percent"] == pytest.approx((74.1 + 70.0 + 74.1) / 3)
    # seed 2 has no unprotected run: it is compared with the mean of the others
    mean_of_two = (77.5 + 80.0) / 2
    assert record["accuracy_change_points"] == pytest.approx(((74.1 - 77.5) + (70 - 80) + (74.1 - mean_of_two)) / 3)
    assert rows["unprotected"].seeds[1]["target"]["accuracy"] == 0.8


def test_tables_print_mean_spread_and_count(repeated):
    edit(repeated, "cnn/siftfunnel", 1, "generator", lambda r: r["decoders"]["gray_box"].update(psnr_db=13.9))
    page = build_table("table2", repeated.params(), repeated.paths).read_text()
    assert "13.23 ± 0.58 [3]" in page
    assert "Seeds 0, 1, 2: mean ± standard deviation [number of seeds]" in page
    row = json.loads((repeated.paths.table("table2") / "cnn/siftfunnel.json").read_text())
    assert row["generator_gray_box_psnr_db_sd"] == pytest.approx(0.57735, rel=1e-5)
    assert row["generator_gray_box_psnr_db_n"] == 3
    lines = read_csv(repeated.paths.table("table2", "csv"))
    funnel = next(line for line in lines if line["row"] == "cnn/siftfunnel" and line["decoder"] == "gray_box")
    assert funnel["seeds"] == "0 1 2"
    assert float(funnel["generator_psnr_db_n"]) == 3


def test_one_seed_is_printed_as_before(repository):
    found, rows = by_row(repository)
    assert rows["ae"].seeds == (rows["ae"],)
    assert origin(found).startswith("Seed 0; ")
    assert "[" not in build_table("table2", repository.params(), repository.paths).read_text().split("## Notes")[0]


def test_the_tradeoff_draws_the_spread_of_both_axes(repeated):
    for seed, accuracy_share in ((0, 0.60), (1, 0.70), (2, 0.80)):
        edit(repeated, "cnn/siftfunnel", seed, "target", lambda r, a=accuracy_share: r.update(accuracy=a))
    for seed, decibels in ((0, 20.0), (1, 22.0), (2, 24.0)):
        edit(repeated, "cnn/siftfunnel", seed, "mle", lambda r, p=decibels: r["variants"]["tuned"].update(psnr_db=p))
    with styled():
        (axes,) = tradeoff.draw(repeated.params(), repeated.paths).axes
    ends = sorted(tuple(map(tuple, part.get_segments()[0].round(6))) for bars in axes.containers for part in bars[2])
    assert ends == [((60.0, 22.0), (80.0, 22.0)), ((70.0, 20.0), (70.0, 24.0))], "of one row alone: the others agree"
