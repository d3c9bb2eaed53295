import copy
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from splitprobe.core.params import Params, ParamsError, as_list, at_scale, bounded, typed


@dataclass(frozen=True)
class Inner:
    rate: float = bounded(0.0, 1.0)


@dataclass(frozen=True)
class Section:
    steps: int = bounded(1, 10)
    inner: Inner
    kind: str = bounded(choices=("a", "b"))
    values: tuple[float, ...] = bounded(0.0, 1.0, items=(1, 3), distinct=True)
    on: bool
    path: str | None


GOOD = {"steps": 3, "inner": {"rate": 0.5}, "kind": "a", "values": [0, 1], "on": True, "path": None}


def test_types_nested_sections_lists_and_null():
    section = typed(Section, GOOD, "s")
    assert section == Section(3, Inner(0.5), "a", (0.0, 1.0), True, None)
    assert isinstance(section.values[0], float)


@pytest.mark.parametrize(
    ("written", "values"), [("0 1e-3 1.0", (0.0, 0.001, 1.0)), ("0.5", (0.5,)), (1, (1.0,)), ([0.25, 1], (0.25, 1.0))]
)
def test_a_list_may_be_a_text(written, values):
    assert typed(Section, {**GOOD, "values": written}, "s").values == values
    assert as_list("a  b\nc") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 3}, "s.stepz = 3: unknown key; known here: steps"),
        ({"steps": "2e-4"}, "s.steps = '2e-4': int is needed, this is str"),
        ({"steps": 2.5}, "s.steps = 2.5"),
        ({"steps": True}, "s.steps = True: int is needed, this is bool"),
        ({"steps": 0}, "s.steps = 0: must be at least 1"),
        ({"steps": 11}, "s.steps = 11: must be at most 10"),
        ({"steps": None}, "s.steps = None"),
        ({"inner": {"rate": "2e-4"}}, "s.inner.rate = '2e-4': float is needed, this is str"),
        ({"inner": {"rate": math.nan}}, "s.inner.rate = nan"),
        ({"inner": {}}, "s.inner.rate: missing"),
        ({"inner": 3}, "s.inner = 3: a section is needed here; its keys: rate"),
        ({"inner": {1: 2}}, "s.inner.1 = 2: unknown key; known here: rate"),
        ({"inner": {"a\nb": 2}}, r"s.inner.'a\\nb' = 2: unknown key"),
        (
            {"inner": {"rate": {"tinny": 1, "demo": 1}}},
            "this is dict; a value for each scale has names of scales.names",
        ),
        ({"inner": {"rate": 10**400}}, "s.inner.rate = 1000000.*0000: a finite number is needed"),
        ({"inner": {"rate": 16**5000}}, "s.inner.rate = a int too long to print: a finite number is needed"),
        ({"inner": {"rate": -math.inf}}, "s.inner.rate = -inf: a finite number is needed"),
        ({"kind": "c"}, "s.kind = 'c': choose one of 'a', 'b'"),
        ({"values": [0.5, 2]}, r"s.values\[1\] = 2.0: must be at most 1.0"),
        ({"values": []}, r"s.values = \[\]: at least 1 items are needed, these are 0"),
        (
            {"values": [0.1, 0.2, 0.3, 0.4]},
            r"s.values = \[0.1, 0.2, 0.3, 0.4\]: at most 3 items are needed, these are 4",
        ),
        ({"values": [0, 0.5, 0.0]}, r"s.values = \[0.0, 0.5, 0.0\]: 0.0 is listed twice"),
        ({"values": [0.5, "x"]}, r"s.values\[1\] = 'x'"),
        ({"values": "0.5, 1"}, r"s.values\[0\] = '0.5,': float is needed"),
        ({"values": ""}, r"s.values = \[\]: at least 1 items are needed, these are 0"),
        ({"values": True}, r"s.values\[0\] = True: float is needed"),
        ({"values": {"a": 1}}, "s.values = {'a': 1}: a list, or a text with spaces between its items, is needed"),
        ({"on": "yes"}, "s.on = 'yes'"),
    ],
)
def test_a_bad_key_is_refused_by_name_and_value(change, message):
    with pytest.raises(ParamsError, match=message):
        typed(Section, {**GOOD, **change}, "s")


def test_a_missing_key_is_named_but_for_one_that_may_be_null():
    def without(name):
        return typed(Section, {k: v for k, v in GOOD.items() if k != name}, "s")

    with pytest.raises(ParamsError, match=r"s\.kind: missing"):
        without("kind")
    assert without("path") == typed(Section, GOOD, "s")


def test_a_scale_has_its_own_values_and_those_of_all():
    value = {"side": 3, "raw": {"b": "x"}, "net": {"width": {"a": 1, "b": 2}, "betas": [1, 2]}, "none": {}}
    shared = {"side": 3, "none": {}}
    assert at_scale(value, ["a"], ("a", "b")) == {**shared, "net": {"width": 1, "betas": [1, 2]}}
    assert at_scale(value, ["b"], ("a", "b")) == {**shared, "net": {"width": 2, "betas": [1, 2]}, "raw": "x"}


def test_another_scale_can_be_asked_for(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("scale: a\nscales: {names: [a, b], repeats: {cnn: {a: 1, b: 2}}}\n")
    assert [Params.load(path, scale).raw("scales.repeats.cnn") for scale in (None, "b")] == [1, 2]


def test_one_value_can_be_changed(params: Params):
    other = params.changed("loss.alpha_kl", 9.0)
    assert (other.raw("loss.alpha_kl"), params.raw("loss.alpha_kl")) == (9.0, 3.5)
    with pytest.raises(ParamsError, match=r"loss\.beta: missing from params\.yaml; loss holds alpha_kl"):
        params.changed("loss.beta", 9.0)


def test_exponents_without_a_dot_are_numbers(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("scale: a\nloss: {rate: 2e-4}\n")
    assert Params.load(path).section("loss", Inner).rate == 2e-4


def test_quoted_exponents_are_refused(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("scale: a\nloss: {rate: '2e-4'}\n")
    with pytest.raises(ParamsError, match=r"loss\.rate = '2e-4'"):
        Params.load(path).section("loss", Inner)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scale", "papr", "scale = 'papr': choose one of tiny, demo"),
        ("scale", ["demo"], r"scale = \['demo'\]: choose one of tiny, demo"),
        ("scale", None, "scale = None: choose one of tiny, demo"),
        (7, {}, "7 = {}: unknown key; known here: scale, seed"),
        ("scales", 3, "scales = 3: a section is needed here; its keys: names"),
        ("scales", {"names": 3}, r"scales.names = \[3\]: names are needed, separated by spaces"),
        ("scales", {"names": ["../demo"]}, r"scales.names = \['../demo'\]: names are needed"),
        ("scales", {"names": "tiny demo", "like": {"x": "demo"}}, r"scales.like.x = 'demo': unknown key"),
        ("scales", {"names": "tiny demo", "like": {"tiny": "x"}}, r"scales.like.tiny = 'x': a scale of scales.names"),
        ("scales", {"names": "tiny demo", "like": {"tiny": "tiny"}}, r"scales.like.tiny = 'tiny': a scale of scale"),
        ("seed", -1, "seed = -1"),
        ("seed", "x", "seed = 'x'"),
        ("los", {}, "los = {}: unknown key"),
        ("scales", {"targets": 1}, "scales.targets = 1: unknown key"),
    ],
)
def test_the_top_level_is_checked(tree, key, value, message):
    with pytest.raises(ParamsError, match=message):
        Params({**copy.deepcopy(tree), key: value})


def test_the_way_out_of_a_wrong_folder_is_named(tmp_path: Path):
    with pytest.raises(ParamsError, match="root folder"):
        Params.load(tmp_path / "params.yaml")


LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale: [demo\n", r"params\.yaml, line 2 is not valid YAML: "),
        ("scale: demo\nscale: small\n", r"params\.yaml, line 2 is not valid YAML: .*duplicate key"),
        ("scale: 2026-02-30\n", r"params\.yaml is not valid YAML: day is out of range"),
        (f"seed: {'9' * 5000}\n", r"params\.yaml is not valid YAML: .*integer"),
        ("scale: !!python/object/apply:os.system [exit]\n", r"params\.yaml, line 1 is not valid YAML: "),
        ("seed: " + "[" * 5000, r"params\.yaml"),
        ("- scale\n", r"params\.yaml holds no sections"),
        ("", r"params\.yaml holds no sections"),
        ("scale: demo\nrows: &rows {a: *rows}\n", r"params\.yaml holds more than"),
        (LAUGHS, r"params\.yaml holds more than 100,000 values or 20 levels"),
        ("scale: \xff", r"params\.yaml is not valid YAML: unacceptable character"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, text, message):
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ParamsError, match=message) as caught:
        Params.load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path):
    with pytest.raises(ParamsError, match="cannot be read: "):
        Params.load(tmp_path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (3, "variants.x = 3: a section is needed here; its keys: title, defense, loss"),
        ({"attack": {}}, "variants.x.attack = {}: unknown key; known here: title, defense, loss, training, target"),
        ({"target": {"rate": 1}}, "variants.x.target.rate = 1: unknown key; known here: epochs, lr, schedule"),
        ({"title": 3}, "variants.x.title = 3: a text is needed"),
        ({"loss": {"beta": 1}}, "variants.x.loss.beta = 1: unknown key; known here: alpha_kl"),
    ],
)
def test_a_variant_changes_what_is_there(params: Params, section, message):
    params.tree["variants"]["x"] = section
    with pytest.raises(ParamsError, match=message):
        params.varied("variants.x", "cnn")


def test_a_variant_changes_the_training_of_its_model_at_this_scale(params: Params):
    target = {
        "epochs": {params.scale: 30},
        "lr": {"elsewhere": 0.5, params.scale: 0.25},
        "schedule": {"elsewhere": "x"},
    }
    params.names = [params.scale, "elsewhere"]
    params.tree["variants"]["x"] = {"training": {"weight_decay": 0.5}, "target": target}
    before = params.raw("scales.target.cnn")
    varied = params.varied("variants.x", "cnn")
    assert varied.raw("training.weight_decay") == 0.5
    assert varied.raw("scales.target.cnn") == before | {"epochs": 30, "lr": 0.25}
    assert params.raw("scales.target.cnn") == before == params.varied("variants.x").raw("scales.target.cnn")


def test_what_is_read_is_recorded(params: Params):
    with pytest.raises(ParamsError, match=r"loss\.rate: missing|unknown key"):
        params.section("loss", Inner)
    assert params.read == {"loss"}


def test_a_value_for_the_other_scales():
    tree = {"lr": {"a": 1, "else": 2}, "width": {"else": 3}, "raw": {"a": "x"}}
    assert at_scale(tree, ["a"], ["a", "b"]) == {"lr": 1, "width": 3, "raw": "x"}
    assert at_scale(tree, ["b"], ["a", "b"]) == {"lr": 2, "width": 3}


def test_a_scale_like_another_has_its_values_where_it_has_none_of_its_own(tree):
    strong = {"steps": {"demo": 2, "own": 3}, "lr": {"tiny": 1, "demo": 5, "else": 4}, "width": 7}
    scales = {"names": "tiny demo own", "like": {"own": "demo"}, "strong": strong, "prior": {"steps": {"tiny": 2}}}
    variant = {"title": "X", "loss": {"alpha_kl": {"tiny": 0.25, "demo": 0.5}}}
    own = Params({**tree, "scale": "own", "scales": scales, "variants": {"x": variant}})
    assert own.raw("scales.strong") == {"steps": 3, "lr": 5, "width": 7}
    assert own.raw("scales.prior") == {}
    assert own.scales("demo")["strong"] == {"steps": 2, "lr": 5, "width": 7}
    assert own.scales("own")["like"] == {"own": "demo"}
    assert own.varied("variants.x").raw("loss.alpha_kl") == 0.5
