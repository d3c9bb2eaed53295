"""The figure of releases: points where the results say, the lines that they tend to, and what is said about them."""

import pytest
from drawing import assert_readable, assert_stable, drawn, words
from fabricated_items import DEVICE, FLOOR, OTHERS

from splitprobe.core.params import ParamsError
from splitprobe.report.frame import NO_SEED

# PSNR at 1, 16 and 64 releases: of the decoder, of MLE
CELLS = {"gaussian_noise": ((20.0, 22.0, 23.0), (12.0, 21.0, 24.0)), "vib": ((19.0, 19.5, 20.0), (15.0, 18.0, 21.0))}


@pytest.fixture
def released(repository):
    """Two random cells, one of which has the unprotected network."""
    repository.cell("cnn/vib", OTHERS["vib"])
    repository.rows["releases"] = ["cnn/unprotected", *(f"cnn/{name}" for name in CELLS)]
    for name, scores in CELLS.items():
        own = "unprotected" if name == "gaussian_noise" else name
        items = {
            "release": {"network": f"cnn/{own}", "images": 32},
            "provenance release": {"seed": 0, "device": DEVICE},
            "floor release mean_image": {"psnr_db": FLOOR},
        }
        for i, (queries, *both) in enumerate(zip((1, 16, 64), *scores, strict=True)):
            items[f"release points {i}"] = {"queries": queries, "fitted_on": min(queries, 16)}
            for attack, psnr in zip(("strong", "tuned"), both, strict=True):
                items[f"release points {i} {attack}"] = {"psnr_db": psnr, "failed": psnr <= FLOOR}
        repository.put("releases", f"cnn/{name}", NO_SEED, items)
    repository.set("cnn/unprotected", "generator strong", shared_psnr_db=23.5)
    repository.set("cnn/unprotected", "mle tuned", psnr_db=24.5)
    return repository


def level(axes) -> list[float]:
    """The heights of the dashed lines."""
    return [line.get_ydata()[0] for line in axes.lines if len(line.get_xdata()) == 2 and line.get_color() != "#555555"]


def test_points_stand_at_the_number_of_releases_and_their_score(released):
    panels = drawn(released, "releases").axes
    for axes, scores in zip(panels, CELLS.values(), strict=True):
        joined = [line for line in axes.lines if len(line.get_xdata()) == 3]
        assert [list(line.get_xdata()) for line in joined] == [[1, 16, 64]] * 2
        assert [tuple(line.get_ydata()) for line in joined] == list(scores)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "16", "64"]
        assert any(list(line.get_ydata()) == [FLOOR, FLOOR] for line in axes.lines)
    hollow = [line.get_ydata()[0] for line in panels[0].lines if line.get_markerfacecolor() == "white"]
    assert hollow == [12.0]  # no better than the floor
    assert [axes.get_title(loc="left") for axes in panels] == ["Gaussian noise", "VIB"]


def test_what_an_unprotected_feature_gives_is_drawn_where_the_network_is_the_same(released):
    noise, vib = drawn(released, "releases").axes
    assert level(noise) == [23.5, 24.5]
    assert level(vib) == []
    released.rows["releases"].remove("cnn/unprotected")
    assert level(drawn(released, "releases").axes[0]) == []


def test_the_caption_names_what_was_attacked_with_what(released):
    text = words(drawn(released, "releases"))
    for part in (f"Seed 0; {DEVICE}", "on the 32 test images", "fitted on 1 and 16 releases", "VIB", "tuned MLE"):
        assert part in text


def test_a_score_that_is_absent_leaves_a_gap(released):
    released.put("releases", "cnn/vib", NO_SEED, {"release points 1 tuned": {"psnr_db": None}})
    *_, vib = drawn(released, "releases").axes
    assert [1, 64] in [list(line.get_xdata()) for line in vib.lines]


def test_without_a_measured_cell_the_stage_is_named(released):
    released.rows["releases"] = ["cnn/unprotected"]
    with pytest.raises(ParamsError, match=r"rows\.releases: none of cnn/unprotected has a line .*measure_releases"):
        drawn(released, "releases")


@pytest.mark.slow
def test_text_stays_apart_and_inside_and_bytes_are_stable(released):
    assert_readable(drawn(released, "releases"))
    assert_stable(released, "releases", 100_000)
