"""The registry of figures, how they are written, and Figures 4 and 5: the images' own pixels, labels and scores."""

import subprocess
import sys

import numpy as np
import pytest
from drawing import assert_readable, at, drawn, page, rebuilt, seen, words
from fabricated import GRID
from PIL import Image

from splitprobe.report import gallery, style
from splitprobe.report.figures import FIGURES, build_figure
from splitprobe.report.markdown import labels


@pytest.fixture
def few(repository):
    """Two rows only: drawing is what takes the time."""
    repository.rows["figure4"] = ["cnn/gaussian_noise", "cnn/siftfunnel"]
    repository.made = repository.pictures(*repository.rows["figure4"])
    return repository


@pytest.mark.slow
def test_figure4_shows_the_images_own_pixels_in_few_and_stable_bytes(few):
    first, again = rebuilt(few, "figure4"), rebuilt(few, "figure4")
    assert first == again
    assert len(first[0]) < 200_000
    assert first[1].startswith(b"%PDF")
    assert b"CreationDate" not in first[1]
    with Image.open(few.paths.figure("figure4", "png")) as png:
        assert png.mode == "P"
        assert png.info.get("Software") is None
    assert (page(few, "figure4")[0, 0] == 255).all()  # the page stays white
    arrays = few.made["cnn/siftfunnel"]
    assert len(at(few, "figure4", arrays["x"][0])) >= 2  # the originals head both panels
    assert not at(few, "figure4", arrays["x"][gallery.COUNT])
    assert len(at(few, "figure4", arrays["generator gray_box"][3])) == 1
    assert not at(few, "figure4", arrays["generator black_box"][3])  # the weaker decoder
    assert len(at(few, "figure4", arrays["mle tuned"][0])) == 1
    assert not at(few, "figure4", arrays["mle paper"][0])  # noise, in the caption only


def test_figure4_labels_scores_and_failures(few):
    text = words(drawn(few, "figure4"))
    for part in (
        *("Gaussian noise", "black-box, 16 queries", "gray-box", "22.9 dB 0.72", "12.9 dB 0.32", "14.8 dB"),
        *("11.0 dB† 0.24", "A Generator attack, 800 test images", "B MLE attack (white-box), 64 test images"),
        *("Seed 0; CPU, 2 threads, float32", "the mean image has 12.2 dB left, 12.2 dB right"),
        *("a failed attack, not privacy", "Of each row the best of its decoders and of its MLE attacks."),
    ):
        assert part in text
    assert "19.6 dB" not in text  # the weaker decoder
    omitted = "Not shown: MLE with the paper's settings, which ends at 6.1 to 6.2 dB, no better than a blind answer in"
    assert f"{omitted} every row." in text
    few.set("cnn/siftfunnel", "mle paper", failed=0)
    assert f"{omitted} 1 of 2 rows." in words(drawn(few, "figure4"))
    for cell in few.rows["figure4"]:
        few.drop(cell, "mle paper")
    few.set("cnn/siftfunnel", "mle tuned", failed=0)
    assert "Not shown" not in words(drawn(few, "figure4"))
    assert "a failed attack" not in words(drawn(few, "figure4"))


@pytest.mark.slow
def test_figure4_of_all_rows_keeps_its_text_apart(full):
    full.pictures(*full.rows["figure4"])
    assert_readable(drawn(full, "figure4"))


def test_figure4_has_means_over_seeds(thrice):
    thrice.rows["figure4"] = ["cnn/siftfunnel"]
    thrice.pictures("cnn/siftfunnel")
    for seed, psnr in ((1, 12.0), (2, 13.0), (3, 15.5)):
        thrice.set("cnn/siftfunnel", "generator gray_box", seed=seed, psnr_db=psnr)
    thrice.set("cnn/siftfunnel", "generator gray_box", seed=2, failed=1)
    text = words(drawn(thrice, "figure4"))
    assert "13.5 dB† 0.32" in text
    assert "Seeds 1, 2, 3: means; images of seed 1" in text


def test_figure4_of_gray_images_is_gray(few):
    few.cell("cnn/gaussian_noise", GRID["gaussian_noise"], channels=1)
    few.rows["figure4"] = ["cnn/gaussian_noise"]
    arrays = few.pictures("cnn/gaussian_noise", images=4)["cnn/gaussian_noise"]
    seen(few, "figure4")
    with Image.open(few.paths.figure("figure4", "png")) as png:
        assert png.mode == "L"
    assert len(at(few, "figure4", arrays["x"][3], off=0)) == 2


def test_figure4_repeats_the_originals_for_another_data_set(few):
    few.cell("xray/unprotected", GRID["unprotected"], channels=1, side=64)
    few.rows["figure4"].append("xray/unprotected")
    numbers, pictures = few.numbers("figure4"), few.pictures(*few.rows["figure4"])
    names = labels(numbers) | {"objects": "Original"}
    blocks = [name for name, _ in gallery.gathered(numbers, names, pictures)]
    assert blocks == ["Original", "Gaussian noise", "SiftFunnel", "Original", "Unprotected"]


def test_figure4_with_a_score_that_is_absent(few):
    for name in ("black_box", "repeated"):
        few.set("cnn/gaussian_noise", f"generator {name}", psnr_db=None, ssim=None, failed=1)
    assert "n/a† n/a" in words(drawn(few, "figure4"))


def test_figure5_names_data_and_accuracy(whole):
    made = whole.pictures(*whole.rows["figure5"])
    figure = seen(whole, "figure5")
    assert_readable(figure)
    text = words(figure)
    for part in (
        *("Faces, original", "X-rays, original", "Unprotected 77.5 %", "SiftFunnel 76.8 %", "14.9 dB 0.40"),
        "Under each name: accuracy on test images.",
    ):
        assert part in text
    assert len(at(whole, "figure5", made["xray_vgg16/siftfunnel"]["generator gray_box"][2], times=1)) == 1


@pytest.mark.parametrize(("side", "factor"), [(8, 8), (28, 2), (32, 2), (64, 1), (100, 1)])
def test_enlarged_by_whole_factors(side, factor):
    images = np.arange(2 * side * side, dtype=np.uint8).reshape(2, side, side, 1)
    strip = style.enlarged(images)
    assert strip.shape == (side * factor, 2 * side * factor + style.GAP, 3)
    assert np.array_equal(strip[::factor, : side * factor : factor, 1], images[0, :, :, 0])
    assert (strip[:, side * factor : side * factor + style.GAP] == 255).all()


def test_a_palette_keeps_what_fits_into_it_and_comes_closer_than_a_median_cut():
    rng = np.random.default_rng(0)
    two = np.where(rng.integers(0, 2, (9, 9, 1), bool), np.uint8(17), np.uint8(200)).repeat(3, 2)
    assert np.array_equal(np.asarray(style.painted(two, 256).convert("RGB")), two)
    pixels = np.full((60, 60, 3), 255, np.uint8)
    pixels[:50, :50] = rng.integers(100, 140, (50, 50, 3))  # thousands of dull colors, few bright ones
    pixels[50:, 50:] = rng.integers((230, 100, 0), (255, 140, 40), (10, 10, 3))
    cut = Image.fromarray(pixels).quantize(16, dither=Image.Dither.NONE)
    ours, theirs = (np.asarray(png.convert("RGB")).astype(int) for png in (style.painted(pixels, 16), cut))
    assert len(np.unique(ours.reshape(-1, 3), axis=0)) <= 16
    assert (ours[55, 0] == 255).all()
    assert np.square(ours - pixels).mean() < np.square(theirs - pixels).mean()


def test_sixteen_looks_differ_without_color():
    looks = [style.look(i) for i in range(16)]
    assert len({(one["marker"], one["markerfacecolor"] == "white") for one in looks}) == 16
    assert [one["color"] == style.COLORS[0] for one in looks] == [True] + [False] * 15  # black is the first row's alone


def test_one_figure_imports_no_other():
    code = "import sys; from splitprobe.report import figures, gallery; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "splitprobe.report.gallery" in loaded
    others = {where.partition(":")[0] for where in FIGURES.values()} - {"splitprobe.report.gallery"}
    assert others.isdisjoint(loaded)
    assert "torch" not in loaded


def test_an_unknown_figure_is_named_and_a_left_out_one_says_so(few):
    with pytest.raises(ValueError, match=r"no figure 'figure9'; known figures: figure1, figure2, figure3, figure4"):
        build_figure("figure9", few.params(), few.paths)
    few.rows["figure4"] = ["budget/mid"]
    few.values["budget"] = {("budget/mid", -1, "cell", "left_out"): (1, "", "")}
    build_figure("figure4", few.params(), few.paths)
    assert few.paths.figure("figure4", "png").stat().st_size < 20_000


def rare(*families: str) -> str:
    """A character that FONT lacks and one of these families, which come with matplotlib, has."""
    files = [style.font_manager.findfont(family) for family in (*families, style.FONT)]
    has = style._characters(files[0]) - style._characters(files[-1])
    return sorted(character for character in has if character.isprintable())[0]


def test_characters_that_the_font_lacks_come_from_another(few, caplog):
    """And only they: other texts keep their font, so that figures are the same everywhere."""
    few.set("cnn/gaussian_noise", "target", title=f"Noise {rare('STIXGeneral')}")
    figure = seen(few, "figure4")
    families = {text.get_text(): text.get_fontfamily() for text in figure.texts}
    (own,) = (family for text, family in families.items() if text.startswith("Noise"))
    assert own[0] == style.FONT and len(own) == 2
    assert families["SiftFunnel"] == [style.FONT]
    assert caplog.text == ""


def test_characters_that_no_font_has_are_reported_once(few, caplog, monkeypatch):
    fonts = [font for font in style.font_manager.fontManager.ttflist if font.name == style.FONT]
    monkeypatch.setattr(style.font_manager.fontManager, "ttflist", fonts)
    few.set("cnn/gaussian_noise", "target", title="ノイズ")
    build_figure("figure4", few.params(), few.paths)  # PNG and PDF
    (record,) = caplog.records
    said = record.getMessage()
    assert all(character in said for character in "ノイズ") and "Noto Sans CJK" in said
    assert few.paths.figure("figure4", "pdf").is_file()


@pytest.mark.parametrize("title", ["$5 to $6", "$\\frac{", "a $x$ b"])
def test_a_dollar_in_a_title_begins_no_formula(few, title):
    few.set("cnn/gaussian_noise", "target", title=title)
    figure = seen(few, "figure4")
    (own,) = (text for text in figure.texts if "$" in text.get_text())
    assert not own.get_parse_math()
