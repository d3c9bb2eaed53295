"""Figures 1, 2, 3 and 5: real layers, values and images in their places, and text that does not collide."""

import numpy as np
import pytest
from fabricated import BLOCKS
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_figures import find, pixels, rebuilt, words, written

from splitprobe.artifacts import read_npz
from splitprobe.report import diagram, figure1, figure2, figure3, figure5
from splitprobe.report.style import styled

FIGURES = {"figure1": figure1, "figure2": figure2, "figure3": figure3, "figure5": figure5}


def drawn(whole, name: str):
    with styled():
        return FIGURES[name].draw(whole.params(), whole.paths)


def text(whole, name: str) -> str:
    return words(drawn(whole, name)).replace("\n", " ")


@pytest.mark.parametrize("name", FIGURES)
def test_text_stays_apart_and_inside(whole, name):
    figure = drawn(whole, name)
    with styled():
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in figure.texts if t.get_text()]
        panels = [axes.get_tightbbox(renderer) for axes in figure.axes]
    for i, (label, box) in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, label
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, label
        assert not [other for other, its in boxes[:i] if box.overlaps(its)], label
    for i, box in enumerate(panels):
        assert not [other for other in panels[:i] if box.overlaps(other)]


@pytest.mark.parametrize("name", FIGURES)
def test_two_drawings_give_the_same_few_bytes(whole, name):
    first, again = rebuilt(whole, name), rebuilt(whole, name)
    assert first == again == written(whole, name)
    assert len(first[0]) < 700_000
    assert first[1].startswith(b"%PDF")


def test_figure2_draws_every_cut_and_marks_failures(whole):
    figure = drawn(whole, "figure2")
    assert [axes.get_title(loc="left") for axes in figure.axes[:4]] == [
        "Mutual information, calibrated",
        "Mutual information, paper's estimator",
        "Effective information",
        "Attacks",
    ]
    attacks = figure.axes[7]  # ResNet-18's
    generator, mle = (line for line in attacks.lines if line.get_label() in ("generator", "MLE"))
    assert list(generator.get_ydata()) == [32.0 - 2 * cut for cut in range(1, 10)]
    assert mle.get_ydata()[0] == 27.0
    dashed = [line.get_ydata()[0] for line in attacks.lines if line.get_linestyle() == "--"]
    assert dashed == [12.2, 12.2]
    hollow = [line for line in attacks.lines if line.get_markerfacecolor() == "white"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in hollow] == [(9, 11.0)]
    assert figure.axes[2].get_yscale() == "log"
    assert [label.get_text() for label in figure.axes[4].get_xticklabels()] == [str(cut) for cut in range(1, 10)]
    assert {"A  CNN", "B  ResNet-18", "32×16×16"} <= {t.get_text() for t in figure.texts}


def test_figure2_shows_what_is_rebuilt_at_each_cut(whole):
    page = pixels(whole, "figure2")
    for cut in (1, 4):
        images = read_npz(whole.paths.result(f"depth_cnn/cut{cut}", "generator.npz"))
        assert len(find(page, images["black_box"][0].repeat(2, 0).repeat(2, 1))) == 1
    assert len(find(page, images["x"][0].repeat(2, 0).repeat(2, 1))) == 2  # once for each network


def test_figure2_marks_saturated_estimates_and_leaves_gaps(whole):
    whole.edit("depth_cnn/cut1", "information", lambda r: r["mine"]["paper"].update(mi_nats=0.985))
    whole.edit("depth_cnn/cut2", "information", lambda r: r["mine"]["paper"].update(mi_nats=None))
    panel = drawn(whole, "figure2").axes[1]
    assert list(panel.lines[0].get_xdata()) == [1, 3, 4]
    assert [line.get_markerfacecolor() == "white" for line in panel.lines[1:]] == [True, False, False]


def test_figure5_names_data_and_accuracy(whole):
    shown = text(whole, "figure5")
    for part in ("Faces, original", "X-rays, original", "Unprotected 77.5 %", "SiftFunnel 76.8 %", "14.9 dB 0.40"):
        assert part in shown
    assert "Under each name: accuracy on test images." in shown
    page = pixels(whole, "figure5")
    images = read_npz(whole.paths.result("xray_vgg16/siftfunnel", "generator.npz"))
    assert len(find(page, images["gray_box"][2].repeat(3, 2))) == 1


@pytest.mark.parametrize("name", ["figure1", "figure3"])
def test_diagrams_have_the_cells_real_layers(whole, name):
    shown = text(whole, name)
    row = {"figure1": "19,904", "figure3": "26,904"}[name]
    for part in (
        f"Edge: {row} parameters",
        "Cloud: 400,000 parameters",
        "16 × 16 × 16   (812 parameters)",
        "Conv2d 3→16, 3×3 · BatchNorm · MaxPool · ReLU · squeeze-and-excitation 16→1→16 · triplet attention",
        "CBAM 12→2→12",
        "64 × 8 × 8, 16,384 bytes",
        "Network: CNN, cut 2",
    ):
        assert part in shown


def test_figure1_shows_the_adversary_and_its_scores(whole):
    shown = text(whole, "figure1")
    for part in (
        "Adversary",
        "generator (black-box), 24.3 dB",
        "MLE (tuned), 22.2 dB",
        "one of 8 classes, 77.5 % correct",
    ):
        assert part in shown
    page = pixels(whole, "figure1")
    rebuilt_by = read_npz(whole.paths.result("cnn/unprotected", "mle.npz"))["tuned"]
    assert len(find(page, rebuilt_by[0].repeat(2, 0).repeat(2, 1))) == 1


def test_figure3_states_the_losses_weights_where_they_are_known(whole):
    assert "Weight" not in text(whole, "figure3")
    weights = {"alpha_kl": 3.5, "label_smoothing": 0.35, "lambda_dcor": 0.8, "lambda_pearson": 0.6, "lambda_l1": 0.03}
    whole.edit("cnn/siftfunnel", "target", lambda record: record.update(settings={"loss": weights}))
    shown = text(whole, "figure3")
    for part in ("Weight 0.8", "Weight of Pearson 0.6, of L1 0.03", "Weight 3.5, smoothing 0.35"):
        assert part in shown


def test_attention_is_folded_and_other_layers_are_not():
    assert diagram.folded(["Linear 16→4", "ReLU", "Linear 4→10"]) == "Linear 16→4 · ReLU · Linear 4→10"
    assert diagram.folded(BLOCKS[2]["layers"]).endswith("ReLU · squeeze-and-excitation 12→3→12 · CBAM 12→2→12")
    # another version of the stage may name them itself
    assert diagram.folded(["SqueezeExcite", "Cbam"]) == "SqueezeExcite · Cbam"


def test_a_network_with_many_blocks_makes_a_taller_diagram(whole):
    before = drawn(whole, "figure1").get_size_inches()
    more = [*BLOCKS, *([BLOCKS[3]] * 6)]
    whole.edit("cnn/unprotected", "target", lambda record: record.update(blocks=more))
    after = drawn(whole, "figure1").get_size_inches()
    assert after[0] == before[0]
    assert after[1] > before[1] + 3
    assert np.isfinite(after).all()
