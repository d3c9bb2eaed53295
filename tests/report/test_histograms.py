"""The figure of z's levels: the order of its channels, and what stands above them."""

import numpy as np
import pytest
from drawing import drawn, rebuilt, words

from splitprobe.report.histograms import shares


def test_channels_stand_in_the_order_of_their_entropy():
    counts = np.array([[1, 1, 1, 1], [0, 6, 0, 2], [8, 0, 0, 0], [0, 0, 0, 0]])
    found = shares(counts)
    assert found[0].tolist() == [1, 0, 0, 0]
    assert found[1].tolist() == [0, 0, 0, 0]  # without an entry: as cheap as a constant
    assert found[2].tolist() == [0, 0.75, 0, 0.25]
    assert found[3].tolist() == [0.25] * 4


@pytest.mark.slow
def test_each_cell_has_a_panel_with_its_first_seeds_bits(thrice):
    thrice.rows["histograms"] = ["cnn/unprotected", "cnn/siftfunnel", "cnn/ae"]
    thrice.pictures(*thrice.rows["histograms"])
    thrice.set("cnn/ae", "entropy", seed=2, coded_bits_per_image=1.0)
    thrice.set("cnn/siftfunnel", "entropy", seed=1, coded_bits_per_image=(None, "no code"))
    figure = drawn(thrice, "histograms")
    panels = [axes for axes in figure.axes if axes.images and axes.get_ylabel() == "channel"]
    assert [axes.get_title(loc="left") for axes in panels] == [
        "Unprotected: 12,155 of 32,768 bits an image, 4 of 64 channels constant",
        "SiftFunnel: n/a, 4 of 64 channels constant",
        "Autoencoder: 10,450 of 32,768 bits an image, 4 of 64 channels constant",
    ]
    # the three that are dead, and the one whose 1,024 entries share a level: as the picture shows it
    picture = panels[0].images[0].get_array()
    assert picture.shape == (64, 256)
    assert picture[0, 0] == 1  # a dead channel
    assert np.asarray(picture)[-1, :61] == pytest.approx(np.full(61, 1 / 61), rel=0.02)
    assert "quantized to 256 levels between its extremes on 1,600 training images" in words(figure)
    assert "Seed 1; CPU" in words(figure)
    assert len(rebuilt(thrice, "histograms")[0]) < 150_000
