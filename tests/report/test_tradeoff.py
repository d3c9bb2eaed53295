"""The plane of privacy and accuracy: points where the results say, and the sweeps' points on their defense's line."""

import pytest
from drawing import assert_stable, drawn, words
from fabricated import FLOOR
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

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


def named(figure) -> list[str]:
    """The names beside points."""
    return [a.get_text() for a in figure.axes[0].texts if isinstance(a, Annotation) and a.get_text() != "better"]


def line(figure, i: int) -> list[tuple[float, float]]:
    return lines(figure, i)[0]


def test_a_defense_stands_at_its_accuracy_and_its_strongest_attack(repository):
    figure = drawn(repository, "tradeoff")  # no sweep has run
    assert line(figure, 0) == [(77.5, 24.31)]
    assert line(figure, 1) == [(pytest.approx(70.2), 22.9)]  # the decoder with several queries
    assert line(figure, 3) == [(pytest.approx(74.1), 12.9)]  # gray-box
    assert named(figure) == ["Unprotected", "Gaussian noise", "Autoencoder", "SiftFunnel"]
    assert "sweeps" not in words(figure)
    for phrase in ("Scale demo: photo of origin", "Seed 0", "better", "unprotected, 24.3 dB"):
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
    assert "points of sweeps" not in words(figure)


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
    assert named(figure) == ["Unprotected", "Gaussian noise", "Autoencoder", "SiftFunnel [1]"]


def test_a_cell_without_a_score_is_named_and_has_no_point(repository):
    repository.set("cnn/ae", "target", accuracy=None)
    figure = drawn(repository, "tradeoff")
    assert "Without a point: Autoencoder." in words(figure)
    assert named(figure) == ["Unprotected", "Gaussian noise", "SiftFunnel"]


def test_sweeps_have_bars_too(thrice):
    for seed, psnr in ((1, 20.0), (2, 21.0), (3, 22.0)):
        thrice.point("cnn/gaussian_noise", "k", 0.2, 0.7, psnr, seed)
    (bar,) = drawn(thrice, "tradeoff").axes[0].containers
    assert bar.has_yerr


def test_all_rows_are_named_apart_beside_their_points_or_in_the_legend(full):
    figure = drawn(full, "tradeoff")
    axes, legend = figure.axes[0], figure.axes[0].get_legend()
    with styled():
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in axes.texts if isinstance(text, Annotation)]
    left = [text.get_text() for text in legend.get_texts()] if legend else []
    assert sorted([*named(figure), *left]) == sorted(tradeoff.marked(full.numbers("tradeoff")).values())
    assert len(named(figure)) >= 12
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_sixteen_rows_have_colors_of_their_own():
    assert len({look(i)["color"] for i in range(16)}) == 16


@pytest.mark.slow
def test_two_builds_give_the_same_bytes(repository):
    assert_stable(repository, "tradeoff", 100_000)
