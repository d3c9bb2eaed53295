"""Mistakes anywhere in params.yaml are named before the first stage, and the real file has none."""

import copy
import dataclasses
import importlib
import pkgutil
import subprocess
import sys
from typing import get_args, get_origin, get_type_hints

import pytest
from graph_tools import ROOT, read_yaml

import splitprobe
from splitprobe.attacks import APART, ATTACKS, generator
from splitprobe.core.params import PER_SCALE, TOP_LEVEL, Params, ParamsError
from splitprobe.core.recipe import Study
from splitprobe.core.registry import lookup
from splitprobe.datasets import sections
from splitprobe.defenses import DEFENSES
from splitprobe.models import MODELS
from splitprobe.probes import preflight as module
from splitprobe.probes.preflight import SCALED, SECTIONS, preflight
from splitprobe.report import leaderboard, statistics
from splitprobe.targets.training import Plan, Width

TREE, MORE = read_yaml(ROOT / "params.yaml"), {"leaderboard": leaderboard.Settings, "criterion": statistics.Settings}


@pytest.fixture(scope="module")
def whole() -> Study:
    return Study(ROOT)


@pytest.fixture
def examined(whole, monkeypatch):
    """Examine params.yaml with another value at a key, which need not be there, and at further ones."""

    def run(changes: dict, networks: bool = False) -> None:
        tree = copy.deepcopy(TREE)
        for key, value in changes.items():
            *above, last = key.split("/")
            part = tree
            for name in above:
                part = part.setdefault(name, {})
            part[last] = value
        study = copy.copy(whole)
        study.params = Params(tree)
        if not networks:
            monkeypatch.setattr(module, "_build_networks", lambda study: None)
        preflight(study, MORE)

    return run


@pytest.mark.parametrize("scale", TREE["scales"]["names"].split())
def test_the_real_file_is_sound_at_every_scale(scale):
    preflight(Study(ROOT, scale), MORE)


def kinds() -> set[type]:
    """The dataclasses of all sections, and those within them."""
    found, new = set(), {*SECTIONS.values(), *SCALED.values(), *MORE.values(), sections.Source, Width, Plan}
    new |= {lookup(MODELS, name, "model").Settings for name in MODELS}
    new |= {lookup(DEFENSES, name, "defense").Settings for name in DEFENSES}
    new |= {importlib.import_module(line.partition(":")[0]).Settings for line in {**ATTACKS, **APART}.values()}
    while new:
        found |= new
        inner = {hint for cls in new for hint in get_type_hints(cls).values()}
        inner |= {part for hint in inner for part in get_args(hint)}
        new = {hint for hint in inner if dataclasses.is_dataclass(hint)} - found
    return found


def test_every_list_says_how_many_items_it_has():
    lists = [(cls, item) for cls in kinds() for item in dataclasses.fields(cls) if "tuple[" in str(item.type)]
    assert len(lists) > 15
    for cls, item in lists:
        least, most = item.metadata["items"]
        assert 0 <= least <= most, f"{cls}: {item.name}"


def test_every_dataclass_with_ranges_is_that_of_a_section():
    """None is forgotten here, nor in the test above."""
    found = pkgutil.walk_packages(splitprobe.__path__, "splitprobe.")
    names = [each.name for each in found if not each.name.startswith("splitprobe.engine")]
    bounded = set()
    for name in names:
        for cls in vars(importlib.import_module(name)).values():
            if isinstance(cls, type) and dataclasses.is_dataclass(cls):
                bounded |= {cls for item in dataclasses.fields(cls) if item.metadata}
    sections_and_parents = {parent for cls in kinds() for parent in cls.__mro__}
    read_in_part = {generator.Shared}  # of a section whose other keys another attack reads
    assert bounded and bounded - read_in_part <= sections_and_parents


def test_every_section_is_read():
    known = {key.partition(".")[0] for key in (*SECTIONS, *MORE)}
    assert set(TOP_LEVEL) - known == {
        "scale", "seed", "scales", "model", "defense", "variants", "ablation", "attack", "rows", "sweeps",
    }  # fmt: skip
    assert set(PER_SCALE) - SCALED.keys() == {"names", "like", "repeats", "left_out", "data", "model", "target"}
    assert TREE.keys() == set(TOP_LEVEL)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training/drows", 4, r"training\.drows = 4: unknown key; known here: batch_size"),
        ("training/draws", "4", r"training\.draws = '4': int is needed, this is str"),
        ("training/betas", [0.5], r"training\.betas = \[0\.5\]: 2 items are needed, these are 1"),
        ("normalization/rgb/mean", [0.5], r"normalization\.rgb\.mean = \[0\.5\]: 3 items are needed"),
        ("model/vgg16/dropout", [0.1, 0.1, 0.1], r"model\.vgg16\.dropout = .*: 2 items are needed, these are 3"),
        ("model/vgg17", {}, r"model\.vgg17 = {}: unknown key; known here: cnn, resnet18, vgg16"),
        ("model/cnn/dropout", 2, r"model\.cnn\.dropout = 2\.0: must be at most 0\.95"),
        ("defense/nopeak", {"weight": 9}, r"defense\.nopeak = {'weight': 9}: unknown key; known here: unprotected"),
        ("defense/vib/sigma", -1, r"defense\.vib\.sigma = -1\.0: must be at least"),
        ("defense/unprotected/sigma", 1, r"defense\.unprotected\.sigma = 1: unknown key; known here: none"),
        ("defense/siftfunnel/se_reduction", [8, 8], r"se_reduction = \[8, 8\]: one for each block of attention_after"),
        ("attack/hybridd", {}, r"attack\.hybridd = {}: unknown key; known here: generator, mle, hybrid"),
        ("attack/prior/rows", "siftfunnel aee", r"attack\.prior\.rows: 'aee' is no row of stages/cells\.yaml"),
        ("attack/prior/weight", [-1], r"attack\.prior\.weight\[0\] = -1\.0: must be at least"),
        ("attack/prior/high", 3.0, r"attack\.prior\.high = 3: the denoiser is trained from scales\.prior\.low = 0\.01"),
        ("scales/prior/width", 12, r"scales\.prior\.width = 12: a multiple of 8 is needed"),
        ("scales/prior/stepps", 3, r"scales\.prior\.stepps = 3: unknown key"),
        ("attack/mle/tuned/lr", [], r"attack\.mle\.tuned\.lr = \[\]: at least 1 items are needed"),
        ("attack/mle/tuned/tv", [0, 0.0], r"attack\.mle\.tuned\.tv = \[0\.0, 0\.0\]: 0\.0 is listed twice"),
        ("attack/generator/decoders", ["gray_box"], r"attack\.generator\.decoders = \['gray_box'\]: 'strong' must be"),
        ("variants/vib", {"defense": {"vib": {"sigma": 0}}}, r"variants\.vib: defense\.vib\.sigma = 0\.0: must be"),
        ("variants/vib", {"target": {"epochs": {"paper": 0}}}, r"variants\.vib\.target\.epochs = 0: must be at least"),
        ("variants/vib", {"training": {"flip": True}}, r"variants\.vib\.training\.flip = True: decoders are fitted"),
        ("variants", [], r"variants = \[\]: a section is needed here"),
        ("ablation/no_l1/loss", 3, r"ablation\.no_l1: loss = 3: a section is needed here"),
        ("information/levels", 300, r"information\.levels = 300: must be at most 256"),
        ("calibration/rho", [1], r"calibration\.rho\[0\] = 1\.0: must be at most 0\.9999"),
        ("cost/runs", 1, r"cost\.runs = 1: must be at least 10"),
        ("criterion/level", 1, r"criterion\.level = 1\.0: must be at most 0\.999"),
        ("leaderboard/rank_at", 2, r"leaderboard\.rank_at = 2: choose one of leaderboard\.losses: 1, 3, 5"),
        ("judge/model", "resnet50", r"judge\.model = 'resnet50': choose one of 'cnn'"),
        ("knowledge/decoder", "weak", r"knowledge\.decoder = 'weak': choose one of 'black_box'"),
        ("knowledge/other", "x-ray", r"knowledge\.other = 'x-ray': choose one of objects, faces, xray"),
        ("knowledge/other", "objects", r"knowledge\.other = 'objects': the data set of cnn/unprotected itself"),
        ("knowledge/shares", [], r"knowledge\.shares = \[\]: at least 1 items are needed"),
        ("scales/mlee", {}, r"scales\.mlee = {}: unknown key; known here: names, like, repeats, left_out, data"),
        ("scales/mle/steps", {"tinny": 3, "demo": 4}, r"scales\.mle\.steps = .*: int is needed.* of scales\.names"),
        ("scales/mle/steps", {"tiny": 3}, r"scales\.mle\.steps: missing; scales\.mle needs images, steps"),
        ("scales/data/object", {}, r"scales\.data\.object = {}: unknown key; known here: objects, faces, xray"),
        ("scales/data/objects/source", "imagenet", r"scales\.data\.objects\.source = 'imagenet': choose one of photos"),
        ("scales/data/faces/classes", [], r"scales\.data\.faces\.classes = \[\]: at least 1 items are needed"),
        ("scales/model/vgg", {"width": 8}, r"scales\.model\.vgg = .*: unknown key; known here: cnn"),
        ("scales/target/cnn/lr", {"paper": 9.0}, r"at scale paper: scales\.target\.cnn\.lr\[0\] = 9\.0: must"),
        ("scales/repeats/cn", 3, r"scales\.repeats\.cn = 3: unknown key; known here: ablation, budget, cnn"),
        ("scales/repeats/cnn", {"demo": 1, "small": -1}, r"at scale small: scales\.repeats\.cnn = -1: a whole number"),
        ("scales/left_out/small", "cnn/x*", r"at scale small: scales\.left_out: 'cnn/x\*' matches no cell"),
        ("rows/table7", "cnn/*", r"rows\.table7 = 'cnn/\*': unknown key; known here: calibration, claims"),
        ("rows/table2", "cnn/vibb", r"rows\.table2: 'cnn/vibb' matches no cell of stages/cells\.yaml"),
        ("rows/table1", "objects face", r"rows\.table1: 'face' is unknown; known here: objects, faces, xray"),
        ("rows/report", "claims table9", r"rows\.report: 'table9' is unknown; known here: table1"),
        ("sweeps/vibb", {}, r"sweeps\.vibb = {}: unknown key; known here: gaussian_noise"),
        ("sweeps/vib", {"defense.vib.sigma": [0]}, r"defense\.vib\.sigma = 0\.0: must be at least"),
        ("sweeps/vib", {"defense.vib.sigm": [1]}, r"defense\.vib\.sigm: missing from params\.yaml; defense\.vib holds"),
        ("sweeps/vib", {3: [1]}, r"sweeps\.vib: 3: a setting of cnn/vib's defense is needed"),
        ("sweeps/dpsgd", {"defense.dpsgd.epsilon": [0.05]}, r"sweeps\.dpsgd: defense\.dpsgd\.epsilon = 0\.05: out of"),
    ],
)  # fmt: skip
def test_a_mistake_anywhere_is_named(examined, key, value, message):
    with pytest.raises(ParamsError, match=message) as caught:
        examined({key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scales/data/objects/side", 30, r"cnn/unprotected: side = 30"),
        ("scales/model/cnn/width", 8.0, r"scales\.model\.cnn\.width = 8\.0: int is needed"),
        ("scales/target/cnn/select_after", 99, r"cnn/\w+: scales\.target: select_after = 99: fewer than the \d+ ep"),
        (
            "variants/none",
            {"target": {"epochs": 3}},
            r"variants\.none\.target: cnn/gaussian_noise has .* trains nothing",
        ),
        ("scales/left_out", "cnn/unprotected", r"cnn/gaussian_noise has 1 seeds and .* cnn/unprotected, which has 0"),
        ("judge/cut", 12, r"judge/objects: cut = 12: this network can be cut after block 1 to 9"),
        ("defense/dpsgd/delta", 0.001, r"cnn/dpsgd: defense\.dpsgd\.delta = 0\.001: must be below 1/2400 = 0\.000417"),
        ("defense/dpsgd/batch_size", 4096, r"batch_size = 4096: the batch must not exceed the 2400 training images"),
        ("defense/siftfunnel/attention_after", [2], r"siftfunnel.*: .*attention_after = \[2\]: only blocks 1 to 1"),
        ("scales/data/xray/auxiliary_raw", "x", r"scales\.data\.xray: auxiliary_raw = 'x': without effect"),
        (
            "scales/data/xray/side",
            64,
            r"knowledge\.other = 'xray': its images are 1x64x64, those of cnn/unprotected 3x",
        ),
    ],
)
def test_what_does_not_fit_the_cells_that_run_is_named(examined, key, value, message):
    with pytest.raises(ParamsError, match=message):
        examined({key: value}, networks=True)


def test_a_network_that_is_left_out_need_not_fit(examined):
    """With VGG16 and ResNet-18 left out, a side that they cannot halve is no mistake, but for the judge."""
    groups = {name.partition("/")[0]: 0 for name in read_yaml(ROOT / "stages/cells.yaml")["cells"]}
    repeats = {f"scales/repeats/{group}": 0 for group in groups} | {"scales/repeats/cnn": 1}
    sides = {f"scales/data/{name}/side": 48 for name in TREE["scales"]["data"]}
    with pytest.raises(ParamsError, match="judge/objects: side = 48: resnet18 needs a multiple of 32"):
        examined(repeats | sides, networks=True)
    examined(repeats | sides | {"judge/model": "cnn"}, networks=True)


def test_what_another_scale_lacks_is_no_mistake(examined):
    examined({"scales/mle/steps": {"demo": 3}, "scales/data/objects/source": {"demo": "photos"}})


@pytest.mark.slow
def test_the_stage_writes_nothing_where_there_is_a_mistake(tmp_path):
    for name in ("src", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    text = (ROOT / "params.yaml").read_text()
    names = ", ".join(Params(TREE).names)
    for change, message in (
        (("scale: demo", "scale: tinny"), f"error: scale = 'tinny': choose one of {names}\n"),
        (
            ("nopeek:\n    weight: 3.0", "nopeek:\n    wait: 3.0"),
            "error: defense.nopeek.wait = 3.0: unknown key; known ",
        ),
    ):
        assert change[0] in text
        (tmp_path / "params.yaml").write_text(text.replace(*change))
        command = [sys.executable, "stages/write_recipes.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith(message), done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / "data").exists()


def test_hints_of_lists_are_written_out():
    """So that the test of their lengths finds them all."""
    for cls in kinds():
        for item in dataclasses.fields(cls):
            hint = get_type_hints(cls)[item.name]
            lists = [part for part in (hint, *get_args(hint)) if get_origin(part) is tuple]
            assert bool(lists) == ("tuple[" in str(item.type)), f"{cls}: {item.name}"
