"""Tables III to VI, which share Table II's builder, and the latencies."""

import pytest
from fabricated import scores
from test_tables import block, build


def test_table3_has_the_papers_numbers_of_its_network(whole):
    page, lines, rows = build(whole, "table3")
    assert page.startswith("# Table III: defenses against model inversion, ResNet-18\n")
    table = block(page, "## Beside the paper")
    assert table[2][:4] == ["Unprotected", "black-box", "77.5 (90.43)", "–"]
    assert table[2][10:13] == ["0.0111 (0.0010)", "24.21 (34.66)", "0.972 (0.999)"]
    assert table[2][13:] == ["0.2100 (0.9719)", "1,877 (182,134)", "19,904 (149,824)"]
    assert "SiftFunnel's printed decoder errors (0.1957 black-box, 0.2790 gray-box) are above a constant" in page
    assert lines[0]["paper_mle_psnr_db_paper"] == "71.0996"
    # a decoder in the cloud is Table V's alone
    assert "cloud-side" not in page
    assert rows["resnet18/siftfunnel"]["strongest_psnr_db"] == 14.9


def test_table4_compares_faces_whose_channels_may_be_one(whole):
    page, _, _ = build(whole, "table4")
    table = block(page, "## Beside the paper")
    assert [line[0] for line in table[2:6]] == ["Unprotected", "NLS", "MID", "BiDO as published"]
    assert table[4][2:4] == ["79.1 (79.45)", "+1.6 (-10.98)"]
    assert "FaceScrub at 64 × 64 with about 34,500 training images" in page
    assert "(3 times the usual for RGB)" in page
    for name in whole.rows["table4"]:
        whole.set(name, "dataset", channels=1)
    assert "summed over the color channels (nothing changes for one channel)" in build(whole, "table4")[0]


def test_table5_shows_the_decoder_that_knows_the_edge(whole):
    page, lines, rows = build(whole, "table5")
    ours, theirs = block(page, "## Accuracy"), block(page, "## Beside the paper")
    assert ours[2][:4] == ["Unprotected", "black-box", "77.5", "–"]
    assert ours[3][:5] == ["Without funnel", "gray-box", "76.0", "-1.5", "16.50"]
    assert theirs[3][2:4] == ["76.0 (90.33)", "-1.5 (-0.10)"]
    assert theirs[2][7:] == ["0.2100 (0.9719)", "1,877 (182,134)"]
    assert "The paper tuned its MLE" not in page
    assert rows["ablation/no_l1"]["generator_gray_box_psnr_db"] == 21.5
    by_part = {line["row"]: line for line in lines if line["access"] == "gray-box"}
    assert by_part["ablation/no_kl"]["paper_generator_mse_paper"] == "0.085"
    # the whole SiftFunnel attacked in the cloud, which is no attack on z
    assert ours[10][:6] == ["SiftFunnel, attacked in the cloud", "cloud-side", "", "", "17.00", "0.480"]
    assert theirs[10][4:7] == [f"{scores(17.0)['mse_paper']:.4f} (0.0521)", "16.90 (17.62)", "0.680 (0.821)"]
    assert theirs[10][7:] == ["not measured (0.8905)", "not measured (176,380)"]
    row = rows["resnet18/siftfunnel"]
    assert (row["strongest_psnr_db"], row["generator_cloud_side_psnr_db"]) == (14.9, 17)
    (line,) = [line for line in lines if line["access"] == "cloud-side"]
    assert (line["generator_psnr_db"], line["paper_generator_psnr_db_paper"]) == ("17", "17.6159")
    whole.drop("resnet18/siftfunnel", "generator cloud_side")
    assert not [line for line in block(build(whole, "table5")[0], "## Accuracy") if "cloud" in line[0]]


def test_table6_compares_networks(whole):
    page, _, rows = build(whole, "table6")
    table = block(page, "## Accuracy and attacks")
    assert [line[0] for line in table[2:8]] == ["CNN", "", "ResNet-18", "", "VGG16", ""]
    assert table[2][3] == "-0.7"  # against the unprotected row, which has no line of its own
    vgg = block(page, "## Edge parameters")[4]
    assert vgg[:5] == ["VGG16", "26,904", "27,404", "19,904", "0.74 : 1"]
    # at the paper's width: 113,088 / 52,086 parameters, 233.6 / 171.1 million multiply-accumulates
    assert vgg[5:] == ["52,086", "171,127,392", "32,768", "2.17 : 1", "1.36 : 1"]
    theirs = block(page, "## Beside the paper")
    assert theirs[6][2:4] == ["76.8 (88.89)", "-0.7 (-2.18)"]
    assert theirs[6][-1] == "27,404 (52,086)"
    assert sorted(rows) == sorted(whole.rows["table6"])  # the JSON has the unprotected ones too
    assert rows["cnn/siftfunnel"]["edge_parameters_paper"] == 27404


def test_latency(repository):
    page, lines, rows = build(repository, "latency")
    ours, theirs = block(page, "# Latency"), block(page, "## Beside the paper")
    assert ours[4][:6] == ["Autoencoder", "26,904", "5,500,000", "16,384", "1.200 / 1.560", "2.000 / 2.500"]
    assert ours[4][6:] == ["n/a<sup>1</sup>"] * 2
    assert "<sup>1</sup> no GPU here" in page
    assert "Seed 0; CPU, 2 threads, float32." in page
    assert "- CPU: batch of 1, 200 timed runs after 20 for warming up; threads: 2." in page
    assert theirs[4][1:5] == ["1.200", "2.812", "1.20", "2.34"]  # 2.812 / 1.204
    assert theirs[3][2] == "–"
    assert (rows["cnn/ae"]["edge_cpu_ratio"], rows["cnn/ae"]["edge_cpu_p95_ms"]) == (1.2, 1.56)
    assert "edge_gpu_ms" not in rows["cnn/ae"]
    assert lines[3]["paper_edge_gpu_ms"] == "6.9"
    assert float(lines[3]["paper_edge_gpu_ratio"]) == pytest.approx(6.9 / 3.9)
    assert "cuda_edge_latency_ms: no GPU here" in lines[3]["absent"]


def test_latency_with_a_gpu_of_several_seeds(thrice):
    own = thrice.values["costs"]
    own |= {
        (cell, seed, "cost cuda", key): value for (cell, seed, item, key), value in own.items() if item == "cost cpu"
    }
    page, _, rows = build(thrice, "latency")
    assert block(page, "## Beside the paper")[5][5:] == ["1.200", "6.900", "1.20", "1.77"]
    assert rows["cnn/siftfunnel"]["cloud_gpu_p95_ms"] == 2.5
    assert "n/a" not in page
    assert "Seed 1; " in page  # measured once, with the first seed's weights
