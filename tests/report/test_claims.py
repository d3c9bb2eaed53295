"""Claims: the rules on chosen numbers, on the paper's own, and on a fabricated study."""

import pytest
from fabricated import scores
from test_tables import block, build

from splitprobe.report.claim_values import Source, Unknown, spearman
from splitprobe.report.claims import CLAIMS, OPEN, REFUTED, REPRODUCED, Claim

BY_NAME = {claim.name: claim for claim in CLAIMS}
PRINTED = Source.printed()


def claims(whole) -> dict[str, dict]:
    """The table's CSV lines by claim."""
    return {line["claim"]: line for line in build(whole, "claims")[1]}


@pytest.mark.parametrize(
    ("value", "above", "verdict"),
    [(4.1, True, REPRODUCED), (3.9, True, OPEN), (2.0, True, OPEN), (1.9, True, REFUTED), (1.9, False, REPRODUCED)],
)
def test_a_verdict_needs_more_than_the_margin(value, above, verdict):
    claim = Claim("n", "t", "s", "q", lambda source: value, "dB", above, 3.0, 1.0)
    assert claim.verdict(value) == verdict
    assert claim.rule == f"q {'>' if above else '<'} 3 dB, margin 1"
    assert claim.judge(PRINTED)[:2] == (value, verdict)


def test_without_a_margin_the_threshold_decides():
    claim = BY_NAME["table2_mid_no_help"]
    assert [claim.verdict(value) for value in (0.99, 1.01)] == [REPRODUCED, REFUTED]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("table2_lowest_psnr", 19.2965 - 16.7314),  # BiDO's decoder against SiftFunnel's gray-box one
        ("table3_lowest_psnr", 25.0633 - 11.8562),
        ("table2_fewest_nonzero", 2617 / 1006),
        ("table4_siftfunnel_cheap", 2.92),
        ("table2_ae_gray_stronger", 21.9259 - 17.4852),
        ("table2_dpsgd_no_help", 32.5498 - 32.48),
        ("table2_small_edge", 299520 / 14911),
        ("table2_dropout_costs", 67.10),
        ("table5_no_dcor", 20.4929 - 10.3230),
        ("table5_cloud_side", 17.6159 - 10.3230),
        ("table6_vgg16_cheap", 2.18),
        ("latency_order", 2.812 / 2.192),
    ],
)
def test_the_measure_of_the_papers_numbers(name, value):
    measured, verdict, _ = BY_NAME[name].judge(PRINTED)
    assert measured == pytest.approx(value)
    assert verdict != REFUTED


def test_the_papers_own_numbers_never_refute_its_claims():
    assert REFUTED not in {claim.judge(PRINTED)[1] for claim in CLAIMS}


def test_names_are_distinct_and_fit_for_files():
    assert len(BY_NAME) == len(CLAIMS)
    assert all(name.replace("_", "").isalnum() for name in BY_NAME)


def test_a_study_like_the_papers(whole):
    judged = claims(whole)
    assert list(judged) == list(BY_NAME)
    assert judged["table4_lowest_psnr"]["verdict"] == REPRODUCED
    assert judged["table2_small_edge"]["verdict"] == REFUTED
    assert judged["table2_lowest_psnr"]["reason"] == "no farther than 1 dB from the threshold"
    assert float(judged["table5_no_l1"]["ours"]) == pytest.approx(21.4 - 14.8)
    assert float(judged["table5_no_l1"]["difference"]) == pytest.approx(6.6 - (15.8057 - 10.3230))
    assert float(judged["latency_order"]["ours"]) == pytest.approx(2.3 / 1.6)
    for network in ("cnn", "resnet18"):
        assert float(judged[f"figure2_{network}_mi_calibrated_cut"]["ours"]) == -1
        assert judged[f"figure2_{network}_mle_nonzero"]["verdict"] == REPRODUCED


def test_the_page_counts_and_marks(whole):
    page, lines, rows = build(whole, "claims")
    verdicts = [line["verdict"] for line in lines]
    assert f"of {len(CLAIMS)} claims {verdicts.count(REPRODUCED)} are reproduced" in page
    table = block(page, "# The paper's claims")
    assert len(table) == len(CLAIMS) + 2
    assert table[2][-4:] == ["2.57", "0.50", "-2.07", "cannot be judged<sup>1</sup>"]
    assert rows["table2_ae_gray_stronger"]["verdict"] == REPRODUCED
    assert rows["table2_ae_gray_stronger"]["paper"] == pytest.approx(4.4407)
    assert "paper" not in rows["figure5_xray"]


def test_a_failed_decoder_supports_nothing(whole):
    whole.set("resnet18/siftfunnel", "generator gray_box", **scores(11.0), failed=True)
    judged = claims(whole)
    assert judged["table5_no_dcor"]["verdict"] == OPEN
    assert judged["table5_no_dcor"]["reason"].startswith("the decoder of resnet18/siftfunnel failed")
    # the black-box decoder is the row's strongest now, and did not fail
    assert judged["table3_lowest_psnr"]["verdict"] == REPRODUCED
    whole.set("resnet18/siftfunnel", "generator black_box", **scores(11.0), failed=True)
    assert claims(whole)["table3_lowest_psnr"]["verdict"] == OPEN


def test_missing_cells_and_values_are_named(whole):
    whole.rows["claims"] = [name for name in whole.rows["claims"] if not name.startswith(("faces/", "depth_cnn/cut4"))]
    whole.values["costs"] = {key: value for key, value in whole.values["costs"].items() if key[0] != "cnn/ae"}
    whole.set("cnn/siftfunnel", "target", accuracy=(None, "diverged"))
    whole.drop("resnet18/ae", "generator gray_box")
    judged = claims(whole)
    assert judged["table4_siftfunnel_cheap"]["reason"] == "faces/siftfunnel is not among the rows"
    assert judged["latency_order"]["reason"] == "cnn/ae was not timed"
    assert judged["table2_siftfunnel_cheap"]["reason"] == "cnn/siftfunnel: diverged"
    assert judged["table3_ae_gray_stronger"]["reason"] == "resnet18/ae has no gray-box decoder"
    assert judged["figure2_cnn_generator_nonzero"]["verdict"] == REPRODUCED  # three cuts are left


def test_trends_leave_out_failed_cuts_and_tie_saturated_estimates(whole):
    for cut in (3, 4):
        whole.set(f"depth_cnn/cut{cut}", "generator black_box", **scores(12.0), failed=True)
    reason = claims(whole)["figure2_cnn_generator_nonzero"]["reason"]
    assert reason == "depth_cnn: 2 of 4 cuts have both values, 3 are needed"
    # cuts 1 and 2 at the cap, one above the other by chance: they tie
    for cut, nats in ((1, 0.9805), (2, 0.9806), (3, 0.5), (4, 0.4), (5, 0.3)):
        for network in ("cnn", "resnet18")[cut == 5 :]:
            whole.set(f"depth_{network}/cut{cut}", "mi paper", mi_nats=nats)
    kept = {f"depth_resnet18/cut{cut}" for cut in range(1, 6)}
    whole.rows["claims"] = [r for r in whole.rows["claims"] if not r.startswith("depth_resnet18") or r in kept]
    judged = claims(whole)
    line = judged["figure2_cnn_mi_paper_cut"]
    assert (line["verdict"], line["ours"]) == (OPEN, "")
    assert line["reason"] == "depth_cnn: 2 of 4 estimates are below their cap, 3 are needed"
    tied = spearman(range(5), (5, 5, 3, 2, 1))
    assert float(judged["figure2_resnet18_mi_paper_cut"]["ours"]) == pytest.approx(tied)


def test_a_ratio_to_nothing_is_not_judged(whole):
    whole.set("cnn/siftfunnel", "effective", nonzero_per_image=0.0)
    line = claims(whole)["table2_fewest_nonzero"]
    assert (line["verdict"], line["reason"]) == (OPEN, "what it is divided by is zero")


def test_values_are_means_over_seeds(whole):
    whole.reseed("cnn/siftfunnel", 0, 1)
    whole.set("cnn/siftfunnel", "target", seed=1, accuracy=0.748)
    line = claims(whole)["table2_siftfunnel_cheap"]
    assert float(line["ours"]) == pytest.approx(77.5 - (76.8 + 74.8) / 2)
    assert "Values are means over the seeds that ran" in build(whole, "claims")[0]


def test_spearman():
    assert spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 1, 2]) == pytest.approx(-0.8)
    assert spearman([1, 2, 3, 4], [5, 5, 5, 9]) == pytest.approx(0.7745966692414834)  # ties as mean ranks
    with pytest.raises(Unknown, match="do not differ"):
        spearman([1, 2, 3], [7, 7, 7])
