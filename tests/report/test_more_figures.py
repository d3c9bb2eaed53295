"""Figures 1, 2 and 3: real layers, values and images in their places, and text that does not collide."""

import json

import pytest
from drawing import assert_readable, assert_stable, at, drawn, seen, words
from fabricated_items import BLOCKS

from splitprobe.report import diagram


@pytest.fixture
def shown(whole):
    """The whole study with pictures for these figures; ``made`` has them."""
    whole.made = whole.pictures("cnn/unprotected", "cnn/siftfunnel", *whole.rows["figure2"])
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("name", ["figure1", "figure2", "figure3"])
def test_text_stays_apart_and_inside_and_bytes_are_few_and_stable(shown, name):
    assert_readable(drawn(shown, name))
    assert_stable(shown, name, 150_000)
    assert shown.paths.figure(name, "pdf").stat().st_size < 300_000


def test_figure2_draws_every_cut_and_marks_failures(shown):
    figure = drawn(shown, "figure2")
    assert [axes.get_title(loc="left") for axes in figure.axes[:4]] == [
        *("Mutual information, calibrated", "Mutual information, paper's estimator", "Effective information", "Attacks")
    ]
    attacks = figure.axes[7]  # ResNet-18's
    generator, mle = (line for line in attacks.lines if line.get_label() in ("generator", "MLE"))
    assert list(generator.get_ydata()) == [32.0 - 2 * cut for cut in range(1, 10)]
    assert mle.get_ydata()[0] == 27.0
    assert [line.get_ydata()[0] for line in attacks.lines if line.get_linestyle() == "--"] == [12.2, 12.2]
    hollow = [line for line in attacks.lines if line.get_markerfacecolor() == "white"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in hollow] == [(9, 11.0)]
    assert figure.axes[2].get_yscale() == "log"
    assert list(figure.axes[2].lines[0].get_ydata()) == pytest.approx([9000 / cut for cut in range(1, 5)])
    assert [label.get_text() for label in figure.axes[4].get_xticklabels()] == [str(cut) for cut in range(1, 10)]
    assert {"A  CNN", "B  ResNet-18", "32×16×16"} <= {text.get_text() for text in figure.texts}


@pytest.mark.slow
def test_figure2_shows_what_is_rebuilt_at_each_cut(shown):
    seen(shown, "figure2")
    for cut in (1, 4):
        assert at(shown, "figure2", shown.made[f"depth_cnn/cut{cut}"]["generator black_box"][0], off=12)
    columns = {x for _, x in at(shown, "figure2", shown.made["depth_cnn/cut1"]["x"][0], off=3)}
    assert len({x // 100 for x in columns}) >= 2  # once for each network


def test_figure2_marks_saturated_estimates_and_leaves_gaps(shown):
    shown.set("depth_cnn/cut1", "mi paper", mi_nats=0.985)
    shown.set("depth_cnn/cut2", "mi paper", mi_nats=None)
    panel = drawn(shown, "figure2").axes[1]
    assert list(panel.lines[0].get_xdata()) == [1, 3, 4]
    assert [line.get_markerfacecolor() == "white" for line in panel.lines[1:]] == [True, False, False]


@pytest.mark.parametrize(("name", "edge"), [("figure1", "19,904"), ("figure3", "26,904")])
def test_diagrams_have_the_cells_real_layers(shown, name, edge):
    text = words(drawn(shown, name))
    for part in (
        *(f"Edge: {edge} parameters", "Cloud: 400,000 parameters", "16 × 16 × 16 (812 parameters)"),
        "Conv2d 3→16, 3×3 · BatchNorm · MaxPool · ReLU · squeeze-and-excitation 16→1→16 · triplet attention",
        *("CBAM 12→2→12", "64 × 8 × 8, 16,384 bytes", "Network: CNN, cut 2"),
    ):
        assert part in text


def test_figure1_shows_the_adversary_and_its_scores(shown):
    text = words(seen(shown, "figure1"))
    for part in (
        *("Adversary", "generator (black-box), 24.3 dB", "MLE (tuned), 22.2 dB", "one of 8 classes, 77.5 % correct"),
    ):
        assert part in text
    assert at(shown, "figure1", shown.made["cnn/unprotected"]["mle tuned"][0])


def test_figure3_states_the_losses_weights_where_they_are_known(shown):
    assert "Weight" not in words(drawn(shown, "figure3"))
    weights = {"alpha_kl": 3.5, "label_smoothing": 0.35, "lambda_dcor": 0.8, "lambda_pearson": 0.6, "lambda_l1": 0.03}
    shown.set("cnn/siftfunnel", "settings loss", **weights)
    text = words(drawn(shown, "figure3"))
    for part in ("Weight 0.8", "Weight of Pearson 0.6, of L1 0.03", "Weight 3.5, smoothing 0.35"):
        assert part in text


def test_attention_is_folded_and_other_layers_are_not():
    assert diagram.folded(["Linear 16→4", "ReLU", "Linear 4→10"]) == "Linear 16→4 · ReLU · Linear 4→10"
    assert diagram.folded(BLOCKS[2]["layers"]).endswith("ReLU · squeeze-and-excitation 12→3→12 · CBAM 12→2→12")
    # another version of the stage may name them itself
    assert diagram.folded(["SqueezeExcite", "Cbam"]) == "SqueezeExcite · Cbam"


def test_a_network_with_many_blocks_makes_a_taller_diagram(shown):
    before = drawn(shown, "figure1").get_size_inches()
    shown.set("cnn/unprotected", "target", blocks=json.dumps([*BLOCKS, *([BLOCKS[3]] * 6)]))
    after = drawn(shown, "figure1").get_size_inches()
    assert after[0] == before[0]
    assert after[1] > before[1] + 3
