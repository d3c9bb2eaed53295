"""Claims: the rules on chosen numbers, on the paper's own, on a fabricated study, and on simulated ones."""

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
import simulated
from fabricated import scores
from test_tables import block, build

from splitprobe.report.claim_values import ACTS, POINTS, STUDENT, Source
from splitprobe.report.claims import CLAIMS, OPEN, REFUTED, REPRODUCED, Claim

BY_NAME = {claim.name: claim for claim in CLAIMS}
PRINTED = Source.printed()


def claims(whole, *groups: str) -> dict[str, dict]:
    """The table's CSV lines by claim; with groups of cells, of a study that has no others."""
    if groups:
        whole.rows["claims"] = [row for row in whole.rows["claims"] if row.partition("/")[0] in groups]
    return {line["claim"]: line for line in build(whole, "claims")[1]}


@pytest.mark.parametrize(
    ("value", "above", "verdict"),
    [(4.1, True, REPRODUCED), (3.9, True, OPEN), (2.0, True, OPEN), (1.9, True, REFUTED), (1.9, False, REPRODUCED)],
)
def test_a_verdict_needs_more_than_the_margin(value, above, verdict):
    claim = Claim("n", "t", "s", "q", lambda source: value, "dB", above, 3.0, 1.0)
    assert claim.rule == f"q {'>' if above else '<'} 3 dB, margin 1"
    assert claim.judge(PRINTED)[:2] == (value, verdict)


def test_without_a_margin_the_threshold_decides():
    claim = BY_NAME["table2_small_edge"]
    assert [claim.verdict(value, 0.0)[0] for value in (9.9, 10.1)] == [REFUTED, REPRODUCED]


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


# the paper's own numbers are too near to the threshold, or those of a row that does nothing
UNDECIDED = {
    *("table2_siftfunnel_cheap", "table3_siftfunnel_cheap", "table4_siftfunnel_cheap", "table6_vgg16_cheap"),
    *("table3_mid_no_help", "table3_nls_no_help", "table4_nls_no_help"),
}
SIZES = {"table2_small_edge", "table4_small_edge"}  # the same whatever was trained


def judged(source: Source, names: Iterable[str] = BY_NAME) -> dict[str, str]:
    """The verdict on each claim that rests on a training, or on some of them."""
    return {name: BY_NAME[name].judge(source)[1] for name in names if name not in SIZES}


def test_no_rule_is_certain_or_impossible():
    """Without noise: nothing holds where nothing acts, the paper's effects hold, opposite ones are refuted.

    The mean image of the X-rays has 17.07 dB, more than what the paper's decoder is said to have there.
    """
    nothing, printed, opposite = (
        judged(simulated.source(kind(), 1)) for kind in (simulated.nothing, simulated.printed, simulated.opposite)
    )
    assert REPRODUCED not in nothing.values()
    assert {name for name, verdict in printed.items() if verdict != REPRODUCED} == UNDECIDED
    assert REFUTED not in printed.values()
    assert set(opposite.values()) == {REFUTED}


@pytest.mark.parametrize("floor", [6.0, 17.07, 22.0])
def test_a_defense_at_its_floor_can_be_the_best_one(floor, monkeypatch):
    """Whatever the mean image has: a decoder just above it supports SiftFunnel, one as good as unprotected does not."""
    monkeypatch.setattr(simulated, "FLOOR", floor)
    monkeypatch.setattr(simulated, "FLOORS", {})
    rules = [f"table{i}_lowest_psnr" for i in (2, 3, 4)] + ["figure5_faces", "figure5_xray"]
    for left, verdict in ((0.1, REPRODUCED), (5.0, None)):
        study = simulated.nothing()
        for cell, facts in study.items():
            psnr = floor + (left if cell.endswith("/siftfunnel") else 5.0)
            facts["decoders"] = dict.fromkeys(facts["decoders"], psnr)
        found = judged(simulated.source(study, 1), rules)
        assert {found[name] == REPRODUCED for name in rules} == {verdict == REPRODUCED}


def test_rules_are_not_fooled_by_noise():
    shares = {kind: simulate(kind, 1, 4)[REPRODUCED] for kind in (simulated.nothing, simulated.printed)}
    assert shares[simulated.nothing] <= 0.05
    assert shares[simulated.printed] >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_rules_are_not_fooled_by_noise_in_many_studies(seeds):
    assert simulate(simulated.nothing, seeds, 40)[REPRODUCED] <= 0.05
    printed = simulate(simulated.printed, seeds, 40)
    assert printed[REPRODUCED] >= 0.8
    assert printed[REFUTED] <= 0.05


def simulate(kind, seeds: int, studies: int) -> dict[str, float]:
    """The share of each verdict over all rules of so many studies."""
    rng = np.random.default_rng(seeds)
    drawn = (judged(simulated.source(kind(), seeds, rng)).values() for _ in range(studies))
    counts = Counter(verdict for verdicts in drawn for verdict in verdicts)
    return {verdict: counts[verdict] / counts.total() for verdict in (REPRODUCED, REFUTED, OPEN)}


def test_seeds_that_spread_decide_nothing():
    """Three seeds: 4 points lost on average; the t interval of spread 1 is 1.7 points wide, that of spread 0.1 0.2."""
    claim = BY_NAME["table2_siftfunnel_cheap"]
    for spread, verdict in ((1.0, OPEN), (0.1, REFUTED)):
        study = simulated.source(simulated.printed(), 3)
        frame = study.numbers.frame
        own = (frame.cell == "cnn/siftfunnel") & (frame.quantity == "accuracy_change_points")
        frame.loc[own, "value"] = [-4.0 - spread, -4.0, -4.0 + spread]
        source = Source(type(study.numbers)(frame, study.numbers.cells))
        assert source.noise(claim.measure) == pytest.approx(STUDENT[1] * spread / math.sqrt(3))
        assert claim.judge(source)[1] == verdict


def test_a_row_that_does_nothing_is_not_judged():
    study = simulated.printed()
    study["cnn/nls"] = simulated.plain() | {key: study["cnn/unprotected"][key] for key in ("accuracy", "nonzero")}
    study["cnn/nls"]["decoders"] = study["cnn/unprotected"]["decoders"]
    value, verdict, reason = BY_NAME["table2_nls_no_help"].judge(simulated.source(study, 1))
    assert (value, verdict) == (0, OPEN)
    assert reason.startswith("cnn/nls cannot be told from the unprotected row")
    study["cnn/nls"] = study["cnn/nls"] | {"accuracy": study["cnn/unprotected"]["accuracy"] - ACTS * POINTS - 0.1}
    assert BY_NAME["table2_nls_no_help"].judge(simulated.source(study, 1))[1] == REPRODUCED


def test_a_row_at_chance_is_not_the_lowest():
    study, rule = simulated.printed(), BY_NAME["table3_lowest_psnr"]
    study["resnet18/bido"]["decoders"] = {"black_box": 10.0}
    assert rule.judge(simulated.source(study, 1))[1] == REFUTED
    study["resnet18/bido"]["accuracy"] = 11.0
    assert rule.judge(simulated.source(study, 1))[1] == REPRODUCED
    study["resnet18/siftfunnel"]["accuracy"] = 11.0
    assert rule.judge(simulated.source(study, 1))[1:] == (OPEN, "resnet18/siftfunnel is at chance")


def test_what_leaks_at_chance_supports_no_claim_on_a_part_or_a_network():
    study, rule = simulated.printed(), BY_NAME["table5_no_kl"]
    assert rule.judge(simulated.source(study, 1))[1] != OPEN
    study["ablation/no_kl"]["accuracy"] = 10.0
    assert rule.judge(simulated.source(study, 1))[1:] == (OPEN, "ablation/no_kl is at chance")


def test_a_study_like_the_papers(whole):
    judged = claims(whole)
    assert list(judged) == list(BY_NAME)
    assert judged["table4_lowest_psnr"]["verdict"] == REPRODUCED
    # at the paper's width, whatever this scale's is
    assert float(judged["table2_small_edge"]["ours"]) == pytest.approx(299520 / 14938)
    # the lowest is noise's decoder: dropout, with 15.4 dB, is at chance
    assert float(judged["table2_lowest_psnr"]["ours"]) == pytest.approx(19.65 - 14.9)
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
    assert table[2][-4:] == ["2.57", "4.75", "+2.18", "**reproduced**"]
    assert rows["table2_ae_gray_stronger"]["verdict"] == REPRODUCED
    assert rows["table2_ae_gray_stronger"]["paper"] == pytest.approx(4.4407)
    assert "paper" not in rows["figure5_xray"]


def test_a_failed_decoder_supports_nothing(whole):
    whole.set("resnet18/siftfunnel", "generator gray_box", **scores(11.0), failed=True)
    judged = claims(whole, "resnet18", "ablation")
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
    # of three, no order has a p-value below 1/6
    assert judged["figure2_cnn_generator_nonzero"]["reason"] == "depth_cnn: 3 of 3 cuts have both values, 4 are needed"


def test_trends_leave_out_failed_cuts_and_tie_saturated_estimates(whole):
    for cut in (3, 4):
        whole.set(f"depth_cnn/cut{cut}", "generator black_box", **scores(12.0), failed=True)
    reason = claims(whole, "depth_cnn", "depth_resnet18")["figure2_cnn_generator_nonzero"]["reason"]
    assert reason == "depth_cnn: 2 of 4 cuts have both values, 4 are needed"
    # cuts 1 and 2 at the cap, one above the other by chance: they tie
    for cut, nats in ((1, 5.95), (2, 5.96), (3, 3.0), (4, 2.0), (5, 1.0)):
        for network in ("cnn", "resnet18")[cut == 5 :]:
            whole.set(f"depth_{network}/cut{cut}", "mi calibrated", mi_nats=nats, cap_nats=6.0)
    kept = {f"depth_resnet18/cut{cut}" for cut in range(1, 6)}
    whole.rows["claims"] = [r for r in whole.rows["claims"] if not r.startswith("depth_resnet18") or r in kept]
    judged = claims(whole)
    line = judged["figure2_cnn_mi_calibrated_cut"]
    assert (line["verdict"], line["ours"]) == (OPEN, "")
    assert line["reason"] == "depth_cnn: 2 of 4 estimates are below their cap, 3 are needed"
    tied = judged["figure2_resnet18_mi_calibrated_cut"]
    assert float(tied["ours"]) == pytest.approx(-math.sqrt(0.95))  # ranks 4.5, 4.5, 3, 2, 1: -9.5 / sqrt(10 * 9.5)
    assert tied["verdict"] == REPRODUCED  # p = 2 / 120


def test_a_ratio_to_nothing_is_not_judged(whole):
    whole.set("cnn/siftfunnel", "effective", nonzero_per_image=0.0)
    line = claims(whole, "cnn")["table2_fewest_nonzero"]
    assert (line["verdict"], line["reason"]) == (OPEN, "what it is divided by is zero")


def test_values_are_means_over_seeds(whole):
    whole.reseed("cnn/siftfunnel", 0, 1)
    whole.set("cnn/siftfunnel", "target", seed=1, accuracy=0.748)
    line = claims(whole, "cnn")["table2_siftfunnel_cheap"]
    assert float(line["ours"]) == pytest.approx(77.5 - (76.8 + 74.8) / 2)
    assert line["verdict"] == OPEN  # two seeds that are 2 points apart: t is 6.3


def test_estimates_that_are_not_above_their_null_order_nothing(whole):
    """1.645 deviations of 0.1 above a null of 0.2: 0.36 nats say nothing, 0.37 do. A null below zero counts as zero."""
    for cut, nats, null in ((1, 0.37, 0.2), (2, 0.36, 0.2), (3, 0.16, -5.0), (4, 0.1, 0.0)):
        told = {"mi_nats": nats, "null_nats": null, "null_nats_std": 0.1, "cap_nats": 6.0}
        whole.set(f"depth_cnn/cut{cut}", "mi calibrated", **told)
    line = claims(whole, "depth_cnn")["figure2_cnn_mi_calibrated_cut"]
    assert (line["verdict"], line["ours"]) == (OPEN, "")
    assert line["reason"] == "depth_cnn: 1 of 4 estimates are above their null, 3 are needed"


def test_estimates_at_their_null_tie_below_all_others(whole):
    """ResNet-18's last two of five cuts say nothing, whichever reads higher: ranks 5, 4, 3, 1.5, 1.5."""
    kept = {f"depth_resnet18/cut{cut}" for cut in range(1, 6)}
    whole.rows["claims"] = [r for r in whole.rows["claims"] if not r.startswith("depth_resnet18") or r in kept]
    for cut, nats in ((1, 3.0), (2, 2.0), (3, 1.0), (4, 0.05), (5, 0.06)):
        told = {"mi_nats": nats, "null_nats": -0.02, "null_nats_std": 0.05, "cap_nats": 6.0}
        whole.set(f"depth_resnet18/cut{cut}", "mi calibrated", **told)
    line = claims(whole, "depth_resnet18")["figure2_resnet18_mi_calibrated_cut"]
    assert float(line["ours"]) == pytest.approx(-math.sqrt(0.95))
    assert line["verdict"] == REPRODUCED


def test_estimates_of_nothing_hold_no_trend():
    """Estimates that scatter about zero, as those of independent pairs: no seed's order counts."""
    rng = np.random.default_rng(0)
    rules = [name for name in BY_NAME if name.startswith("figure2") and "mi_calibrated" in name]
    found = Counter()
    for _ in range(4):
        study = simulated.printed()
        for cell in study:
            study[cell]["mi"] = 0.0
        found.update(judged(simulated.source(study, 1, rng), rules).values())
    assert found == {OPEN: 4 * len(rules)}
