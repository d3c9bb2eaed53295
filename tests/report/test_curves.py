"""The figure of curves: what the files have, one legend, and a missing file by name."""

import math

import pytest
from drawing import assert_readable, assert_stable, drawn
from fabricated import GRID, OTHERS

from splitprobe.core.artifacts import DamagedFile, write_csv
from splitprobe.core.params import ParamsError
from splitprobe.report import curves


@pytest.fixture
def few(repository):
    """Two cells, of which one reuses weights."""
    repository.rows["curves"] = ["cnn/gaussian_noise", "cnn/siftfunnel"]
    for cell in repository.rows["curves"]:
        repository.curves(cell, GRID[cell.partition("/")[2]])
    return repository


@pytest.mark.slow
def test_curves_draw_what_the_files_have(few):
    figure = drawn(few, "curves")
    loss, _, calibrated, _, generator, strong, mle, hybrid = figure.axes
    titles = [axes.get_title(loc="left") for axes in (loss, calibrated, strong, hybrid)]
    assert titles == [curves.PANELS[i][0] for i in (0, 2, 5, 7)]
    # the noise cell reuses weights: its curve has no lines, so the loss panel shows one cell
    assert len(loss.lines) == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Gaussian noise", "SiftFunnel"]
    assert generator.get_yscale() == "log"
    black, better = (axes.lines[0].get_ydata()[-1] for axes in (generator, strong))
    assert black == pytest.approx(10**-1.965 + 0.1 * math.exp(-3))
    assert better == pytest.approx(10**-2.2 + 0.1 * math.exp(-3))
    assert len(hybrid.lines) == len(mle.lines) == 2
    assert list(mle.lines[0].get_xdata()) == [40 * epoch for epoch in range(1, 13)]
    assert "Gaussian noise uses the weights of cnn/unprotected." in " ".join(figure.texts[1].get_text().split())
    assert_stable(few, "curves", 200_000)


def test_the_first_seeds_curves_are_drawn(thrice):
    thrice.rows["curves"] = ["cnn/siftfunnel"]
    thrice.curves("cnn/siftfunnel", GRID["siftfunnel"], seed=1)
    assert "Seed 1; CPU" in drawn(thrice, "curves").texts[1].get_text()


def test_curves_leave_out_empty_fields(few):
    own, cell = few.paths.seeded(0), "cnn/gaussian_noise"
    lines = [{"step": 0, "tuned_psnr_db": 5.0}, {"step": 1, "paper_psnr_db": 6.0}, {"step": 2, "tuned_psnr_db": 9.0}]
    write_csv(own.curve(cell, "mle"), lines, ["step", "paper_psnr_db", "tuned_psnr_db"])
    tuned, hybrid = (curves.read(own, cell, *panel[2:]) for panel in curves.PANELS[6:])
    assert tuned.to_dict() == {0: 5.0, 2: 9.0}
    assert len(hybrid) == 0


def test_six_rows_have_one_legend_above_the_panels_and_seven_are_refused(full):
    for row, content in (GRID | OTHERS).items():
        full.curves(f"cnn/{row}", content)
    full.rows["curves"] = full.rows["curves"][:6]
    figure = drawn(full, "curves")
    assert_readable(figure)
    assert len(figure.legends[0].get_texts()) == 6
    assert all(len(axes.lines) <= 6 for axes in figure.axes)
    full.rows["curves"] = full.rows["table2"][:7]
    with pytest.raises(ParamsError, match=r"rows\.curves: 7 cells; list 6 at most"):
        drawn(full, "curves")


def test_a_curve_that_is_missing_is_named(few):
    few.paths.seeded(0).curve("cnn/gaussian_noise", "information").unlink()
    message = r"curves/cnn/gaussian_noise/information/0\.csv is missing: stage train_mine@cnn/gaussian_noise writes it"
    with pytest.raises(FileNotFoundError, match=message):
        drawn(few, "curves")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "No columns"),
        ("epoch,task\n1,high\n", "column task holds more than finite numbers"),
        ("epoch,task\n1,NaN\n2,0.5\n", "column task holds more than finite numbers"),
        ("epoch,task\n1,0.5\n2,inf\n", "column task holds more than finite numbers"),
        ("epoch,task\none,0.5\n", "column epoch holds more than finite numbers"),
        ("epoch,task\n,0.5\n", "column epoch holds more than finite numbers"),
        ("epoch,task\n1,0.5,3\n1,0.5,3,4\n", "Expected"),
        ("row,title\na,b\n", "its columns are not an epoch or a step"),
    ],
)
def test_a_damaged_curve_is_named(few, text, why):
    own, cell = few.paths.seeded(0), "cnn/siftfunnel"
    own.curve(cell, "target").write_text(text)
    with pytest.raises(DamagedFile) as caught:
        curves.read(own, cell, *curves.PANELS[0][2:])
    said = str(caught.value)
    assert said.startswith(f"{own.curve(cell, 'target')} cannot be used: ") and why in said
    assert said.endswith("or `dvc repro train_target@cnn/siftfunnel` makes it anew")
