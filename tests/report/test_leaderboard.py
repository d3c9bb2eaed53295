"""The leaderboard of a fabricated study: order, marks, names of attacks, the block at SiftFunnel's edge."""

import pytest
from fabricated import FLOOR, GRID, Repository
from test_tables import block, build

from splitprobe.core.params import ParamsError
from splitprobe.report import attacks
from splitprobe.report.leaderboard import ranked
from splitprobe.report.matched import ABSENT, BOUND, MISSED, READ, Value
from splitprobe.report.tables import build_table


def swept(repository: Repository, *lines: tuple) -> None:
    """Write points of sweeps: cell, change of accuracy in points, PSNR of the strongest attack."""
    for i, (cell, change, db) in enumerate(lines):
        repository.point(cell, "k", i, (77.5 + change) / 100, db)


def lines(page: str, title: str = "# Leaderboard") -> dict[str, list[str]]:
    """A block's lines by the defense they are about, without it."""
    return {line[1]: [line[0], *line[2:]] for line in block(page, title)[2:]}


def every(repository: Repository, cell: str, **quantities) -> None:
    """Change all attacks on a cell."""
    for item in {key[2] for key in repository.values["cnn"] if key[0] == cell and key[2].startswith(("gen", "mle "))}:
        if " " in item:
            repository.set(cell, item, **quantities)


def standing(*values: Value) -> list[tuple[int | None, int]]:
    """(rank, position in the given order) of rows with these values, in the order of the leaderboard."""
    rows = [
        {"row": i, "psnr_db_at_3": value.number, "psnr_db_at_3_kind": value.kind, "least_lost_at_3": value.least}
        for i, value in enumerate(values)
    ]
    return [(line["rank"], line["row"]) for line in ranked(rows, 3.0)]


def test_order_is_by_what_leaks_and_ties_share_a_rank():
    values = [Value(READ, 20.0), Value(BOUND, 18.0), Value(READ, 18.001), Value(READ, 17.5), Value(READ, 19.0)]
    assert standing(*values) == [(1, 3), (2, 1), (2, 2), (4, 4), (5, 0)]


def test_out_of_reach_ranks_behind_by_what_is_lost_and_absent_has_no_rank():
    missed = [Value(MISSED, least=lost) for lost in (24.0, 4.2, 4.21)]
    assert standing(Value(ABSENT), *missed, Value(READ, 30.0)) == [(1, 4), (2, 2), (2, 3), (4, 1), (None, 0)]


def test_the_page_by_hand(repository):
    """Own settings alone; the plain network counts for the noise, whose edge is the unprotected one."""
    page, _, rows = build(repository, "leaderboard")
    shown = lines(page)
    # 24.31 at 0 and 22.9 at 7.3 points lost: 24.31 - 1.41 * lost / 7.3
    assert shown["Gaussian noise"] == [
        *("2", "24.12", "23.73", "23.34", "1 + plain", "-7.3", "22.90", "black-box decoder, 16 queries", "10.70"),
        *("19,904", "16,384"),
    ]
    assert shown["Autoencoder"][:9] == [
        *("1", "≤ 20.90", "≤ 20.90", "≤ 20.90", "1", "+0.6", "20.90", "gray-box decoder", "8.70"),
    ]
    assert shown["SiftFunnel"][:7] == ["3", "≥ 3.4 lost", "≥ 3.4 lost", "≤ 12.90", "1", "-3.4", "12.90"]
    assert list(shown)[:3] == ["Autoencoder", "Gaussian noise", "SiftFunnel"]
    assert shown["*Unprotected*"] == [*[""] * 5, "–", "24.31", "black-box decoder", "12.11", "19,904", "16,384"]
    assert shown["*Floor: mean auxiliary image*"][6:8] == [f"{FLOOR:.2f}", ""]
    assert "0 of 3 defenses have more than one measured setting" in page
    assert "One seed" in page
    assert "At SiftFunnel's edge" not in page
    assert rows["cnn/gaussian_noise"] == {
        **{"rank": 2, "psnr_db_at_1": pytest.approx(24.1168, abs=1e-4), "psnr_db_at_1_kind": READ},
        **{"psnr_db_at_3": pytest.approx(23.7305, abs=1e-4), "psnr_db_at_3_kind": READ},
        **{"psnr_db_at_5": pytest.approx(23.3442, abs=1e-4), "psnr_db_at_5_kind": READ},
        **{"settings": 1, "accuracy_change_points": pytest.approx(-7.3), "strongest_psnr_db": 22.9},
        **{"strongest_attack": "black-box decoder, 16 queries", "above_floor_db": pytest.approx(10.7)},
        **{"edge_parameters": 19904, "z_bytes": 16384},
    }
    assert "psnr_db_at_3" not in rows["cnn/siftfunnel"]
    assert rows["cnn/siftfunnel"]["psnr_db_at_3_kind"] == MISSED
    assert "rank" not in rows["cnn/unprotected"]


def test_the_caption_and_the_rules(repository):
    page, _, _ = build(repository, "leaderboard")
    for words in (
        "**Scale demo: photo of origin, 32 × 32 color",
        "the first 800 test images by the generator, the first 64 by MLE",
        "Seed 0; CPU, 2 threads, float32.",
        "where 3 points of accuracy are lost",
        "No defense was tuned",
        "Every row meets the same attacks",
        "more than 10 points apart",
    ):
        assert words in page


def test_sweeps_change_values_and_order(repository):
    swept(repository, ("cnn/siftfunnel", -1.0, 18.9), ("cnn/siftfunnel", -17.5, 12.0), ("cnn/vib", -0.5, 1.0))
    page, csv, rows = build(repository, "leaderboard")
    shown = lines(page)
    # 1 point lost: 18.9; 3.4: 12.9, so 2.5 dB a point; 17.5: 12
    assert shown["SiftFunnel"][:5] == ["1", "18.90", "13.90", "≈ 12.80", "3"]
    assert "1 of 3 defenses have more than one measured setting" in page
    assert rows["cnn/siftfunnel"]["settings"] == 3
    tried = {line[0]: line[1:] for line in block(page, "## Measured settings alone")[2:]}
    assert tried["SiftFunnel"] == ["3", "18.90 (-1.0)", "18.90 (-1.0)", "12.90 (-3.4)"]
    assert tried["Gaussian noise"] == ["1", "–", "–", "–"]
    (line,) = [line for line in csv if line["row"] == "cnn/siftfunnel"]
    assert float(line["apart_at_5"]) == pytest.approx(14.1)
    assert (float(line["measured_psnr_db_at_3"]), float(line["measured_lost_at_3"])) == (18.9, 1.0)


def test_absent_numbers_have_a_reason_and_no_rank(repository):
    repository.set("cnn/ae", "target", accuracy=(None, "training diverged"))
    every(repository, "cnn/siftfunnel", psnr_db=(None, "not finite"))
    page, csv, rows = build(repository, "leaderboard")
    shown = lines(page)
    assert shown["Autoencoder"][:7] == ["–", *["n/a<sup>1</sup>"] * 3, "0", "n/a<sup>1</sup>", "20.90"]
    assert shown["SiftFunnel"][1:9] == [
        *(*["n/a<sup>2</sup>"] * 3, "0", "-3.4", "n/a<sup>2</sup>", "–", "n/a<sup>2</sup>"),
    ]
    assert "<sup>1</sup> training diverged" in page
    assert "<sup>2</sup> no attack ended with a finite PSNR" in page
    assert "rank" not in rows["cnn/ae"]
    assert {line["row"]: line["absent"] for line in csv}["cnn/ae"] == "training diverged"


def test_without_an_unprotected_row_nothing_is_ranked(repository):
    repository.rows["leaderboard"] = ["cnn/ae"]
    page, _, _ = build(repository, "leaderboard")
    assert lines(page)["Autoencoder"][:4] == ["–", *["n/a<sup>1</sup>"] * 3]
    assert "<sup>1</sup> no unprotected row of this dataset and model to compare with" in page


def test_a_row_on_which_every_attack_failed_is_marked(repository):
    assert "†" not in build(repository, "leaderboard")[0]
    every(repository, "cnn/siftfunnel", failed=True)
    page, _, _ = build(repository, "leaderboard")
    assert lines(page)["SiftFunnel"][6] == "12.90†"
    assert "a failed attack, not privacy" in page


def funnel(title: str, defense: str, accuracy: float, psnr: float) -> tuple:
    return (title, defense, accuracy, {"black_box": psnr - 1, "gray_box": psnr}, (6.2, psnr - 2), 0.6, 0.1)


def test_the_block_at_siftfunnels_edge(repository):
    repository.cell("cnn/siftfunnel_architecture", funnel("SiftFunnel, no losses", "siftfunnel", 0.765, 17.0))
    repository.cell("budget/nopeek", funnel("NoPeek", "nopeek", 0.735, 14.0))
    repository.cell("budget/bido_cka", funnel("BiDO with CKA", "bido", 0.775, 16.0))
    repository.rows["leaderboard"] += ["cnn/siftfunnel_architecture", "budget/nopeek", "budget/bido_cka"]
    page, csv, rows = build(repository, "leaderboard")
    small = lines(page, "## At SiftFunnel's edge")
    # losses from the architecture, 17 dB; NoPeek: 14 dB at 3 points, so 1 dB a point; then those from unprotected
    assert small["NoPeek"][:7] == ["2", "16.00", "14.00", "≤ 14.00", "1 + plain", "-3.0", "-4.0"]
    assert small["BiDO with CKA"][:7] == ["3", "≤ 16.00", "≤ 16.00", "≤ 16.00", "1 + plain", "+1.0", "0.0"]
    assert small["SiftFunnel, no losses"][:7] == ["4", "≤ 17.00", "≤ 17.00", "≤ 17.00", "1", "0.0", "-1.0"]
    # from 17 to 12.9 dB in 2.4 points
    assert small["SiftFunnel"][:7] == ["1", "15.29", "≤ 12.90", "≤ 12.90", "1 + plain", "-2.4", "-3.4"]
    assert list(small)[4:] == ["*Unprotected*", "*Floor: mean auxiliary image*"]
    usual = lines(page)
    assert "NoPeek" not in usual
    order = ("SiftFunnel, no losses", "Autoencoder", "Gaussian noise", "SiftFunnel")
    assert [usual[name][0] for name in order] == list("1234")
    assert rows["budget/nopeek"]["rank"] == 2
    assert rows["budget/nopeek"]["accuracy_change_points"] == pytest.approx(-4.0)
    assert rows["budget/nopeek"]["same_edge_change_points"] == pytest.approx(-3.0)
    assert rows["cnn/siftfunnel"]["rank"] == 4
    assert "same_edge_change_points" not in rows["cnn/siftfunnel"]
    assert [line["row"] for line in csv if line["block"] == "budget"] == [
        *("cnn/siftfunnel", "budget/nopeek", "budget/bido_cka", "cnn/siftfunnel_architecture"),
    ]
    assert {line["row"]: line["plain"] for line in csv}["budget/nopeek"] == "cnn/siftfunnel_architecture"


def test_losses_and_rank_come_from_params(repository):
    repository.leaderboard = {"losses": [0.5, 7.0], "rank_at": 7.0, "apart": 5.0}
    page, _, rows = build(repository, "leaderboard")
    header = block(page, "# Leaderboard")[0]
    assert header[2:5] == ["0.5 points lost, dB", "7 points lost, dB", "Settings"]
    assert next(iter(lines(page))) == "SiftFunnel"
    assert lines(page)["Gaussian noise"][1].startswith("≈ 24.")
    assert "psnr_db_at_0.5" in rows["cnn/gaussian_noise"]
    repository.leaderboard["rank_at"] = 3.0
    with pytest.raises(ParamsError, match=r"leaderboard\.rank_at = 3: choose one of leaderboard\.losses: 0\.5, 7"):
        build(repository, "leaderboard")


def test_what_is_read_is_what_its_stage_declares(repository):
    params = repository.params()
    build_table("leaderboard", params, repository.paths)
    assert params.read == {"leaderboard", "rows.leaderboard"}


def test_with_several_seeds_the_spread_stands_beside(repository):
    for row in GRID:
        repository.reseed(f"cnn/{row}", 0, 7)
    for row, (_, _, _, decoders, *_) in GRID.items():  # decoders reach 0.2 dB more in the second seed
        for name, psnr in decoders.items():
            repository.set(f"cnn/{row}", f"generator {name}", seed=7, psnr_db=psnr + 0.2)
    page, _, rows = build(repository, "leaderboard")
    own = lines(page)
    # both ends of the line are 0.2 dB higher in the second seed: 0.1 more, standard deviation 0.1 sqrt 2
    assert own["Gaussian noise"][1:4] == ["24.22 ± 0.14", "23.83 ± 0.14", "23.44 ± 0.14"]
    assert own["Gaussian noise"][5:9] == ["-7.3", "23.00 ± 0.14", "black-box decoder, 16 queries", "10.80 ± 0.14"]
    assert own["Autoencoder"][2] == "≤ 21.00 ± 0.14"
    assert "standard deviation over seeds" in page
    assert rows["cnn/gaussian_noise"]["psnr_db_at_3_sd"] == pytest.approx(0.02**0.5, rel=1e-4)
    repository.reseed("cnn/ae", 0)
    assert "Autoencoder [1]" in lines(build(repository, "leaderboard")[0])


def test_the_strongest_attack_and_its_own_floor(repository):
    repository.set("cnn/ae", "mle hybrid", psnr_db=21.5, failed=False)
    repository.set("cnn/ae", "floor mle mean_image", psnr_db=13.5)  # of MLE's fewer images
    repository.set("cnn/siftfunnel", "generator cloud_side", psnr_db=30.0, failed=False)
    numbers = repository.numbers("leaderboard")
    names = {cell: attacks.title(numbers, cell, attacks.best(numbers, cell)) for cell in numbers.cells}
    assert list(names.values()) == ["black-box decoder", "black-box decoder, 16 queries", "hybrid", "gray-box decoder"]
    gains = [numbers.number(f"cnn/{row}", "strongest", "gain_db").value for row in ("gaussian_noise", "ae")]
    assert gains == [pytest.approx(22.9 - FLOOR), 8.0]


def test_points_are_not_taken_from_other_rows(repository):
    swept(repository, *((f"cnn/{row}", 77.0, 5.0) for row in GRID if row != "ae"))
    assert lines(build(repository, "leaderboard")[0])["Autoencoder"][4] == "1"


def test_settings_at_chance_have_no_point_and_no_rank(repository):
    """8 classes, 77.5 % unprotected: below 12.5 + 0.2 * 65 = 25.5 % a network has stopped working."""
    for accuracy, rank in ((0.26, "1"), (0.25, "–")):
        repository.set("cnn/siftfunnel", "target", accuracy=accuracy)
        repository.set("cnn/ae", "target", accuracy=0.30)
        swept(repository, ("cnn/gaussian_noise", -55.0, 1.0))
        shown = lines(build(repository, "leaderboard")[0])
        assert shown["SiftFunnel" if rank == "1" else "SiftFunnel§"][0] == ("3" if rank == "1" else "–")
        assert shown["Gaussian noise"][4] == "1 + plain"  # that of the sweep is at chance
    assert "at chance accuracy, so that it has no point and no rank" in build(repository, "leaderboard")[0]
