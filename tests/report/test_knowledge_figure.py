"""The figure of the attacker's knowledge: points where the results say, their floors, and what is said about them."""

import pytest
from drawing import assert_readable, assert_stable, drawn, words
from fabricated_items import DEVICE, FLOOR, scores

from splitprobe.core.params import ParamsError
from splitprobe.report.frame import NO_SEED
from splitprobe.report.style import COLORS

CELLS = {"unprotected": (18.0, 22.0, 24.0, 20.0), "siftfunnel": (11.5, 12.5, 13.0, 12.0)}  # PSNR: shares, then other


@pytest.fixture
def known(repository):
    """Two cells of the fabricated study, each with three shares and another data set."""
    repository.rows["knowledge"] = [f"cnn/{name}" for name in CELLS]
    for name, (*inside, outside) in CELLS.items():
        note(repository, name, "knowledge", decoder="black_box", images=800)
        note(repository, name, "judge knowledge", accuracy_on_originals=0.8, chance=0.125)
        note(repository, name, "provenance knowledge", seed=0, device=DEVICE)
        for i, (images, psnr) in enumerate(zip((16, 160, 1600), inside, strict=True)):
            point(repository, name, f"knowledge shares {i}", images, psnr, share=images / 1600)
        point(repository, name, "knowledge other", 400, outside, dataset="faces", title="AT&T", shared_classes=0)
    return repository


def note(repository, name: str, item: str, **values) -> None:
    """Lines of the part that stage measure_knowledge leaves."""
    own = repository.values["knowledge"]
    for key, value in values.items():
        text = isinstance(value, str)
        own[f"cnn/{name}", NO_SEED, item, key] = (None, value, "") if text else (value, "", "")


def point(repository, name: str, item: str, images: int, psnr: float, **more) -> None:
    found = {**scores(psnr), "identified": psnr / 100, "recognized": psnr / 50, "failed": psnr <= FLOOR}
    note(repository, name, item, auxiliary_images=images, **found, **more)
    for floor, values in (("mean_image", (FLOOR, 0.01, 0.125)), ("mean_color", (14.0, 0.03, 0.25))):
        keys = dict(zip(("psnr_db", "identified", "recognized"), values, strict=True))
        note(repository, name, f"{item} floors {floor}", **keys)


def joined(axes) -> list:
    """The lines of the cells' shares: as many points as there are shares, without a marker."""
    return [line for line in axes.lines if len(line.get_xdata()) == 3 and line.get_color() in COLORS]


def test_who_has_no_pair_stands_at_the_left_end(known):
    point(known, "unprotected", "knowledge query_free", 1600, 13.5, intercepted=200, substitute_steps=150)
    figure = drawn(known, "knowledge")
    psnr = figure.axes[0]
    assert (4, 13.5, False) in points(psnr, "o")
    assert [label.get_text() for label in psnr.get_xticklabels()] == ["none", "16", "160", "400", "1,600"]
    assert [list(line.get_xdata()) for line in joined(psnr)] == [[16, 160, 1600]] * 2
    assert "a substitute of the edge on 200 intercepted features (150 steps)" in words(figure)


def points(axes, marker: str) -> list[tuple]:
    """(x, y, hollow) of each single point with a marker."""
    found = [line for line in axes.lines if line.get_marker() == marker]
    return [(*line.get_xdata(), *line.get_ydata(), line.get_markerfacecolor() == "white") for line in found]


def test_points_stand_at_the_number_of_images_and_their_score(known):
    psnr, identified, recognized = drawn(known, "knowledge").axes
    assert [list(zip(*line.get_data(), strict=True)) for line in joined(psnr)] == [
        [(16, 18.0), (160, 22.0), (1600, 24.0)],
        [(16, 11.5), (160, 12.5), (1600, 13.0)],
    ]
    assert points(psnr, "*") == [(400, 20.0, False), (400, 12.0, True)]
    assert points(psnr, "s") == [(16, 11.5, True), (160, 12.5, False), (1600, 13.0, False)]  # no better than 12.2 dB
    assert psnr.get_xscale() == "log"
    assert [label.get_text() for label in psnr.get_xticklabels()] == ["16", "160", "400", "1,600"]
    assert list(joined(identified)[0].get_ydata()) == pytest.approx([18, 22, 24])  # percent
    assert list(joined(recognized)[1].get_ydata()) == pytest.approx([23, 25, 26])


def test_floors_and_the_judges_ceiling(known):
    panels = drawn(known, "knowledge").axes
    for axes, floor in zip(panels, (FLOOR, 1.0, 12.5), strict=True):
        (dashed, *dotted) = (line for line in axes.lines if line.get_linestyle() == "--")
        assert list(dashed.get_xdata()) == [16, 160, 1600]
        assert list(dashed.get_ydata()) == pytest.approx([floor] * 3)
        assert [line.get_ydata()[0] for line in dotted] == ([80] if axes is panels[2] else [])


def test_the_caption_names_what_was_fitted_on_what(known):
    text = words(drawn(known, "knowledge"))
    for part in (
        *("Scale demo: photo of origin", "Seed 0; CPU, 2 threads, float32", "the same 800 test images"),
        "A black-box decoder, fitted on 1 % / 10 % / 100 % of the auxiliary images",
        "400 auxiliary images of another data set, AT&T. Identified",
        "80.0 % of the originals and to 25.0 % of their mean colors",
    ):
        assert part in text
    assert "classes are" not in text
    note(known, "siftfunnel", "knowledge other", shared_classes=4)
    assert "AT&T (0 to 4 of its classes are also the target's)" in words(drawn(known, "knowledge"))


def test_a_score_that_is_absent_leaves_a_gap(known):
    note(known, "siftfunnel", "knowledge shares 1", psnr_db=None, recognized=None)
    psnr, identified, _ = drawn(known, "knowledge").axes
    assert [x for x, *_ in points(psnr, "s")] == [16, 1600]
    assert [x for x, *_ in points(identified, "s")] == [16, 160, 1600]


def test_a_cell_that_was_not_measured_is_named(known):
    known.rows["knowledge"].append("cnn/ae")
    message = r"rows\.knowledge: 'cnn/ae' has no line in .*knowledge\.csv; stage measure_knowledge@cnn/ae"
    with pytest.raises(ParamsError, match=message):
        drawn(known, "knowledge")


@pytest.mark.slow
def test_text_stays_apart_and_inside_and_bytes_are_stable(known):
    assert_readable(drawn(known, "knowledge"))
    assert_stable(known, "knowledge", 100_000)
