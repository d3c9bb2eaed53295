"""Tables I to VI and the latencies: every number where it belongs, in page, CSV and JSON."""

import json
import os
import re
import subprocess
import sys
from itertools import takewhile

import pytest
from fabricated import FLOOR, GRID, Repository, scores

from splitprobe.core.artifacts import read_csv, read_json
from splitprobe.report.numbers import Number
from splitprobe.report.tables import build_table, plain, small

BLANK = [""] * 4


def build(repository: Repository, name: str) -> tuple[str, list[dict], dict[str, dict]]:
    """Page, CSV lines and rows of a table."""
    build_table(name, repository.params(), repository.paths)
    folder = repository.paths.table(name)
    rows = {str(f.relative_to(folder).with_suffix("")): read_json(f) for f in sorted(folder.rglob("*.json"))}
    return repository.paths.table(name, "md").read_text(), read_csv(repository.paths.table(name, "csv")), rows


def block(page: str, title: str) -> list[list[str]]:
    """The entries of the first table after a heading, header and rule included."""
    text = page[page.index("\n|", page.index(title)) + 1 :]
    lines = takewhile(lambda line: line.startswith("|"), text.splitlines())
    table = [[entry.strip() for entry in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in table}) == 1, "ragged table"
    return table


def test_table2_attacks_block(repository):
    page, _, _ = build(repository, "table2")
    table = block(page, "## Accuracy and attacks")
    # the paper's order: MLE before the decoders
    assert table[2] == [
        *("Unprotected", "black-box", "77.5", "–", "6.40†", "22.20", "24.31", "0.772", "0.0037", "24.31", "12.11"),
    ]
    assert table[3][4:6] == ["6.10†", "14.80"]
    assert table[3][-2:] == ["22.90", "10.70"]  # the strongest is the decoder with several queries
    assert table[4] == ["", "black-box, 16 queries", *BLANK, "22.90", "0.716", "0.0051", "", ""]
    assert table[5][:4] == ["Autoencoder", "black-box", "78.1", "+0.6"]
    assert table[5][4:] == ["6.30†", "15.90", "17.20", "0.488", "0.0191", "20.90", "8.70"]
    assert table[6] == ["", "gray-box", *BLANK, "20.90", "0.636", "0.0081", "", ""]
    assert table[7][:8] == ["SiftFunnel", "black-box", "74.1", "-3.4", "6.20†", "11.00†", "11.70†", "0.268†"]
    floors = ["*Floor: constant gray*", "*Floor: mean auxiliary image*", "*Floor: own mean color*"]
    assert [line[0] for line in table[9:]] == floors
    assert table[10][4:] == ["12.20", "12.20", "12.20", "0.288", "0.0603", "", ""]
    assert "a failed attack, not privacy" in page


def test_table2_caption_and_notes_state_what_was_measured(repository):
    page, _, _ = build(repository, "table2")
    for words in (
        "Scale demo: photo of origin, 32 × 32 color, 8 classes, 3,200 training, 400 validation, 800 test and 1,600 aux",
        "the first 800 test images by the generator, the first 64 by MLE",
        "12 epochs (schedule: cosine); decoders: 30 epochs; MLE steps: 500 (paper's settings), 500 (tuned). Seed 0; ",
        "- Black-box, 16 queries: a decoder fitted on, and given, 16 releases of the same image as one",
        "scores are means over 3 releases of each image",
        "- No defense was tuned by attack results: each runs at the value its own paper or the paper's code gives",
        "learning rate 0.05, weight of total variation 0.1; chosen for each row and seed in 6 trials of 100 steps on 8",
        "it cannot exceed 0.9867 nats",
        "no cap is stated: the critic is unbounded",
        "**Data and scale differ**",
        "summed over the color channels",
    ):
        assert words in page


def test_a_table_says_which_rows_have_a_training_of_their_own_and_how_rates_were_found(repository):
    values, cells = repository.values["cnn"], ("cnn/unprotected", "cnn/ae", "cnn/siftfunnel")
    trained = {"weight_decay": 0.0, "warmup": 0.05, "select_after": 0, "trial_epochs": 4, "candidates": "[0.1, 0.2]"}
    for cell in cells:
        own = trained | {"lr": 0.2 if cell == "cnn/ae" else 0.1}
        if cell == "cnn/siftfunnel":
            own |= {"epochs": 300, "weight_decay": 1e-3, "candidates": "[0.1]", "trial_epochs": 0}
        for quantity, value in own.items():
            text = isinstance(value, str)
            values[cell, 0, "training", quantity] = (None, value, "") if text else (value, "", "")
    page, _, _ = build(repository, "table2")
    assert (
        "All others are trained with the same epochs, optimizer, choice of the learning rate (among 0.1, 0.2, that of "
        "the best validation accuracy in a trial of 4 epochs each: 0.1: Unprotected; 0.2: Autoencoder) and data."
    ) in page
    assert (
        "**SiftFunnel has a training of its own: epochs 300, not 12; weight decay 0.001, not 0; learning rates tried "
        "0.1, not 0.1, 0.2.**"
    ) in page
    assert page.count("has a training of its own") == 1


@pytest.mark.parametrize("how", ["chance", "dead", "dead in training"])
def test_a_row_that_has_stopped_working_is_marked_in_tables_and_captions(repository, how):
    if how == "chance":
        repository.set("cnn/siftfunnel", "target", accuracy=0.2)
    else:
        item = "effective" if how == "dead" else "training"
        repository.values["cnn"]["cnn/siftfunnel", 0, item, "dead_channels"] = (64.0, "", "")
    for name in ("table2", "latency", "leaderboard"):
        page, _, _ = build(repository, name)
        assert "§ cnn/siftfunnel: the network is at chance or its z is dead, so that what leaks there says" in page
        assert "| SiftFunnel§ |" in page
        assert "| SiftFunnel |" not in page
        assert "Unprotected§" not in page


def test_one_seed_of_several_that_collapsed_marks_the_row(repository):
    repository.cell("cnn/unprotected", GRID["unprotected"], seeds=(1, 2))
    repository.cell("cnn/ae", GRID["ae"], seeds=(1, 2))
    values = repository.values["cnn"]
    values["cnn/ae", 2, "target", "accuracy"] = (0.125, "", "")
    numbers = repository.numbers("table2")
    assert [numbers.at_chance(cell) for cell in ("cnn/unprotected", "cnn/ae")] == [False, True]
    values["cnn/unprotected", 1, "target", "accuracy"] = (0.12, "", "")  # 8 classes
    assert repository.numbers("table2").at_chance("cnn/unprotected")


def test_table2_information_block(repository):
    table = block(build(repository, "table2")[0], "## Information and size")
    assert table[2][:5] == ["Unprotected", "3.410 ± 0.060", "3.069 ± 0.030", "97.240", "0.210 ± 0.004"]
    assert table[2][5:7] == ["12,155", "0.486"]
    assert table[2][7:] == ["1,877 of 4,096 (45.8 %)", "3 of 64", "19,904", "16,384"]
    assert table[5][4] == "0.982 ± 0.004‡"  # within 0.1 nats of the cap of 0.98667


def test_estimates_that_rose_to_the_end_or_say_nothing_are_marked(repository):
    repository.set("cnn/unprotected", "mi calibrated", still_rising=True)
    repository.set("cnn/unprotected", "mi paper", mi_nats=0.004, null_nats=0.001, null_nats_std=0.002)
    page = build(repository, "table2")[0]
    table = block(page, "## Information and size")
    assert [table[2][i] for i in (1, 4)] == ["3.410 ± 0.060↑", "0.004 ± 0.004∅"]
    assert "∅" not in table[2][1] + "".join(table[3])
    assert block(page, "## Beside the paper")[2][13].startswith("0.0040∅ (")
    for mark, text in (("↑", "Still rising when its steps were spent"), ("∅", "Not above what the estimator says of")):
        assert f"\n{mark} {text}" in page
    for text in ("(at most 40 steps): -0.02 nats", "(epochs: 1): -0.001 to 0.001 nats"):
        assert f"Fitted to and read on shuffled pairs {text}" in page
    assert "stops rising on 128 images apart, for at most 200 steps (used: 150), on 1,280 images in batches" in page


def test_table2_shows_what_the_best_attacks_images_still_tell(repository):
    page, _, rows = build(repository, "table2")
    table = block(page, "## What the images still show")
    assert table[2] == ["Unprotected", "black-box decoder", "800", "24.31", "0.772", "0.284", "100.0", "100.0", "95.4"]
    assert table[3] == ["", "MLE (tuned)", "64", "22.20", "0.688", "0.390", "88.8", "95.0", "81.3"]
    assert table[4][:3] == ["Gaussian noise", "black-box decoder, 16 queries", "800"]
    assert [table[12][2], table[13][2]] == ["800", "64"]
    assert table[12][5:] == ["0.890", "26.2", "32.5", "14.7"]  # the mean image: 4.2 / 16, 5.2 / 16 and 2.2 / 15
    assert "of the originals 80.0 % (objects), by chance 12.5 %" in page
    assert "so that it knows this blur; of the originals it knows 85.0 to 85.0 %. Identified" in page
    repository.drop("cnn/ae", "generator black_box", "recognized_adapted")
    repository.drop("cnn/ae", "generator gray_box", "recognized_adapted")
    repository.set("cnn/unprotected", "generator black_box", recognized_adapted=(None, "no labels there"))
    page = build(repository, "table2")[0]
    table = block(page, "## What the images still show")
    assert [line[7] for line in table[2:4]] == ["n/a<sup>1</sup>", "95.0"]
    assert table[6][7] == "n/a<sup>2</sup>"  # a result of before there was such a judge
    assert "<sup>1</sup> no labels there" in page
    assert rows["cnn/unprotected"]["decoder_identified"] == pytest.approx(0.954)


def test_table2_beside_the_paper(repository):
    table = block(build(repository, "table2")[0], "## Beside the paper")
    noise, gray, ours = table[3], table[7], scores(19.65)
    assert noise[:4] == ["Gaussian noise", "black-box", "70.2 (74.85)", "-7.3 (-13.43)"]
    # the paper's MLE beside both of ours
    assert [noise[5], noise[8]] == ["6.00† (20.15)", "14.70 (20.15)"]
    assert noise[10:13] == [f"{ours['mse_paper']:.4f} (0.0172)", "19.55 (22.42)", f"{ours['ssim_paper']:.3f} (0.930)"]
    assert noise[13:] == ["0.1100 (0.0502)", "1,877 (65,535)", "19,904 (299,520)"]
    assert gray[1] == "gray-box"
    assert gray[10].endswith("(0.0639)")
    assert gray[2:10] == [""] * 8
    assert gray[13:] == [""] * 3


def test_table2_row_json_is_small_flat_and_numeric(repository):
    _, _, rows = build(repository, "table2")
    assert list(rows) == sorted(f"cnn/{name}" for name in GRID)
    row = rows["cnn/siftfunnel"]
    head = ["accuracy_percent", "accuracy_change_points", "strongest_psnr_db", "strongest_gain_db"]
    assert list(row)[:4] == head
    assert [row[key] for key in head] == pytest.approx([74.1, -3.4, 12.9, 12.9 - FLOOR])
    assert row["generator_gray_box_psnr_db"] == 12.9
    assert rows["cnn/gaussian_noise"]["generator_repeated_ssim"] == pytest.approx(17.9 / 25)
    assert (row["mle_tuned_psnr_db"], row["failed_attacks"]) == (11, 3)
    assert row["floor_mean_image_psnr_db"] == FLOOR
    assert all(type(value) in (int, float) for value in row.values())
    assert len(row) <= 26
    assert "generator_gray_box_psnr_db" not in rows["cnn/unprotected"]


def test_table2_csv_has_both_conventions_and_the_paper(repository):
    _, lines, _ = build(repository, "table2")
    assert [(line["row"], line["access"]) for line in lines[:7]] == [
        ("cnn/unprotected", "black-box"),
        *[("cnn/gaussian_noise", access) for access in ("black-box", "black-box, 16 queries")],
        *[(f"cnn/{name}", access) for name in ("ae", "siftfunnel") for access in ("black-box", "gray-box")],
    ]
    assert [line["paper_generator_psnr_db_paper"] for line in lines[1:3]] == ["22.4249", ""]
    assert lines[2]["generator_queries"] == "16"
    assert [line["generator_draws"] for line in lines[:3]] == ["1", "3", "3"]
    gray = lines[6]
    assert float(gray["generator_mse"]) == pytest.approx(10**-1.29)
    assert float(gray["generator_mse_paper"]) == pytest.approx(3 * 10**-1.29)
    assert (gray["paper_generator_psnr_db_paper"], gray["paper_nonzero_per_image"]) == ("16.7314", "1006")
    assert (gray["defense"], gray["mle_tuned_trials"], gray["seeds"]) == ("siftfunnel", "6", "0")
    assert gray["mi_calibrated_cap_nats"] == ""
    assert "mi_calibrated_cap_nats: the critic is unbounded" in gray["absent"]
    assert "z_shape" not in gray
    floors = [f"floor: {name}" for name in ("constant gray", "mean auxiliary image", "own mean color")]
    assert [line["row"] for line in lines[7:]] == floors
    assert float(lines[8]["mle_paper_psnr_db"]) == FLOOR


def test_rows_decide_order_and_ghost_rows_are_removed(repository):
    build(repository, "table2")
    ghost = repository.paths.table("table2") / "cnn" / "gaussian_noise.json"
    assert ghost.exists()
    repository.rows["table2"] = ["cnn/siftfunnel", "cnn/unprotected"]
    page, lines, rows = build(repository, "table2")
    assert not ghost.exists()
    assert sorted(rows) == ["cnn/siftfunnel", "cnn/unprotected"]
    assert [line[0] for line in block(page, "## Accuracy")[2:5]] == ["SiftFunnel", "", "Unprotected"]
    assert [line["row"] for line in lines[:3]] == ["cnn/siftfunnel", "cnn/siftfunnel", "cnn/unprotected"]


def test_a_table_whose_rows_are_all_left_out_says_so_and_has_a_file(repository):
    repository.rows["table4"] = ["faces/unprotected"]
    repository.values["faces"] = {("faces/unprotected", -1, "cell", "left_out"): (1, "", "")}
    page, lines, rows = build(repository, "table4")
    assert "table4 is left out at scale demo" in page and "Left out at this scale: faces/unprotected." in page
    assert (lines, rows) == ([], {"none": {"rows": 0}})


def test_absent_values_show_their_reason(repository):
    repository.set("cnn/gaussian_noise", "generator black_box", psnr_db=(None, "not finite (nan)"), failed=True)
    repository.set("cnn/gaussian_noise", "target", accuracy=(None, "training diverged"))
    repository.drop("cnn/ae", "mle tuned")
    page, lines, rows = build(repository, "table2")
    table = block(page, "## Accuracy")
    assert [table[3][i] for i in (2, 3, 6)] == ["n/a<sup>1</sup>", "n/a<sup>1</sup>", "n/a<sup>2</sup>†"]
    assert [table[5][i] for i in (5, -2, -1)] == ["n/a<sup>3</sup>", "20.90", "8.70"]
    for i, reason in enumerate(("training diverged", "not finite (nan)", "no tuned variant was run"), 1):
        assert f"<sup>{i}</sup> {reason}" in page
    assert "generator_black_box_psnr_db" not in rows["cnn/gaussian_noise"]
    assert "mle_tuned_psnr_db" not in rows["cnn/ae"]
    assert "generator_psnr_db: not finite (nan)" in lines[1]["absent"]
    assert "accuracy_percent: training diverged" in lines[1]["absent"]


def test_other_groups_have_no_paper_and_maybe_no_unprotected_row(repository):
    repository.cell("xray/ae", GRID["ae"], channels=1, dataset="xray")
    repository.rows["table2"] = ["cnn/unprotected", "xray/ae"]
    page, _, rows = build(repository, "table2")
    names = [line[0] for line in block(page, "## Accuracy")]
    assert {"*Floor: mean auxiliary image, objects*", "*Floor: mean auxiliary image, xray*"} < set(names)
    assert "32 × 32 gray" in page
    assert block(page, "## Beside the paper")[3][2:4] == ["78.1 (–)", "n/a<sup>1</sup>"]
    assert "<sup>1</sup> no unprotected row of this dataset and model" in page
    assert "accuracy_change_points" not in rows["xray/ae"]


@pytest.mark.parametrize("name", ["table1", "table2", "latency", "leaderboard"])
def test_titles_with_marks_of_markdown_break_no_table(repository, name):
    """The CSV has them as they are; the page in one line, with the marks escaped."""
    odd = "A|E `x\n<b> *y*"
    plainly, _, _ = build(repository, name)
    for item in ("target", "dataset"):
        repository.set("cnn/ae", item, title=odd)
    repository.put("prepared", "faces", -1, {"prepared": {"title": odd}})
    page, lines, _ = build(repository, name)
    assert r"A\|E \`x \<b> \*y\*" in page and "A|E" not in page and "<b>" not in page.replace(r"\<b>", "")
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in page.splitlines() if line.startswith("|")]
    assert columns == [line.count("|") for line in plainly.splitlines() if line.startswith("|")]
    assert odd in {line["title"] for line in lines}


def test_several_seeds_have_means_spreads_and_each_seeds_own(thrice):
    for seed, psnr in ((1, 12.9), (2, 12.9), (3, 13.9)):
        thrice.set("cnn/siftfunnel", "generator gray_box", seed=seed, psnr_db=psnr)
    thrice.set("cnn/siftfunnel", "training", seed=2, diverged_epoch=4)
    thrice.set("cnn/siftfunnel", "training", seed=3, diverged_epoch=7)
    thrice.set("cnn/siftfunnel", "training", seed=1, diverged_epoch=None)
    thrice.reseed("cnn/ae", 1, 2)
    page, lines, rows = build(thrice, "table2")
    table = block(page, "## Accuracy")
    assert table[8][6] == "13.23 ± 0.58"
    assert table[8 - 3][0] == "Autoencoder [2]"
    row = rows["cnn/siftfunnel"]
    assert row["generator_gray_box_psnr_db_sd"] == pytest.approx(1 / 3**0.5, rel=1e-5)
    assert row["generator_gray_box_psnr_db_n"] == 3
    own = {seed: row[f"seed_{seed}_strongest_psnr_db"] for seed in (1, 2, 3)}
    assert own == {1: 12.9, 2: 12.9, 3: 13.9}
    assert row["seed_2_accuracy_percent"] == 74.1
    gray = next(line for line in lines if line["row"] == "cnn/siftfunnel" and line["decoder"] == "gray_box")
    assert (gray["seeds"], gray["generator_psnr_db_n"], gray["training_diverged_epoch"]) == ("1 2 3", "3", "4")


def test_numbers_of_files():
    row = {"psnr_db": Number(11.0, 2**0.5, 2), "images": 8.0, "lr": Number(0.123456789), "why": Number(None), "t": "x"}
    scored = {"psnr_db": 11, "psnr_db_sd": 2**0.5, "psnr_db_n": 2}
    assert plain(row) == scored | {"images": 8, "lr": 0.123456789, "why": None, "t": "x"}
    assert small(row) == {"psnr_db": 11, "psnr_db_sd": 1.41421, "psnr_db_n": 2, "images": 8, "lr": 0.123457, "t": "x"}
    assert small({"macs": Number(1_622_016_129.0)}) == {"macs": 1622016129}


def test_table1(repository):
    repository.rows["table1"] = ["xray", "objects"]
    page, lines, rows = build(repository, "table1")
    own = block(page, "# Table I")[2]
    assert own[:6] == ["stand-in for xray", "xray", "3", "32 × 32 × 3", "1,000", "2"]
    assert own[6:] == ["480 (48.0 %)", "120 (12.0 %)", "200 (20.0 %)", "200 (20.0 %)", "4 / 1"]
    theirs = block(page, "## In the paper")
    assert theirs[2] == ["ChestX-ray", "xray", "4", "9,208", "66.6 %", "16.7 %", "16.7 %"]
    assert theirs[3][3:] == ["60,000", "66.6 %, ≈ 40,000", "16.7 %, ≈ 10,000", "16.7 %, ≈ 10,000"]
    assert (rows["objects"]["train_percent"], rows["objects"]["duplicates_auxiliary"]) == (48, 4)
    assert (lines[0]["paper_title"], lines[1]["paper_images"]) == ("ChestX-ray", "60000")


def test_unknown_table_lists_the_known_ones(repository):
    with pytest.raises(ValueError, match=r"no table 'table9'; known tables: table1, table2, table3"):
        build_table("table9", repository.params(), repository.paths)


def test_another_process_writes_the_same_bytes_without_torch_and_other_views(repository):
    build(repository, "table2")
    root = repository.paths.root
    files = {file: file.read_bytes() for file in (root / "metrics").rglob("*") if file.is_file()}
    (root / "params.yaml").write_text(json.dumps(repository.params().tree))  # JSON is YAML
    script = (
        "import sys; from splitprobe.core.cells import Paths; from splitprobe.core.params import Params;"
        "from splitprobe.report.tables import build_table; build_table('table2', Params.load(), Paths('demo'));"
        "others = {'splitprobe.report.claims', 'splitprobe.report.leaderboard'};"
        "assert not {'torch', 'matplotlib', *others} & {*sys.modules}"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert {file: file.read_bytes() for file in files} == files
