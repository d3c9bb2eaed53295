"""The paper's numbers, checked by hand against its pages."""

import pytest

from splitprobe.report import paper

DEFENSES = ["unprotected", "gaussian_noise", "dropout", "dpsgd", "nls", "mid", "bido", "vib", "infoscissors"]


def test_table2_has_the_papers_rows_in_its_order():
    rows = [(line["row"], line["access"]) for line in paper.load("table2")]
    assert rows[:9] == [(name, "black-box") for name in DEFENSES]
    assert rows[9:] == [(name, access) for name in ("ae", "siftfunnel") for access in ("black-box", "gray-box")]


def test_table2_numbers():
    base = paper.find("table2", "unprotected", "black-box")
    assert (base["accuracy_percent"], base["generator_psnr_db_paper"], base["mle_ssim_paper"]) == (
        88.28,
        32.5498,
        0.9883,
    )
    assert base["accuracy_change_points"] is None
    black, gray = (paper.find("table2", "siftfunnel", f"{shade}-box") for shade in ("black", "gray"))
    assert (black["generator_mse_paper"], gray["generator_mse_paper"]) == (0.1166, 0.0639)
    assert gray["generator_ssim_paper"] == 0.7647
    assert (gray["mi_nats"], gray["nonzero_per_image"], gray["edge_parameters_paper"]) == (0.0167, 1006, 14911)
    assert paper.find("table2", "ae", "gray-box")["accuracy_change_points"] == 2.28
    assert paper.find("table2", "mid", "black-box")["mle_mse_paper"] == pytest.approx(1.74e-5)


def test_table2_scores_are_in_the_papers_convention():
    """MSE is 3 x 10^(-PSNR / 10) there, but for the rows that contradict themselves (and three-digit rounding)."""
    for line in paper.load("table2"):
        if line["row"] not in ("mid", "dpsgd"):
            implied = 3 * 10 ** (-line["generator_psnr_db_paper"] / 10)
            assert line["generator_mse_paper"] == pytest.approx(implied, rel=0.03, abs=6e-5)


def test_lost_cells_are_empty_and_unknown_rows_too():
    assert paper.find("table2", "nls", "black-box")["accuracy_percent"] is None
    assert paper.find("table2", "nls", "black-box")["generator_psnr_db_paper"] == 33.0003
    assert paper.find("table2", "unprotected", "gray-box") == {}
    assert paper.find("latency", "vib") == {}


def test_table1_and_latency():
    assert paper.find("table1", "objects")["images"] == 60000
    assert paper.find("table1", "faces")["classes"] == 530
    assert paper.find("table1", "faces")["auxiliary_percent"] is None
    assert paper.find("table1", "xray")["train_percent"] == 66.6
    assert paper.find("latency", "ae") == {"row": "ae", "edge_cpu_ms": 2.812, "edge_gpu_ms": 4.3}
