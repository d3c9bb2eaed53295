"""The table of numbers: how records become lines, what files keep, what follows per seed, and means over seeds."""

import math
import re

import pandas as pd
import pytest
from fabricated import GRID, Repository, line

from splitprobe.core.artifacts import DamagedFile, write_json
from splitprobe.core.cells import Paths
from splitprobe.report import attacks, frame
from splitprobe.report.numbers import Number, Numbers


def table(*lines: tuple) -> pd.DataFrame:
    """Lines of ours: (cell, seed, item, quantity, value), the value a number, a text or (None, reason)."""
    filled = [("ours", *place, *line(value)) for *place, value in lines]
    return pd.DataFrame(filled, columns=[*frame.COLUMNS]).astype({"value": float})


def facts(cell: str, seed: int, accuracy: float | None, **psnr: float | None) -> list[tuple]:
    """What the derived lines of a cell need; ``psnr``: attack, its two words joined by __, to dB."""
    own = [("cell", "dataset", "objects"), ("cell", "model", "cnn"), ("target", "accuracy", accuracy)]
    own += [(item.replace("__", " "), "psnr_db", value) for item, value in psnr.items()]
    own += [("floor generator mean_image", "psnr_db", 12.0), ("floor mle mean_image", "psnr_db", 13.0)]
    return [(cell, seed, *place) for place in own]


@pytest.mark.parametrize(
    ("path", "item"),
    [
        (("target",), "target"),
        (("target", "settings", "loss"), "settings loss"),
        (("target", "provenance"), "provenance target"),
        (("information", "mine", "paper"), "mi paper"),
        (("information", "effective"), "effective"),
        (("generator", "decoders", "black_box"), "generator black_box"),
        (("mle", "floors", "gray"), "floor mle gray"),
        (("mle", "judge"), "judge mle"),
        (("cost", "cpu"), "cost cpu"),
    ],
)
def test_names_of_items(path, item):
    assert frame.item_name(path) == item


def test_a_record_becomes_lines():
    record = {"accuracy": None, "accuracy_reason": "diverged", "cuda": None, "failed": True, "title": "AE"}
    record |= {"z_shape": [4, 8], "provenance": {"seed": 3}, "blocks": [{"half": "edge"}]}
    assert list(frame.lines(record, "target")) == [
        ("target", "accuracy", None, "", "diverged"),
        ("target", "cuda", None, "", frame.NO_REASON),
        ("target", "failed", 1.0, "", ""),
        ("target", "title", None, "AE", ""),
        ("target", "z_shape", None, "[4, 8]", ""),
        ("provenance target", "seed", 3.0, "", ""),
        ("target", "blocks", None, '[{"half": "edge"}]', ""),
    ]


def test_stages_results_are_collected_seed_by_seed(tmp_path):
    paths = Paths("demo", tmp_path)
    for seed in (2, 10):
        for stage in frame.STAGES:
            write_json(paths.seeded(seed).result("cnn/ae", f"{stage}.json"), {"images": seed})
    write_json(paths.cost("cnn/ae"), {"cpu": {"runs": 5}})
    own = frame.collect(paths, "cnn")
    assert own[own["item"] == "mle"][["who", "cell", "seed", "value"]].to_numpy().tolist() == [
        ["ours", "cnn/ae", 2, 2.0],
        ["ours", "cnn/ae", 10, 10.0],
    ]
    (cost,) = frame.collect(paths, "costs").to_numpy().tolist()
    assert cost[1:6] == ["cnn/ae", frame.NO_SEED, "cost cpu", "runs", 5.0]


def test_a_cell_without_a_seed_is_one_line(tmp_path):
    paths = Paths("demo", tmp_path)
    paths.results("budget/nls", "mle").mkdir(parents=True)
    (line,) = frame.collect(paths, "budget").to_numpy().tolist()
    assert line[:6] == ["ours", "budget/nls", frame.NO_SEED, "cell", "left_out", 1.0]


def test_files_keep_twelve_digits_whole_numbers_and_reasons(tmp_path):
    values = [1 / 3, 1_622_016_128.0, -2.5e-12, (None, "none")]
    lines = [("cnn/ae", 1, "target", f"q{i}", value) for i, value in enumerate(values)]
    frame.write(table(*lines, ("cnn/ae", 1, "target", "title", "NA, ä")), tmp_path / "cnn.csv")
    again = frame.read(tmp_path / "cnn.csv")
    assert again.value[:3].tolist() == [0.333333333333, 1_622_016_128.0, -2.5e-12]
    assert math.isnan(again.value[3])
    assert again.reason[3] == "none"
    assert again.text[4] == "NA, ä"


def test_files_that_are_absent_or_broken_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cnn\.csv is missing: stage collect_numbers@cnn writes it"):
        frame.read(tmp_path / "cnn.csv")
    for text in ("cell,seed\ncnn/ae,1\n", "cell,seed,item,quantity,value,text,reason\na,x,b,c,1,,\n"):
        (tmp_path / "cnn.csv").write_text(text)
        with pytest.raises(ValueError, match=r"cnn\.csv"):
            frame.read(tmp_path / "cnn.csv")


HEADER = "cell,seed,item,quantity,value,text,reason\n"
WRONG = {
    "": "its columns are absent, not cell, seed",
    "cell,seed,item,quantity,value,text\n": "its columns are cell, seed, item, quantity, value, text, not cell",
    HEADER + "a,1,target,accuracy,high,,\n": "could not convert string to float",
    HEADER + "a,1,target,accuracy,NaN,,\n": "a value is not finite, first in line 2",
    HEADER + "a,1,target,accuracy,inf,,\n": "a value is not finite, first in line 2: a, 1, target, accuracy, inf",
    HEADER + "a,1.5,target,accuracy,1,,\n": "int",
    HEADER + "a,1,target,accuracy,0.5,,\nb,1,target,acc\n": "line 3 has 4 fields, not 7",
    HEADER + "a,1,target,accuracy,0.5,,\na,1,target,accuracy,0.5,,,\n": "line 3 has 8 fields, not 7",
    HEADER + "a,1,target,accuracy,0.5,,,\n": "line 2 has 8 fields, not 7",
    HEADER + "a,1,target,accuracy,0.5,,\na,1,target,accuracy,0.6,,\n": "a line is there twice, first in line 3",
    HEADER + "a,1,target,accuracy,0.5,,\n,1,target,accuracy,0.6,,\n": "a name is empty, first in line 3",
    HEADER + "a,1,target,accuracy,,high,\n": "a text is where a number belongs, first in line 2",
    HEADER + "a,1,generator strong,psnr_db,,20 dB,\n": "a text is where a number belongs",
    HEADER + "a,1,target,title,3,AE,\n": "a value has a text beside it",
    HEADER + 'a,1,target,z_shape,,"[4, 8",\n': "a list is no JSON",
    HEADER + "a,1,target,blocks,,{,\n": "a list is no JSON",
    HEADER + "a,1,target,title,,\udcff,\n": "decode",
}


@pytest.mark.parametrize(("text", "why"), WRONG.items(), ids=range(len(WRONG)))
def test_a_damaged_file_is_named_with_its_line_and_the_way_out(tmp_path, text, why):
    file = Paths("demo", tmp_path).numbers("cnn")
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DamagedFile) as caught:
        frame.read(file)
    said = str(caught.value)
    assert said.startswith(f"{file} cannot be used: ") and why in said and "\n" not in said
    assert said.endswith(f"`git restore {file}` brings it back, or `dvc repro collect_numbers@cnn` makes it anew")


def test_damage_in_what_a_stage_noted_is_named(tmp_path):
    paths = Paths("demo", tmp_path)
    own = paths.seeded(1)
    for stage in frame.STAGES:
        write_json(own.result("cnn/ae", f"{stage}.json"), {"accuracy": 0.5})
    for text, why in (
        ('{"accuracy": NaN}', "NaN, which is no number"),
        ('{"accuracy": "high"}', "target: accuracy = 'high' is no number"),
        ('{"settings": {"loss": [1], "psnr_db": [20.0]}}', "settings: psnr_db = '[20.0]' is no number"),
        ("[]", "it holds a list"),
    ):
        own.result("cnn/ae", "target.json").write_text(text)
        with pytest.raises(DamagedFile, match=re.escape(why)) as caught:
            frame.collect(paths, "cnn")
        assert str(own.result("cnn/ae", "target.json")) in str(caught.value)
        assert "dvc repro train_target@cnn/ae" in str(caught.value)
    point = own.point("cnn/ae", "loss.weight", 2.0)
    for record, why in (
        ({"target": {"cell": {"name": "cnn/ae"}}}, "it has no 'knob'"),
        ({"knob": {"key": "a", "value": "b"}, "target": {"cell": {"name": "cnn/ae"}}}, "format code"),
        ({"knob": {"key": "a", "value": 2.0}, "target": {"cell": {}}}, "it has no 'name'"),
        ({"knob": {"key": "a", "value": 2.0}, "target": {"cell": {"name": "cnn/ae"}}, "mle": 3}, "more than objects"),
    ):
        write_json(point, record)
        with pytest.raises(DamagedFile, match=why) as caught:
            frame.collect(paths, "sweeps")
        assert str(caught.value).startswith(str(point)) and "dvc repro sweep@ae" in str(caught.value)


def test_what_lines_are_lost_is_named():
    numbers = Numbers(table(("cnn/ae", 1, "target", "accuracy", 0.5)), ["cnn/ae"])
    for ask in (
        lambda: numbers.number("cnn/ae", "mle", "images"),
        lambda: numbers.text("cnn/ae", "target", "title"),
        lambda: numbers.text("cnn/other", "target", "accuracy"),
    ):
        with pytest.raises(ValueError, match=r"has (no )?.*; `dvc repro collect_numbers@cnn` or `git restore metrics`"):
            ask()


def test_the_papers_lines():
    own = frame.printed(["cnn/siftfunnel", "cnn/bido_cka"]).set_index(["cell", "item", "quantity"]).value
    assert own["cnn/siftfunnel", "generator gray_box", "psnr_db_paper"] == 16.7314
    assert own["cnn/siftfunnel", "mi paper", "mi_nats"] == 0.0167
    assert "cnn/bido_cka" not in own.index.levels[0]


def test_means_and_spreads_over_seeds():
    values = {"spread": (1.0, 2.0, 6.0), "same": (3.1, 3.1, 3.1), "absent": (1.0, (None, "diverged"), 2.0)}
    values |= {"flag": (0.0, 1.0, 0.0)}
    lines = [("cnn/ae", seed, "target", name, own[seed]) for name, own in values.items() for seed in range(3)]
    numbers = Numbers(table(*lines, ("cnn/ae", frame.NO_SEED, "cost", "ms", 7.0)), ["cnn/ae"])
    spread = numbers.number("cnn/ae", "target", "spread")
    assert (spread.value, spread.n, spread.highest) == (3.0, 3, 6.0)
    assert spread.sd == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert spread.times(100).sd == pytest.approx(100 * spread.sd)
    assert numbers.number("cnn/ae", "target", "same") == Number(3.1, None, 3, 3.1)
    absent = numbers.number("cnn/ae", "target", "absent")
    assert (absent.value, absent.sd, absent.reason) == (None, None, "diverged")
    assert numbers.number("cnn/ae", "target", "flag").highest == 1
    assert numbers.number("cnn/ae", "cost", "ms").value == 7.0  # measured once, whatever the seeds
    assert numbers.seeds("cnn/ae") == [0, 1, 2]
    assert numbers.of_seed(2).number("cnn/ae", "target", "spread") == Number(6.0, None, 1, 6.0)


def test_a_misspelled_quantity_is_no_absent_value():
    numbers = Numbers(table(("cnn/ae", 1, "target", "accuracy", 0.5)), ["cnn/ae"])
    with pytest.raises(KeyError, match="no cell has target: acuracy"):
        numbers.number("cnn/ae", "target", "acuracy")
    assert numbers.number("cnn/ae", "target", "acuracy", missing="not run").reason == "not run"
    assert numbers.number("cnn/other", "target", "accuracy") == Number(None)


def test_accuracy_is_compared_seed_by_seed():
    lines = [*facts("cnn/unprotected", 1, 0.8), *facts("cnn/unprotected", 2, 0.9)]
    lines += [*facts("cnn/ae", 1, 0.7), *facts("cnn/ae", 2, 0.7), *facts("cnn/ae", 3, 0.8)]
    numbers = Numbers.of(table(*lines), ["cnn/unprotected", "cnn/ae"])
    assert numbers.number("cnn/ae", "network", "accuracy_percent").value == pytest.approx(220 / 3)
    # seed 3 has no unprotected run: it is compared with the mean of the others
    change = numbers.number("cnn/ae", "network", "accuracy_change_points")
    assert change.value == pytest.approx((-10 - 20 - 5) / 3)
    assert numbers.by_seed("cnn/ae", "network", "accuracy_change_points") == pytest.approx({1: -10, 2: -20, 3: -5})
    alone = Numbers.of(table(*facts("cnn/ae", 1, 0.7)), ["cnn/ae"])
    assert "no unprotected row" in alone.number("cnn/ae", "network", "accuracy_change_points").reason


def test_the_strongest_attack_is_that_of_each_seed():
    """The maximum of the means would be another number: different attacks win on different seeds."""
    lines = facts("cnn/ae", 1, 0.7, generator__black_box=20.0, mle__tuned=15.0)
    lines += facts("cnn/ae", 2, 0.7, generator__black_box=14.0, mle__tuned=18.0, generator__cloud_side=30.0)
    numbers = Numbers.of(table(*lines), ["cnn/ae"])
    assert numbers.number("cnn/ae", "strongest", "psnr_db").value == 19.0
    assert numbers.number("cnn/ae", "strongest", "gain_db").value == (8 + 5) / 2  # each on its own images
    lost = Numbers.of(table(*facts("cnn/ae", 1, 0.7, generator__black_box=None)), ["cnn/ae"])
    assert "no attack ended" in lost.number("cnn/ae", "strongest", "psnr_db").reason
    assert attacks.best(lost, "cnn/ae") is None


def test_the_strongest_attack_is_compared_on_the_images_that_all_have():
    """A decoder that is ahead on its many images is behind on the few that MLE attacks too, and the reverse."""
    lines = facts("cnn/ae", 1, 0.7, generator__strong=20.0, generator__black_box=17.0, mle__hybrid=18.0)
    shared = [("strong", 16.0), ("black_box", 15.0)]
    ahead = [*lines, *(("cnn/ae", 1, f"generator {name}", "shared_psnr_db", value) for name, value in shared)]
    numbers = Numbers.of(table(*ahead), ["cnn/ae"])
    found = [numbers.number("cnn/ae", "strongest", key).value for key in ("psnr_db", "gain_db", "all_psnr_db")]
    assert found == [18.0, 18.0 - 13.0, 18.0]
    assert numbers.text("cnn/ae", "strongest", "psnr_db") == attacks.best(numbers, "cnn/ae") == "mle hybrid"
    behind = [*lines, ("cnn/ae", 1, "generator black_box", "shared_psnr_db", 19.0)]
    behind += [("cnn/ae", 1, "generator strong", "shared_psnr_db", 16.0)]
    numbers = Numbers.of(table(*behind), ["cnn/ae"])
    found = [numbers.number("cnn/ae", "strongest", key).value for key in ("psnr_db", "gain_db", "all_psnr_db")]
    assert found == [19.0, 19.0 - 13.0, 17.0]
    assert numbers.text("cnn/ae", "strongest", "psnr_db") == attacks.best(numbers, "cnn/ae") == "generator black_box"


def test_attacks_of_a_cell_and_their_names(tmp_path):
    own = Repository(tmp_path)
    own.cell("cnn/noise", GRID["gaussian_noise"])
    decoders = {"black_box": 11.7, "gray_box": 13.0, "cloud_side": 17.0}
    own.cell("cnn/sift", ("S", "siftfunnel", 0.7, decoders, (6, 11), 1, 1))
    own.rows["table2"] = ["cnn/noise", "cnn/sift"]
    numbers = own.numbers("table2")
    assert attacks.decoders(numbers, "cnn/sift") == ["generator black_box", "generator gray_box"]
    assert attacks.mirroring(numbers, "cnn/noise") == ["generator black_box"]
    assert attacks.variants(numbers) == ["mle paper", "mle tuned"]
    best = attacks.best(numbers, "cnn/noise")
    assert attacks.title(numbers, "cnn/noise", best) == "black-box decoder, 16 queries"
    assert attacks.title(numbers, "cnn/noise", "mle hybrid_once") == "hybrid, one query"
    assert attacks.title(numbers, "cnn/noise", "mle paper") == "MLE (paper's settings)"
    assert attacks.best(numbers, "cnn/sift", "mle") == "mle tuned"
    assert attacks.failed(numbers, "cnn/sift") == 3
    parameters, layers = attacks.edge(numbers, "cnn/sift")
    assert (parameters, len(layers), layers[0]) == (26904, 3, (("Normalize",), (3, 32, 32)))
