"""The arrays that figures show: the first seed's, the first images, the attacks that are shown, and equal bytes."""

import numpy as np
import pytest
from fabricated import Repository

from splitprobe.core.artifacts import DamagedFile, write_json, write_npz
from splitprobe.core.params import ParamsError
from splitprobe.report import pictures
from splitprobe.report.pictures import collect_pictures, pictures_file, read_pictures, wanted


def images(value: int) -> np.ndarray:
    """Eight images of one value, the i-th of them i brighter."""
    return np.full((8, 4, 4, 3), value, np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None, None]


@pytest.fixture
def stages(thrice: Repository) -> Repository:
    """Two cells with what the stages leave of seeds 1 and 2; values are 100 for seed 1, 200 for seed 2, and more."""
    for cell in ("cnn/unprotected", "cnn/ae"):
        for seed in (1, 2):
            own, base = thrice.paths.seeded(seed), 100 * seed
            write_json(own.result(cell, "mle.json"), {})
            decoders = {"black_box": images(base + 1), "gray_box": images(base + 2)}
            write_npz(own.result(cell, "generator.npz"), x=images(base), **decoders)
            write_npz(own.result(cell, "mle.npz"), x=images(base), paper=images(0), tuned=images(base + 3))
            write_npz(own.result(cell, "information.npz"), counts=np.full((2, 256), seed), low=np.zeros(2))
    thrice.rows |= {name: ["faces/ae"] for name in ("figure1", "figure3", "figure4", "figure5")}
    thrice.rows |= {"figure2": ["cnn/unprotected", "cnn/ae"], "histograms": ["cnn/ae"]}
    return thrice


def test_the_first_seeds_first_images_are_kept(stages):
    collect_pictures(stages.params(), stages.paths, "cnn")
    found = read_pictures(stages.paths, ["cnn/ae", "cnn/unprotected"])
    assert list(found["cnn/unprotected"]) == ["x", "generator black_box", "mle tuned"]
    assert list(found["cnn/ae"]) == ["x", "generator black_box", "generator gray_box", "mle tuned", "histograms"]
    for name, value in (("x", 100), ("generator gray_box", 102), ("mle tuned", 103)):
        assert np.array_equal(found["cnn/ae"][name], images(value)[:1])
    assert (found["cnn/ae"]["histograms"] == 1).all()
    with np.load(pictures_file(stages.paths, "cnn")) as file:  # the same originals are stored once
        assert [name for name in file.files if name.endswith("/x")] == ["unprotected/x"]
    first = pictures_file(stages.paths, "cnn").read_bytes()
    collect_pictures(stages.params(), stages.paths, "cnn")
    assert pictures_file(stages.paths, "cnn").read_bytes() == first


def test_a_part_that_no_figure_shows_has_a_file_without_arrays(stages):
    collect_pictures(stages.params(), stages.paths, "costs")
    with np.load(pictures_file(stages.paths, "costs")) as file:
        assert file.files == []


def test_a_cell_that_is_left_out_has_no_pictures(stages):
    stages.values["faces"] = {("faces/ae", -1, "cell", "left_out"): (1, "", "")}
    collect_pictures(stages.params(), stages.paths, "faces")
    with np.load(pictures_file(stages.paths, "faces")) as file:
        assert file.files == []


def test_rows_say_what_is_wanted(stages):
    stages.rows |= {name: ["cnn/ae"] for name in ("figure2", "figure3", "figure5")}
    stages.rows |= {"figure4": ["cnn/ae", "cnn/unprotected"], "histograms": ["cnn/nopeek"], "figure1": ["cnn/mid"]}
    assert wanted(stages.params()) == {"cnn/mid": 1, "cnn/ae": 5, "cnn/unprotected": 5, "cnn/nopeek": 0}


def test_the_last_decoder_is_shown_and_the_papers_mle_is_not(repository):
    numbers = repository.numbers("figure4")
    assert pictures.shown(numbers, "cnn/gaussian_noise") == ["generator black_box", "generator repeated", "mle tuned"]


def test_what_is_missing_is_named(repository):
    with pytest.raises(FileNotFoundError, match=r"images/cnn\.npz is missing: stage collect_numbers@cnn writes it"):
        read_pictures(repository.paths, ["cnn/ae"])
    repository.pictures("cnn/siftfunnel")
    with pytest.raises(ParamsError, match=r"cnn\.npz has no picture of cnn/ae; stage collect_numbers@cnn"):
        read_pictures(repository.paths, ["cnn/ae"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ae/x": np.zeros((8, 32, 32, 3))}, "'ae/x' is float64, 8 x 32 x 32 x 3; uint8, any x any x any x any is"),
        ({"ae/x": np.zeros((8, 32, 32), np.uint8)}, "'ae/x' is uint8, 8 x 32 x 32; uint8"),
        ({"ae/x": np.zeros((8, 32, 16, 3), np.uint8)}, "no square images of 1 or 3 channels"),
        ({"ae/x": np.zeros((8, 32, 32, 2), np.uint8)}, "no square images of 1 or 3 channels"),
        ({"ae/x": np.zeros((0, 32, 32, 3), np.uint8)}, "no square images of 1 or 3 channels"),
        ({"ae/generator black_box": np.zeros((8, 32, 32, 1), np.uint8)}, "any x 32 x 32 x 3 is needed"),
        ({"ae/histograms": np.zeros((4, 256))}, "'ae/histograms' is float64"),
        ({"ae/histograms": np.zeros(256, int)}, "integer, any x any is needed"),
        ({"ae/x": None}, "it has no x before 'ae/generator black_box'"),
    ],
)
def test_pictures_of_another_shape_are_refused(repository, changes, why):
    repository.pictures("cnn/ae")
    file = pictures_file(repository.paths, "cnn")
    with np.load(file) as stored:
        arrays = {name: array for name, array in ({**stored} | changes).items() if array is not None}
    write_npz(file, **arrays)
    with pytest.raises(DamagedFile) as caught:
        read_pictures(repository.paths, ["cnn/ae"])
    assert str(caught.value).startswith(f"{file} cannot be used: ") and why in str(caught.value)
    assert "git restore" in str(caught.value)


def test_a_picture_that_is_lost_is_named(repository):
    repository.pictures("cnn/ae")
    file = pictures_file(repository.paths, "cnn")
    with np.load(file) as stored:
        write_npz(file, **{name: array for name, array in stored.items() if name != "ae/mle tuned"})
    with pytest.raises(DamagedFile, match=r"cnn\.npz cannot be used: it has no 'mle tuned'"):
        read_pictures(repository.paths, ["cnn/ae"])["cnn/ae"]["mle tuned"]


def test_a_stages_pictures_of_another_shape_are_refused(stages):
    own = stages.paths.seeded(1)
    for stage, array, why in (
        ("generator", np.zeros((8, 4, 4, 3)), "'black_box' is float64"),
        ("generator", np.zeros((8, 8, 8, 3), np.uint8), "any x 4 x 4 x 3 is needed"),
    ):
        decoders = {"black_box": array, "gray_box": images(2)}
        write_npz(own.result("cnn/ae", f"{stage}.npz"), x=images(100), **decoders)
        with pytest.raises(DamagedFile, match=why) as caught:
            collect_pictures(stages.params(), stages.paths, "cnn")
        assert "dvc repro train_generator@cnn/ae" in str(caught.value)
    write_npz(own.result("cnn/ae", "generator.npz"), x=images(100), gray_box=images(2))
    with pytest.raises(DamagedFile, match="it has no 'black_box'"):
        collect_pictures(stages.params(), stages.paths, "cnn")
