"""The figure of the attacker's knowledge: points where the results say, their floors, and what is said about them."""

import pytest
from fabricated import FLOOR, PROVENANCE, scores
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_figures import assert_inside_and_apart, rebuilt

from splitprobe.artifacts import read_json, write_json
from splitprobe.params import ParamsError
from splitprobe.report import knowledge
from splitprobe.report.style import COLORS, styled

CELLS = {"unprotected": (18.0, 22.0, 24.0, 20.0), "siftfunnel": (11.5, 12.5, 13.0, 12.0)}  # PSNR: shares, then other


def point(images: int, psnr: float) -> dict:
    floors = {
        "mean_image": {**scores(FLOOR), "identified": 0.01, "recognized": 0.125},
        "mean_color": {**scores(14.0), "identified": 0.03, "recognized": 0.25},
    }
    shares = {"identified": psnr / 100, "recognized": psnr / 50}
    return {"auxiliary_images": images, "floors": floors, **scores(psnr), **shares, "failed": psnr <= FLOOR}


@pytest.fixture
def known(repository):
    """Two cells of the fabricated repository, each with three shares and another data set."""
    for name, (*inside, outside) in CELLS.items():
        sizes = (16, 160, 1600)
        shares = [{"share": n / 1600, **point(n, psnr)} for n, psnr in zip(sizes, inside, strict=True)]
        what = {"dataset": "faces", "title": "AT&T", "shared_classes": 0}
        record = {"provenance": PROVENANCE, "cell": f"cnn/{name}", "decoder": "black_box", "images": 800}
        record |= {"judge": {"accuracy_on_originals": 0.8, "chance": 0.125}, "shares": shares}
        write_json(repository.paths.knowledge(f"cnn/{name}"), {**record, "other": {**what, **point(400, outside)}})
    repository.rows["knowledge"] = [f"cnn/{name}" for name in CELLS]
    return repository


def edit(repository, change) -> None:
    file = repository.paths.knowledge("cnn/siftfunnel")
    record = read_json(file)
    change(record)
    write_json(file, record)


def drawn(repository):
    with styled():
        return knowledge.draw(repository.params(), repository.paths)


def joined(axes) -> list:
    """The lines of the cells' shares: as many points as there are shares, without a marker."""
    return [line for line in axes.lines if len(line.get_xdata()) == 3 and line.get_color() in COLORS]


def points(axes, marker: str) -> list[tuple]:
    """(x, y, hollow) of each single point with a marker."""
    found = [line for line in axes.lines if line.get_marker() == marker]
    return [(*line.get_xdata(), *line.get_ydata(), line.get_markerfacecolor() == "white") for line in found]


def words(figure) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_points_stand_at_the_number_of_images_and_their_score(known):
    psnr, identified, recognized = drawn(known).axes
    assert [list(zip(*line.get_data(), strict=True)) for line in joined(psnr)] == [
        [(16, 18.0), (160, 22.0), (1600, 24.0)],
        [(16, 11.5), (160, 12.5), (1600, 13.0)],
    ]
    assert points(psnr, "*") == [(400, 20.0, False), (400, 12.0, True)]
    assert points(psnr, "s") == [(16, 11.5, True), (160, 12.5, False), (1600, 13.0, False)]  # no better than 12.2 dB
    assert psnr.get_xscale() == "log"
    assert [label.get_text() for label in psnr.get_xticklabels()] == ["16", "160", "400", "1,600"]
    assert list(joined(identified)[0].get_ydata()) == [18, 22, 24]  # percent
    assert list(joined(recognized)[1].get_ydata()) == [23, 25, 26]


def test_floors_and_the_judges_ceiling(known):
    panels = drawn(known).axes
    for axes, floor in zip(panels, (FLOOR, 1.0, 12.5), strict=True):
        (dashed, *dotted) = (line for line in axes.lines if line.get_linestyle() == "--")
        assert list(dashed.get_xdata()) == [16, 160, 1600]
        assert list(dashed.get_ydata()) == pytest.approx([floor] * 3)
        assert [line.get_ydata()[0] for line in dotted] == ([80] if axes is panels[2] else [])


def test_the_caption_names_what_was_fitted_on_what(known):
    text = words(drawn(known))
    for part in (
        "Scale demo: photo of origin",
        "Seed 0; CPU, 2 threads, float32",
        "A black-box decoder, fitted on 1 % / 10 % / 100 % of the auxiliary images",
        "the same 800 test images",
        "400 auxiliary images of another data set, AT&T. Identified",
        "80.0 % of the originals and to 25.0 % of their mean colors",
    ):
        assert part in text
    assert "classes are" not in text
    edit(known, lambda record: record["other"].update(shared_classes=4))
    assert "AT&T (0 to 4 of its classes are also the target's)" in words(drawn(known))


def test_a_score_that_is_absent_leaves_a_gap(known):
    edit(known, lambda record: record["shares"][1].update(psnr_db=None, recognized=None))
    psnr, identified, _ = drawn(known).axes
    assert [x for x, *_ in points(psnr, "s")] == [16, 1600]
    assert [x for x, *_ in points(identified, "s")] == [16, 160, 1600]


def test_a_cell_that_was_not_measured_is_named(known):
    known.rows["knowledge"].append("cnn/ae")
    message = r"rows\.knowledge: 'cnn/ae' has no .*knowledge/cnn/ae\.json; stage measure_knowledge@cnn/ae builds it"
    with pytest.raises(ParamsError, match=message):
        drawn(known)


def test_text_stays_apart_and_inside_and_bytes_are_stable(known):
    figure = drawn(known)
    with styled():
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in figure.texts]
        boxes += [figure.legends[0].get_window_extent(renderer)]
        boxes += [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert_inside_and_apart(figure, boxes)
    assert rebuilt(known, "knowledge") == rebuilt(known, "knowledge")
