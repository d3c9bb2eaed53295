"""Tables III to VI: what differs from Table II, whose builder they share."""

import pytest
from fabricated import scores
from test_tables import block, build

from splitprobe.artifacts import read_json


def test_table3_has_the_papers_numbers_of_its_network(whole):
    page, lines, rows = build(whole, "table3")
    assert page.startswith("# Table III: defenses against model inversion, ResNet-18\n")
    table = block(page, "## Beside the paper")
    assert table[2][:4] == ["Unprotected", "black-box", "77.5 (90.43)", "–"]
    assert table[2][4:7] == ["0.0111 (0.0010)", "24.21 (34.66)", "0.972 (0.999)"]
    assert table[2][10:] == ["0.2100 (0.9719)", "1,877 (182,134)", "19,904 (149,824)"]
    assert (
        "SiftFunnel's printed decoder errors (0.1957 black-box, 0.2790 gray-box) are above a constant color's" in page
    )
    assert sorted(rows)[0] == "resnet18/ae"
    assert lines[0]["paper_mle_psnr_db_paper"] == "71.0996"


def test_a_decoder_in_the_cloud_is_table_fives_alone(whole):
    for name in ("table3", "table6"):
        page, _, rows = build(whole, name)
        assert "cloud-side" not in page
        assert rows["resnet18/siftfunnel"]["strongest_psnr_db"] == 14.9
    page, lines, rows = build(whole, "table5")
    ours, theirs = block(page, "## Accuracy"), block(page, "## Beside the paper")
    assert ours[10][:6] == ["SiftFunnel, attacked in the cloud", "cloud-side", "", "", "17.00", "0.480"]
    assert theirs[10][4:7] == [f"{scores(17.0)['mse_paper']:.4f} (0.0521)", "16.90 (17.62)", "0.680 (0.821)"]
    assert rows["resnet18/siftfunnel"]["strongest_psnr_db"] == 14.9
    assert rows["resnet18/siftfunnel"]["generator_cloud_side_psnr_db"] == 17.0
    (line,) = [line for line in lines if line["access"] == "cloud-side"]
    assert (line["generator_psnr_db"], line["paper_generator_psnr_db_paper"]) == ("17.0", "17.6159")


def test_table4_compares_faces(whole):
    page, _, _ = build(whole, "table4")
    table = block(page, "## Beside the paper")
    assert [line[0] for line in table[2:6]] == ["Unprotected", "NLS", "MID", "BiDO as published"]
    assert table[4][2:4] == ["79.1 (79.45)", "+1.6 (-10.98)"]
    assert "FaceScrub at 64 × 64 with about 34,500 training images" in page


def test_summing_over_one_channel_is_not_three_times_anything(whole):
    page, _, _ = build(whole, "table4")
    assert "(3 times the usual for RGB)" in page
    for name in whole.rows["table4"]:
        whole.edit(name, "target", lambda record: record["dataset"].update(channels=1))
    page, _, _ = build(whole, "table4")
    assert "3 times" not in page
    assert "MSE is summed over the color channels (nothing changes for one channel)" in page


def test_table5_shows_the_decoder_that_knows_the_edge(whole):
    page, lines, rows = build(whole, "table5")
    ours, theirs = block(page, "## Accuracy"), block(page, "## Beside the paper")
    assert ours[2][:4] == ["Unprotected", "black-box", "77.5", "–"]
    assert ours[3][:5] == ["Without funnel", "gray-box", "76.0", "-1.5", "16.50"]
    assert theirs[3][2:4] == ["76.0 (90.33)", "-1.5 (-0.10)"]
    assert theirs[2][7:] == ["0.2100 (0.9719)", "1,877 (182,134)"]
    assert "MLE is the variant" not in page
    assert rows["ablation/no_l1"]["generator_gray_box_psnr_db"] == 21.5
    by_part = {line["row"]: line for line in lines if line["access"] == "gray-box"}
    assert by_part["ablation/no_kl"]["paper_generator_mse_paper"] == "0.085"
    # another decoder in the cloud's place: none is shown
    whole.edit("resnet18/siftfunnel", "generator", lambda record: record["decoders"].pop("cloud_side"))
    assert not [line for line in block(build(whole, "table5")[0], "## Accuracy") if "cloud" in line[0]]


def test_table6_compares_networks(whole):
    page, _, rows = build(whole, "table6")
    table = block(page, "## Accuracy and attacks")
    assert [line[0] for line in table[2:8]] == ["CNN", "", "ResNet-18", "", "VGG16", ""]
    assert table[2][3] == "-0.7"  # against the unprotected row, which has no line of its own
    assert block(page, "## Edge parameters")[4] == ["VGG16", "26,904", "27,404", "19,904", "0.74"]
    theirs = block(page, "## Beside the paper")
    assert theirs[6][2:4] == ["76.8 (88.89)", "-0.7 (-2.18)"]
    assert theirs[6][-1] == "27,404 (52,086)"
    assert sorted(rows) == sorted(whole.rows["table6"])  # the JSON has the unprotected ones too
    assert rows["cnn/siftfunnel"]["edge_parameters_paper"] == 27404


@pytest.mark.parametrize("name", ["table3", "table4", "table5", "table6"])
def test_rows_are_written_below_their_table(whole, name):
    _, _, rows = build(whole, name)
    assert read_json(whole.paths.table(name) / f"{min(rows)}.json")["accuracy_percent"] > 10
