"""The plane of privacy and accuracy: points where the results say, and the sweeps' points on their defense's line."""

import pytest
from drawing import assert_stable, drawn, words
from fabricated import FLOOR, ORDER
from matplotlib.backends.backend_agg import FigureCanvasAgg

from splitprobe.report import tradeoff
from splitprobe.report.style import look, styled


def swept(repository, *lines: tuple) -> None:
    """Write points: cell, value, accuracy in percent, PSNR of the strongest attack."""
    for cell, value, percent, db in lines:
        repository.point(cell, "defense.gaussian_noise.sigma", value, None if percent is None else percent / 100, db)


def lines(figure, i: int) -> list[list[tuple[float, float]]]:
    """The points of the i-th defense's lines, one for each knob."""
    own = [
        a for a in figure.axes[0].lines if a.get_color() == look(i)["color"] and a.get_markersize() == tradeoff.SWEPT
    ]
    return [list(zip(*artist.get_data(), strict=True)) for artist in own]


def line(figure, i: int) -> list[tuple[float, float]]:
    return lines(figure, i)[0]


def test_a_defense_stands_at_its_accuracy_and_its_strongest_attack(repository):
    figure = drawn(repository, "tradeoff")  # no sweep has run
    assert line(figure, 0) == [(77.5, 24.31)]
    assert line(figure, 1) == [(pytest.approx(70.2), 22.9)]  # the decoder with several queries
    assert line(figure, 3) == [(pytest.approx(74.1), 12.9)]  # gray-box
    names = [label.get_text() for label in figure.axes[0].get_legend().get_texts()]
    assert names == ["Unprotected", "Gaussian noise", "Autoencoder", "SiftFunnel"]
    for phrase in ("0 points of sweeps", "Scale demo: photo of origin", "Seed 0", "better", "unprotected, 24.3 dB"):
        assert phrase in words(figure)
    assert f"floor: mean auxiliary image, {FLOOR} dB" in words(figure)
    assert any(set(level.get_ydata()) == {FLOOR} for level in figure.axes[0].lines)


def test_a_sweep_is_a_line_sorted_by_accuracy(repository):
    noise = "cnn/gaussian_noise"
    swept(repository, (noise, 0.2, 76.0, 24.1), (noise, 1.6, 55.0, 20.9), ("cnn/vib", 0.1, 70.0, 20.0))
    figure = drawn(repository, "tradeoff")
    assert line(figure, 1) == [(pytest.approx(55.0), 20.9), (pytest.approx(70.2), 22.9), (76.0, 24.1)]
    assert "2 points of sweeps over one setting (seed 0)" in words(figure)  # VIB is no row of this figure


def test_a_setting_without_a_score_is_no_point(repository):
    swept(repository, ("cnn/gaussian_noise", 0.2, None, 24.1), ("cnn/gaussian_noise", 0.4, 70.0, None))
    figure = drawn(repository, "tradeoff")
    assert len(line(figure, 1)) == 1
    assert "0 points of sweeps" in words(figure)


def test_each_knob_has_a_line_and_the_caption_names_the_seeds(repository):
    noise = "cnn/gaussian_noise"
    swept(repository, (noise, 0.2, 76.0, 24.1))
    for seed in (10, 2):
        repository.point(noise, "another", 0.2, 0.6, 21.0, seed)
    figure = drawn(repository, "tradeoff")
    assert [len(points) for points in lines(figure, 1)] == [2, 2]
    assert "2 points of sweeps over one setting (seed 0 / seeds 2 10)" in words(figure)


def test_means_have_bars_and_fewer_seeds_a_mark(repository):
    for cell in ("cnn/unprotected", "cnn/gaussian_noise", "cnn/ae"):
        repository.reseed(cell, 0, 1)
    repository.set("cnn/ae", "target", seed=1, accuracy=0.801)
    figure = drawn(repository, "tradeoff")
    assert line(figure, 2) == [(pytest.approx(79.1), 20.9)]
    (bar,) = figure.axes[0].containers
    assert bar.has_xerr
    assert not bar.has_yerr
    names = [label.get_text() for label in figure.axes[0].get_legend().get_texts()]
    assert names == ["Unprotected", "Gaussian noise", "Autoencoder", "SiftFunnel [1]"]


def test_a_cell_without_a_score_is_named_and_has_no_point(repository):
    repository.set("cnn/ae", "target", accuracy=None)
    figure = drawn(repository, "tradeoff")
    assert "Without a point: Autoencoder." in words(figure)
    assert len(figure.axes[0].get_legend().get_texts()) == 4


def test_all_rows_fit_the_legend_and_the_page(full):
    figure = drawn(full, "tradeoff")
    with styled():
        renderer = FigureCanvasAgg(figure).get_renderer()
        legend = figure.axes[0].get_legend()
        box = legend.get_window_extent(renderer)
        top = figure.axes[0].get_tightbbox(renderer, call_axes_locator=False).y1
    assert len(legend.get_texts()) == len(ORDER)
    assert box.x1 < figure.bbox.x1
    assert box.y0 > 0
    assert all(top < text.get_window_extent(renderer).y0 for text in figure.texts)


@pytest.mark.slow
def test_two_builds_give_the_same_bytes(repository):
    assert_stable(repository, "tradeoff", 100_000)
