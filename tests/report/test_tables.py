"""Tables from a fabricated repository: every number where it belongs, in all three files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fabricated import FLOOR, GRID, scores

from splitprobe.artifacts import read_csv, read_json
from splitprobe.report.tables import TABLES, build_table

ROOT = Path(__file__).parents[2]


def build(repository, name: str) -> tuple[str, list[dict], dict[str, dict]]:
    """Page, CSV lines and rows of a table."""
    build_table(name, repository.params(), repository.paths)
    folder = repository.paths.table(name)
    rows = {str(f.relative_to(folder).with_suffix("")): read_json(f) for f in sorted(folder.rglob("*.json"))}
    return repository.paths.table(name, "md").read_text(), read_csv(repository.paths.table(name, "csv")), rows


def block(page: str, title: str) -> list[list[str]]:
    """The cells of the first table after a heading, header and rule included."""
    lines = page[page.index(title) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    assert len({len(line) for line in table}) == 1, "ragged table"
    return table


def test_table2_attacks_block(repository):
    page, _, _ = build(repository, "table2")
    table = block(page, "## Accuracy and attacks")
    assert table[2] == [
        "Unprotected",
        "black-box",
        "77.5",
        "–",
        "24.31",
        "0.772",
        "0.0037",
        "6.40†",
        "22.20",
        "24.31",
        "12.11",
    ]
    assert table[3][-4:] == ["6.10†", "14.80", "22.90", "10.70"]  # the strongest is the decoder with several queries
    assert table[4] == ["", "black-box, 16 queries", "", "", "22.90", "0.716", "0.0051", "", "", "", ""]
    assert table[5][:4] == ["Autoencoder", "black-box", "78.1", "+0.6"]
    assert table[5][4:] == ["17.20", "0.488", "0.0191", "6.30†", "15.90", "20.90", "8.70"]
    assert table[6] == ["", "gray-box", "", "", "20.90", "0.636", "0.0081", "", "", "", ""]
    assert table[7][:6] == ["SiftFunnel", "black-box", "74.1", "-3.4", "11.70†", "0.268†"]
    assert [line[0] for line in table[9:]] == [
        "*Floor: constant gray*",
        "*Floor: mean auxiliary image*",
        "*Floor: own mean color*",
    ]
    assert table[10][4:] == ["12.20", "0.288", "0.0603", "12.20", "12.20", "", ""]
    assert "a failed attack, not privacy" in page


def test_table2_caption_and_notes_state_what_was_measured(repository):
    page, _, _ = build(repository, "table2")
    for words in (
        "Scale demo: photo of origin, 32 × 32 color, 8 classes, 3,200 training, 400 validation, 800 test and 1,600 aux",
        "the first 800 test images by the generator, the first 64 by MLE",
        "12 epochs (schedule: cosine)",
        "Seed 0; CPU, 2 threads, float32.",
        "- Black-box, 16 queries: a decoder fitted on, and given, 16 releases of the same image as one",
        "- No defense was tuned: each runs at the value its own paper or the paper's code gives",
        "chosen for each row and seed in 6 trials of 100 steps on 8 auxiliary images",
        "it cannot exceed 0.9867 nats",
        "no cap is stated: the critic is unbounded",
        "**Data and scale differ**",
        "summed over the color channels",
    ):
        assert words in page


def test_table2_information_block(repository):
    table = block(build(repository, "table2")[0], "## Information and size")
    assert table[2] == [
        *("Unprotected", "3.410 ± 0.060", "3.069 ± 0.030", "97.240", "0.210 ± 0.004", "12,155", "0.486"),
        *("1,877 of 4,096 (45.8 %)", "3 of 64", "19,904", "16,384"),
    ]
    assert table[5][4] == "0.982 ± 0.004‡"  # within 0.1 nats of the cap of 0.98667


def test_table2_shows_what_the_best_attacks_images_still_tell(repository):
    page, _, rows = build(repository, "table2")
    table = block(page, "## What the images still show")
    assert table[2] == ["Unprotected", "black-box decoder", "800", "24.31", "0.772", "100.0", "95.4"]
    assert table[3] == ["", "MLE (tuned)", "64", "22.20", "0.688", "88.8", "81.3"]
    assert table[4][:3] == ["Gaussian noise", "black-box decoder, 16 queries", "800"]
    assert [table[12][2], table[13][2]] == ["800", "64"]
    assert table[12][5:] == ["26.2", "14.7"]  # the mean image's: 4.2 / 16 and 2.2 / 15
    assert "of the originals 80.0 % (objects), by chance 12.5 %" in page
    assert rows["cnn/unprotected"]["decoder_identified"] == pytest.approx(0.954)


def test_table2_beside_the_paper(repository):
    table = block(build(repository, "table2")[0], "## Beside the paper")
    noise, gray = table[3], table[7]
    assert noise[:4] == ["Gaussian noise", "black-box", "70.2 (74.85)", "-7.3 (-13.43)"]
    ours = scores(19.65)
    assert noise[4:7] == [f"{ours['mse_paper']:.4f} (0.0172)", "19.55 (22.42)", f"{ours['ssim_paper']:.3f} (0.930)"]
    assert noise[10:] == ["0.1100 (0.0502)", "1,877 (65,535)", "19,904 (299,520)"]
    assert gray[1] == "gray-box"
    assert gray[4].endswith("(0.0639)")
    assert gray[7:] == [""] * 6


def test_paper_numbers_only_beside_the_papers_network(repository):
    repository.cell("vgg16/unprotected", GRID["unprotected"], model="vgg16")
    repository.rows["table2"] = ["vgg16/unprotected"]
    page, lines, _ = build(repository, "table2")
    assert block(page, "## Beside the paper")[2][2] == "77.5 (–)"
    assert "paper_accuracy_percent" not in lines[0]


def test_table2_row_json_is_small_flat_and_numeric(repository):
    _, _, rows = build(repository, "table2")
    assert list(rows) == sorted(f"cnn/{name}" for name in GRID)
    row = rows["cnn/siftfunnel"]
    assert list(row)[:4] == [
        *("accuracy_percent", "accuracy_change_points", "strongest_psnr_db", "strongest_gain_db"),
    ]
    assert row["strongest_gain_db"] == pytest.approx(12.9 - 12.2)
    assert row["accuracy_percent"] == 74.1
    assert row["accuracy_change_points"] == pytest.approx(-3.4)
    assert row["generator_gray_box_psnr_db"] == row["strongest_psnr_db"] == 12.9
    assert rows["cnn/gaussian_noise"]["generator_repeated_psnr_db"] == 22.9
    assert rows["cnn/gaussian_noise"]["generator_repeated_ssim"] == pytest.approx(17.9 / 25)
    assert row["mle_tuned_psnr_db"] == 11.0
    assert row["failed_attacks"] == 3
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
    assert lines[1]["paper_generator_psnr_db_paper"] == "22.4249"
    assert lines[2]["paper_generator_psnr_db_paper"] == ""  # no attacker in the paper has several queries
    assert lines[2]["generator_queries"] == "16"
    assert [line["generator_draws"] for line in lines[:3]] == ["1", "3", "3"]
    gray = lines[6]
    assert float(gray["generator_mse"]) == pytest.approx(10**-1.29)
    assert float(gray["generator_mse_paper"]) == pytest.approx(3 * 10**-1.29)
    assert float(gray["paper_generator_psnr_db_paper"]) == 16.7314
    assert gray["paper_nonzero_per_image"] == "1006"
    assert gray["defense"] == "siftfunnel"
    assert gray["mle_tuned_trials"] == "6"
    assert gray["mi_calibrated_cap_nats"] == ""
    assert "mi_calibrated_cap_nats: the critic is unbounded" in gray["absent"]
    assert [line["row"] for line in lines[7:]] == [
        f"floor: {name}" for name in ("constant gray", "mean auxiliary image", "own mean color")
    ]
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


def test_null_values_show_their_reason(repository):
    def diverge(record):
        record["decoders"]["black_box"] |= {"psnr_db": None, "psnr_db_reason": "not finite (nan)", "failed": True}

    repository.edit("cnn/gaussian_noise", "generator", diverge)
    repository.edit(
        "cnn/gaussian_noise", "target", lambda r: r.update(accuracy=None, accuracy_reason="training diverged")
    )
    page, lines, rows = build(repository, "table2")
    line = block(page, "## Accuracy")[3]
    assert line[2:5] == ["n/a<sup>1</sup>", "n/a<sup>1</sup>", "n/a<sup>2</sup>†"]
    assert "<sup>1</sup> training diverged" in page
    assert "<sup>2</sup> not finite (nan)" in page
    assert "generator_black_box_psnr_db" not in rows["cnn/gaussian_noise"]
    assert "generator_psnr_db: not finite (nan)" in lines[1]["absent"]
    assert "accuracy_percent: training diverged" in lines[1]["absent"]


def test_without_an_unprotected_row_there_is_no_change(repository):
    repository.rows["table2"] = ["cnn/ae"]
    page, _, rows = build(repository, "table2")
    assert block(page, "## Accuracy")[2][3] == "n/a<sup>1</sup>"
    assert "no unprotected row of this dataset and model" in page
    assert "accuracy_change_points" not in rows["cnn/ae"]


def test_a_variant_that_one_cell_lacks(repository):
    repository.edit("cnn/ae", "mle", lambda record: record["variants"].pop("tuned"))
    page, _, rows = build(repository, "table2")
    assert block(page, "## Accuracy")[5][8:] == ["n/a<sup>1</sup>", "20.90", "8.70"]
    assert "no tuned variant was run" in page
    assert "mle_tuned_psnr_db" not in rows["cnn/ae"]


def test_two_datasets_have_floors_each(repository):
    repository.cell("xray/unprotected", GRID["unprotected"], channels=1)
    repository.edit("xray/unprotected", "target", lambda record: record["cell"].update(dataset="xray"))
    repository.rows["table2"].append("xray/unprotected")
    page, _, _ = build(repository, "table2")
    names = [line[0] for line in block(page, "## Accuracy")]
    assert "*Floor: mean auxiliary image, objects*" in names
    assert "*Floor: mean auxiliary image, xray*" in names
    assert "32 × 32 gray" in page
    assert "Unprotected (xray/unprotected)" in names


def test_table1(repository):
    repository.rows["table1"] = ["xray", "objects"]
    page, lines, rows = build(repository, "table1")
    assert block(page, "# Table I")[2] == [
        *("stand-in for xray", "xray", "3", "32 × 32 × 3", "1,000", "2", "480 (48.0 %)", "120 (12.0 %)"),
        *("200 (20.0 %)", "200 (20.0 %)", "4 / 1"),
    ]
    theirs = block(page, "## In the paper")
    assert theirs[2] == ["ChestX-ray", "xray", "4", "9,208", "66.6 %", "16.7 %", "16.7 %"]
    assert theirs[3][3:] == ["60,000", "66.6 %, ≈ 40,000", "16.7 %, ≈ 10,000", "16.7 %, ≈ 10,000"]
    assert rows["objects"]["train_percent"] == 48.0
    assert rows["objects"]["duplicates_auxiliary"] == 4
    assert lines[0]["paper_title"] == "ChestX-ray"
    assert lines[1]["paper_images"] == "60000"


def test_latency(repository):
    page, lines, rows = build(repository, "latency")
    ours = block(page, "# Latency")
    assert ours[4][:6] == ["Autoencoder", "26,904", "5,500,000", "16,384", "1.200 / 1.560", "2.000 / 2.500"]
    assert ours[4][6:] == ["n/a<sup>1</sup>"] * 2
    assert "<sup>1</sup> no GPU here" in page
    theirs = block(page, "## Beside the paper")
    assert theirs[4][1:5] == ["1.200", "2.812", "1.20", "2.34"]  # 2.812 / 1.204
    assert theirs[3][2] == "–"
    assert rows["cnn/ae"]["edge_cpu_ratio"] == 1.2
    assert "edge_gpu_ms" not in rows["cnn/ae"]
    assert lines[3]["paper_edge_gpu_ms"] == "6.9"
    assert float(lines[3]["paper_edge_gpu_ratio"]) == pytest.approx(6.9 / 3.9)
    assert "cuda_edge_latency_ms: no GPU here" in lines[3]["absent"]


def test_latency_with_a_gpu(repository):
    for name in GRID:
        repository.edit(f"cnn/{name}", "cost", lambda record: record.update(cuda=record["cpu"]))
    page, _, rows = build(repository, "latency")
    assert block(page, "## Beside the paper")[5][5:] == ["1.200", "6.900", "1.20", "1.77"]
    assert rows["cnn/siftfunnel"]["cloud_gpu_p95_ms"] == 2.5
    assert "n/a" not in page


@pytest.mark.parametrize("name", TABLES)
def test_two_builds_give_the_same_bytes(whole, name):
    def written() -> dict[str, bytes]:
        build_table(name, whole.params(), whole.paths)
        files = [f for f in (whole.paths.root / "metrics").rglob("*") if f.is_file()]
        return {str(f): f.read_bytes() for f in files}

    assert written() == written()


def test_unknown_table_lists_the_known_ones(repository):
    with pytest.raises(ValueError, match=r"no table 'table9'; known tables: table1, table2, table3"):
        build_table("table9", repository.params(), repository.paths)


def test_stage_script_writes_the_table_without_torch(repository):
    root = repository.paths.root
    tree = {"scale": "demo", "seed": 0, "scales": {"demo": {}}, "rows": repository.rows}
    (root / "params.yaml").write_text(json.dumps(tree))  # JSON is YAML
    script = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__');"
        "import splitprobe.report.figures; assert 'torch' not in sys.modules, 'torch was imported'"
    )
    command = [sys.executable, "-c", script, str(ROOT / "stages" / "build_table.py"), "table2"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "table2: metrics/demo/table2.md" in run.stderr
    assert (root / "metrics/demo/table2/cnn/ae.json").exists()
