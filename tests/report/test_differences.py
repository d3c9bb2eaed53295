"""Table II with all its rows: what the rows' names, facts and several queries change, and where the paper differs."""

import pytest
from fabricated import FACTS, ORDER, scores

from splitprobe.core.artifacts import read_csv, read_json
from splitprobe.report import paper
from splitprobe.report.differences import differences, side
from splitprobe.report.remarks import remarks
from splitprobe.report.tables import build_table


def sentences(repository) -> list[str]:
    """The lines of the block, without its rules."""
    return [line for line in differences(repository.numbers("table2")) if line][1:]


def bullet(repository, title: str) -> str:
    (line,) = [line for line in sentences(repository) if line.startswith(f"- **{title}.** ")]
    return line


def stronger(repository, row: str, psnr: float, key: str = "black_box") -> None:
    """Let a row's decoder reach another PSNR."""
    repository.set(f"cnn/{row}", f"generator {key}", **scores(psnr))


@pytest.mark.parametrize(("value", "expected"), [(33.5, 0), (33.56, 1), (31.5, -1), (31.56, 0), (32.55, 0)])
def test_sides_of_a_base(value, expected):
    assert side(value, 32.55, 1.0) == expected


def test_a_decoder_on_another_side_of_unprotected(full):
    assert bullet(full, "MID").startswith(
        "- **MID.** The decoder's PSNR is higher than unprotected in the paper (34.52 against 32.55 dB), equal here "
        "(24.1 against 24.2 dB). "
    )
    stronger(full, "dpsgd", 20.0)
    assert bullet(full, "DP-SGD") == (
        "- **DP-SGD.** The decoder's PSNR is equal to unprotected in the paper (32.48 against 32.55 dB), lower here "
        "(19.9 against 24.2 dB)."
    )


def test_an_accuracy_that_moves_the_other_way(full):
    assert bullet(full, "MID").endswith("Accuracy loses 6.75 points in the paper, gains 1.6 points here.")
    assert "Accuracy gains 2.28 points in the paper, stays within 1 point (+0.6) here." in bullet(full, "Autoencoder")


def test_an_attack_of_the_paper_that_did_not_move(full):
    assert bullet(full, "BiDO as published") == (
        "- **BiDO as published.** The paper's MLE value, 6.51 dB, is below the 11.8 dB of a constant gray and 1.0 dB "
        "from a random start (5.5 dB here): an attack that hardly moved; the tuned attack reaches 21.3 dB here."
    )
    assert bullet(full, "SiftFunnel").endswith(
        "the tuned attack reaches 11.0 dB here, no better than gray or the mean image."
    )
    # a gray that scores less than the paper's attack would not be named
    full.set("cnn/bido", "floor mle gray", psnr_db_paper=6.5)
    assert not any("BiDO as published.**" in line for line in sentences(full))


def test_a_row_that_is_more_private_than_siftfunnel_only_here(full):
    stronger(full, "siftfunnel", 19.0, "gray_box")
    full.drop("cnn/dropout", "generator repeated")
    assert not any("**Dropout" in line for line in sentences(full))  # at chance, it is compared with nobody
    full.set("cnn/dropout", "target", accuracy=0.5)
    assert bullet(full, "Dropout") == (
        "- **Dropout.** It is more private than SiftFunnel here (strongest attack 15.4 against 19.0 dB), less in the "
        "paper (best decoder 23.48 against 16.73 dB)."
    )
    # rows that the paper does not have are never ranked against it
    assert not any(line.startswith("- **SiftFunnel without losses") for line in sentences(full))


def test_rows_that_reproduce_the_paper_and_rows_it_lacks(full):
    assert sentences(full)[-1] == (
        "Rows that reproduce all of this, as far as the paper prints it: Gaussian noise; DP-SGD; NLS. Rows at "
        "chance accuracy here, which reproduce nothing by leaking little: Dropout§. Rows that the paper does not have: "
        "DP-SGD without noise; BiDO with CKA; Autoencoder, adversarial; NoPeek; SiftFunnel without losses."
    )


def test_without_an_unprotected_row_only_the_floor_is_compared(full):
    full.rows["table2"] = ["cnn/mid", "cnn/vib"]
    vib, end = sentences(full)
    assert vib.startswith("- **VIB.** The paper's MLE value, 7.33 dB")
    assert end.startswith("Rows that reproduce all of this, as far as the paper prints it: MID.")
    assert end.endswith("There is no unprotected row to compare these with: MID; VIB.")


def test_an_absent_score_is_not_compared(full):
    full.set("cnn/mid", "generator black_box", psnr_db_paper=None)
    full.set("cnn/mid", "target", accuracy=None)
    assert not any(line.startswith("- **MID.**") for line in sentences(full))


def test_the_papers_line_belongs_to_the_row_and_not_to_the_defense(full):
    assert full.numbers("table2").cells == [f"cnn/{row}" for row in ORDER]
    assert paper.find_cell("cnn/bido", "black-box")["generator_psnr_db_paper"] == 19.2965
    assert paper.find_cell("cnn/bido_cka") == paper.find_cell("cnn/vib", "black-box, 16 queries") == {}
    build_table("table2", full.params(), full.paths)
    lines = {(line["row"], line["access"]): line for line in read_csv(full.paths.table("table2", "csv"))}
    cka = lines["cnn/bido_cka", "black-box"]
    assert (cka["defense"], cka["variant"], cka["paper_mi_nats"]) == ("bido", "bido_cka", "")
    assert lines["cnn/bido", "black-box"]["variant"] == "none"


def test_facts_of_private_training(full):
    # its control has the same network and no budget
    full.set("cnn/groupnorm", "facts", **FACTS | {"epsilon": None})
    text = build_table("table2", full.params(), full.paths).read_text()
    assert text.count("training spent epsilon") == 1
    assert (
        "\nDP-SGD: training spent epsilon = 47.1 at delta = 1e-05 (noise multiplier 0.45, clipping norm 1.2); it "
        "protects members of the training set, not the images sent.\n"
    ) in text
    assert "learning rate and data. DP-SGD has batches of 512 images, drawn by Poisson sampling, not 128.\n" in text
    assert read_json(full.paths.table("table2") / "cnn" / "dpsgd.json")["epsilon"] == 47.1
    assert "epsilon" not in read_json(full.paths.table("table2") / "cnn" / "groupnorm.json")
    line = next(line for line in read_csv(full.paths.table("table2", "csv")) if line["row"] == "cnn/dpsgd")
    assert {key: float(line[f"fact_{key}"]) for key in FACTS} == FACTS


def test_an_estimator_that_the_edge_outran_is_named(full):
    assert not [line for line in remarks(full.numbers("table2")) if line.startswith("Estimators: ")]
    full.set("cnn/infoscissors", "estimator", ratio=0.904, outrun=False)
    (line,) = [line for line in remarks(full.numbers("table2")) if line.startswith("Estimators: ")]
    assert line.endswith("fitted to the finished edge afterwards: InfoScissors 0.90. No edge outran its own.")
    full.set("cnn/ae", "estimator", ratio=1.31, outrun=True)
    (line,) = [line for line in remarks(full.numbers("table2")) if line.startswith("Estimators: ")]
    assert "InfoScissors 0.90; Autoencoder 1.31. **The edge outran that of Autoencoder: " in line
