"""Figures from a fabricated repository: the images' own pixels, stable bytes, and labels that do not collide."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fabricated import GRID
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from splitprobe.artifacts import read_npz, write_csv
from splitprobe.params import ParamsError
from splitprobe.report import canvas, curves, figure4, gallery
from splitprobe.report.figures import build_figure
from splitprobe.report.results import collect, labels
from splitprobe.report.style import COLORS, look, styled

ROOT = Path(__file__).parents[2]


@pytest.fixture
def few(repository):
    """Two rows only: drawing is what takes the time."""
    for name in ("figure4", "curves", "tradeoff"):
        repository.rows[name] = ["cnn/gaussian_noise", "cnn/siftfunnel"]
    return repository


def picture(repository, name: str) -> Image.Image:
    build_figure(name, repository.params(), repository.paths)
    return Image.open(io.BytesIO(repository.paths.figure(name, "png").read_bytes()))


def pixels(repository, name: str) -> np.ndarray:
    return np.asarray(picture(repository, name).convert("RGB"))


def written(repository, name: str) -> list[bytes]:
    return [repository.paths.figure(name, suffix).read_bytes() for suffix in ("png", "pdf")]


def rebuilt(repository, name: str) -> list[bytes]:
    build_figure(name, repository.params(), repository.paths)
    return written(repository, name)


def assert_inside_and_apart(figure, boxes: list) -> None:
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
        assert not [other for other in boxes[:i] if box.overlaps(other)]


def words(figure) -> str:
    """All text of a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def find(page: np.ndarray, tile: np.ndarray) -> list[tuple[int, int]]:
    """Where a tile (h, w, 3) stands in a page, pixel for pixel."""
    h, w = tile.shape[:2]
    starts = np.argwhere((page[: 1 - h or None, : 1 - w or None] == tile[0, 0]).all(-1))
    return [(y, x) for y, x in starts if np.array_equal(page[y : y + h, x : x + w], tile)]


def test_figure4_shows_the_images_own_pixels_in_few_and_stable_bytes(few):
    page = pixels(few, "figure4")
    arrays = read_npz(few.paths.result("cnn/siftfunnel", "generator.npz"))

    def doubled(image: np.ndarray) -> np.ndarray:
        return image.repeat(2, 0).repeat(2, 1)

    assert len(find(page, doubled(arrays["x"][0]))) == 2  # the originals head both panels
    assert len(find(page, doubled(arrays["x"][gallery.IMAGES - 1]))) == 2
    assert not find(page, doubled(arrays["x"][gallery.IMAGES]))
    (black,), (gray,) = (find(page, doubled(arrays[name][3])) for name in ("black_box", "gray_box"))
    assert black[1] == gray[1]
    assert black[0] < gray[0]
    mle = read_npz(few.paths.result("cnn/siftfunnel", "mle.npz"))
    assert len(find(page, doubled(mle["tuned"][0]))) == 1
    assert not find(page, doubled(mle["paper"][0]))  # noise, in the caption only
    first, again = written(few, "figure4"), rebuilt(few, "figure4")
    assert first == again
    assert len(first[0]) < 300_000
    assert Image.open(io.BytesIO(first[0])).info.get("Software") is None
    assert first[1].startswith(b"%PDF")
    assert b"CreationDate" not in first[1]


def test_figure4_labels_scores_and_failures(few):
    with styled():
        text = words(figure4.draw(few.params(), few.paths))
    for part in (
        "Gaussian\nnoise",
        "black-box",
        "black-box,\n16 queries",
        "gray-box",
        "22.9 dB\n0.72",
        "19.6 dB\n0.59",
        "11.7 dB†\n0.27",
        "A  Generator attack, 800 test images",
        "B  MLE attack (white-box), 64 test images",
    ):
        assert part in text
    caption = text.replace("\n", " ")
    assert "Seed 0; CPU, 2 threads, float32" in caption
    assert "(the latter 12.2 dB left, 12.2 dB right)" in caption
    omitted = "Not shown: MLE with the paper's settings, which ends at 6.1 to 6.2 dB, no better than a blind answer in"
    assert f"{omitted} every row." in caption
    few.edit("cnn/siftfunnel", "mle", lambda record: record["variants"]["paper"].update(failed=False))
    with styled():
        assert f"{omitted} 1 of 2 rows." in words(figure4.draw(few.params(), few.paths)).replace("\n", " ")
    for name in few.rows["figure4"]:
        few.edit(name, "mle", lambda record: record["variants"].pop("paper"))
    with styled():
        assert "Not shown" not in words(figure4.draw(few.params(), few.paths))


def test_figure4_of_all_rows_keeps_its_text_apart(full):
    with styled():
        figure = figure4.draw(full.params(), full.paths)
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [(t, t.get_window_extent(renderer)) for t in figure.texts if t.get_text()]
    for text, box in boxes:
        assert box.x1 <= figure.bbox.x1, text
        assert not [other for other, its in boxes if other is not text and box.overlaps(its)], text


def test_figure4_of_gray_images_is_gray(few):
    few.cell("cnn/gaussian_noise", GRID["gaussian_noise"], channels=1, images=4)
    few.rows["figure4"] = ["cnn/gaussian_noise"]
    page = picture(few, "figure4")
    assert page.mode == "L"
    x = read_npz(few.paths.result("cnn/gaussian_noise", "generator.npz"))["x"][3]
    assert len(find(np.asarray(page.convert("RGB")), x.repeat(3, 2).repeat(2, 0).repeat(2, 1))) == 2


def test_figure4_repeats_the_originals_for_another_dataset(few):
    few.cell("xray/unprotected", GRID["unprotected"], channels=1, side=64)
    few.rows["figure4"].append("xray/unprotected")
    found = collect(few.params(), few.paths, "figure4", ("target", "generator", "mle"))
    titles = {r.network[0]: "Original" for r in found} | labels(found)
    names = [block.name for block in gallery._blocks(found, titles)]
    assert names == ["Original", "Gaussian noise", "SiftFunnel", "Original", "Unprotected"]


def test_figure4_with_a_score_that_is_absent(few):
    def diverge(record):
        record["decoders"]["black_box"] |= {"psnr_db": None, "ssim": None, "failed": True}

    few.edit("cnn/gaussian_noise", "generator", diverge)
    with styled():
        assert "n/a†\nn/a" in words(figure4.draw(few.params(), few.paths))


@pytest.mark.parametrize(("side", "factor"), [(8, 8), (28, 2), (32, 2), (64, 1), (100, 1)])
def test_enlarged_by_whole_factors(side, factor):
    images = np.arange(2 * side * side, dtype=np.uint8).reshape(2, side, side, 1)
    strip = canvas.enlarged(images)
    assert strip.shape == (side * factor, 2 * side * factor + canvas.GAP, 3)
    assert np.array_equal(strip[::factor, : side * factor : factor, 1], images[0, :, :, 0])
    assert (strip[:, side * factor : side * factor + canvas.GAP] == 255).all()


def test_curves_figure(few):
    page = pixels(few, "curves")
    first = written(few, "curves")
    assert first == rebuilt(few, "curves")
    assert len(first[0]) < 300_000
    assert page.std() > 10


def test_curves_draw_what_the_files_have(few):
    with styled():
        figure = curves.draw(few.params(), few.paths)
    loss, _, paper, _, generator, mle = figure.axes
    assert [axes.get_title(loc="left") for axes in (loss, paper)] == [curves.PANELS[0].title, curves.PANELS[2].title]
    # the noise cell reuses weights: its curve has no lines, so the loss panel shows one cell
    assert len(loss.lines) == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Gaussian noise", "SiftFunnel"]
    assert generator.get_yscale() == "log"
    repeated = generator.lines[1].get_ydata()  # dotted: the decoder with several queries
    assert repeated[-1] == pytest.approx(10**-2.29 + 0.1 * np.exp(-12 / 4))
    y = mle.lines[2].get_ydata()
    assert y[-1] == pytest.approx(5.5 + (11.0 - 5.5) * (1 - np.exp(-12 / 4)))
    assert {mle.lines[i].get_color() for i in (0, 1)} == {COLORS[0]}
    assert {mle.lines[i].get_color() for i in (2, 3)} == {COLORS[1]}
    assert "Gaussian noise uses the weights of cnn/unprotected" in words(figure).replace("\n", " ")


def test_curves_without_any_training(few):
    few.rows["curves"] = ["cnn/gaussian_noise"]
    with styled():
        figure = curves.draw(few.params(), few.paths)
    assert "no curve" in [text.get_text() for text in figure.axes[0].texts]


def test_curves_leave_out_empty_fields(few):
    few.rows["curves"] = ["cnn/gaussian_noise"]
    lines = [{"step": 0, "tuned_psnr_db": 5.0}, {"step": 1, "paper_psnr_db": 6.0}, {"step": 2, "tuned_psnr_db": 9.0}]
    write_csv(few.paths.curve("cnn/gaussian_noise", "mle"), lines, ["step", "paper_psnr_db", "tuned_psnr_db"])
    (cell,) = collect(few.params(), few.paths, "curves", ("target",))
    series = curves.read(cell, curves.PANELS[5])
    assert [values.tolist() for values in series["tuned_psnr_db"]] == [[0, 2], [5, 9]]
    assert [values.tolist() for values in series["paper_psnr_db"]] == [[1], [6]]


def test_curves_of_all_rows_have_one_legend_above_the_panels(full):
    with styled():
        figure = curves.draw(full.params(), full.paths)
        renderer = FigureCanvasAgg(figure).get_renderer()
        (legend,) = figure.legends
        box = legend.get_window_extent(renderer)
        tops = [axes.get_tightbbox(renderer).y1 for axes in figure.axes]
    assert len(legend.get_texts()) == 16
    assert max(tops) < box.y0
    assert box.x1 < figure.bbox.x1
    assert all(box.y1 < text.get_window_extent(renderer).y0 for text in figure.texts)


def test_sixteen_looks_differ_without_color():
    looks = [look(i) for i in range(16)]
    assert len({(one["marker"], one["markerfacecolor"] == "white") for one in looks}) == 16
    assert [one["color"] == COLORS[0] for one in looks] == [True] + [False] * 15  # black is the first row's alone


def test_errors_name_what_is_missing(few):
    with pytest.raises(ValueError, match=r"no figure 'figure9'; known figures: figure1, figure2, figure3, figure4"):
        build_figure("figure9", few.params(), few.paths)
    few.paths.curve("cnn/gaussian_noise", "mine").unlink()
    with pytest.raises(
        ParamsError, match=r"rows\.curves: 'cnn/gaussian_noise' .*stage probe_target@cnn/gaussian_noise"
    ):
        build_figure("curves", few.params(), few.paths)
    few.paths.result("cnn/gaussian_noise", "generator.npz").unlink()
    with pytest.raises(
        ParamsError, match=r"rows\.figure4: 'cnn/gaussian_noise' .*stage probe_target@cnn/gaussian_noise"
    ):
        build_figure("figure4", few.params(), few.paths)


def stage(repository, rows: dict) -> subprocess.CompletedProcess:
    """Run the stage script for Figure 4 with these rows."""
    tree = {"scale": "demo", "seed": 0, "scales": {"demo": {}}, "rows": rows}
    (repository.paths.root / "params.yaml").write_text(json.dumps(tree))  # JSON is YAML
    command = [sys.executable, str(ROOT / "stages" / "build_figure.py"), "figure4"]
    how = {"env": {**os.environ, "PYTHONPATH": str(ROOT / "src")}, "capture_output": True, "text": True}
    return subprocess.run(command, cwd=repository.paths.root, check=False, **how)


def test_stage_script_says_where_the_figure_is_and_no_more(few):
    run = stage(few, {"figure4": ["cnn/gaussian_noise"]})
    assert run.returncode == 0, run.stderr
    where, done = run.stderr.splitlines()  # the font library's own log would be hundreds of lines
    assert where == "figure4: plots/demo/figure4.png and plots/demo/figure4.pdf"
    assert done.startswith("done in")


def test_stage_script_ends_in_one_line_on_a_mistake(few):
    run = stage(few, {})
    assert run.returncode == 1
    assert run.stderr.startswith("error: rows.figure4: missing from params.yaml")
