"""The figure of z's levels: the order of its channels, and what stands above them."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from splitprobe.params import ParamsError
from splitprobe.report import histograms
from splitprobe.report.figures import build_figure
from splitprobe.report.histograms import shares
from splitprobe.report.style import styled


@pytest.fixture
def made(repository):
    repository.rows["histograms"] = ["cnn/unprotected", "cnn/siftfunnel", "cnn/ae"]
    return repository


def drawn(repository):
    with styled():
        figure = histograms.draw(repository.params(), repository.paths)
        FigureCanvasAgg(figure).draw()
    return figure


def test_channels_stand_in_the_order_of_their_entropy():
    counts = np.array([[1, 1, 1, 1], [0, 6, 0, 2], [8, 0, 0, 0], [0, 0, 0, 0]])
    found = shares(counts)
    assert found[0].tolist() == [1, 0, 0, 0]
    assert found[1].tolist() == [0, 0, 0, 0]  # without an entry: as cheap as a constant
    assert found[2].tolist() == [0, 0.75, 0, 0.25]
    assert found[3].tolist() == [0.25] * 4


def test_each_cell_has_a_panel_with_its_bits(made):
    figure = drawn(made)
    panels = [axes for axes in figure.axes if axes.images and axes.get_ylabel() == "channel"]
    assert [axes.get_title(loc="left") for axes in panels] == [
        "Unprotected: 12,155 of 32,768 bits an image, 3 of 64 dead",
        "SiftFunnel: 6,450 of 32,768 bits an image, 3 of 64 dead",
        "Autoencoder: 10,450 of 32,768 bits an image, 3 of 64 dead",
    ]
    picture = panels[0].images[0].get_array()
    assert picture.shape == (64, 256)
    assert picture[0, 0] == 1  # a dead channel
    assert np.asarray(picture)[-1, :61] == pytest.approx(np.full(61, 1 / 61), rel=0.02)
    assert "quantized to 256 levels" in " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def test_it_is_written_and_a_missing_file_is_named(made):
    build_figure("histograms", made.params(), made.paths)
    assert made.paths.figure("histograms", "png").stat().st_size < 300_000
    made.paths.result("cnn/ae", "histograms.npz").unlink()
    with pytest.raises(
        ParamsError, match=r"rows\.histograms: 'cnn/ae' has no .*histograms\.npz; stage probe_target@cnn/ae"
    ):
        drawn(made)
