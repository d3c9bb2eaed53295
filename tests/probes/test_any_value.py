"""Whatever stands in params.yaml: it is read right, or one line names the key.

SPLITPROBE_EXAMPLES sets how many values each test draws; a hundred times the usual number takes minutes.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import re
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from graph_tools import ROOT, read_yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitprobe.core.params import Params, ParamsError, typed
from splitprobe.core.recipe import Study
from splitprobe.core.registry import lookup
from splitprobe.datasets import sections
from splitprobe.defenses import DEFENSES
from splitprobe.defenses.siftfunnel import Architecture
from splitprobe.models import MODELS
from splitprobe.probes import preflight as module
from splitprobe.probes.preflight import SCALED, SECTIONS, preflight
from splitprobe.report import leaderboard, statistics
from splitprobe.targets.training import Plan, Width

EXAMPLES = int(os.environ.get("SPLITPROBE_EXAMPLES", "100"))
TREE, MORE = read_yaml(ROOT / "params.yaml"), {"leaderboard": leaderboard.Settings, "criterion": statistics.Settings}
PARAMS = Params(TREE)
CLASSES = {**SECTIONS, **MORE, **{f"scales.{name}": cls for name, cls in SCALED.items()}}
CLASSES |= {f"model.{name}": lookup(MODELS, name, "model").Settings for name in MODELS}
CLASSES |= {f"defense.{name}": lookup(DEFENSES, name, "defense").Settings for name in DEFENSES}
CLASSES |= {"defense.siftfunnel": Architecture, "scales.data.faces": sections.Source}
CLASSES |= {"scales.target.cnn": Plan, "scales.model.cnn": Width}
CLASSES |= {f"attack.{name}": getattr(module, name).Settings for name in ("generator", "mle", "query_free")}
TOGETHER = {  # keys that must fit one another, which the oracle below does not know
    "defense.siftfunnel.attention_after", "defense.siftfunnel.se_reduction", "attack.generator.decoders",
    "leaderboard.losses", "leaderboard.rank_at",
}  # fmt: skip


def usual(examples: int) -> Any:
    """The same values each time, unless more are asked for; nothing is kept on disk."""
    return settings(
        max_examples=examples, deadline=None, derandomize="SPLITPROBE_EXAMPLES" not in os.environ, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )  # fmt: skip


HUGE = st.sampled_from([10**30, -(10**400), 2**63, 1e308, math.inf, -math.inf, math.nan, -0.0])
HUGE |= st.just(5000).map(lambda digits: 16**digits)  # not printed
WORDS = st.text(st.characters(), max_size=8) | st.sampled_from(["strong", "cnn", "auto", "cosine", "1e-3", "objects"])
NUMBERS = st.integers() | st.integers(0, 300) | st.floats() | st.floats(0, 1) | HUGE
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS | st.dates() | st.datetimes() | st.binary(max_size=4)
KEYS = WORDS | st.integers() | st.none() | st.booleans() | st.dates() | st.tuples(st.integers(), WORDS)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
LISTS = st.lists(st.floats(0, 300) | WORDS, max_size=4).map(lambda items: " ".join(map(str, items)))
LISTS |= st.lists(NUMBERS, max_size=4) | st.lists(WORDS, max_size=4) | st.lists(st.floats(0, 1), min_size=1, max_size=3)


def leaves(cls: type, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Path, type and limits of every value of a dataclass and of those within it."""
    for item in dataclasses.fields(cls):
        hint, path = get_type_hints(cls)[item.name], (*above, item.name)
        if dataclasses.is_dataclass(hint):
            yield from leaves(hint, path)
        yield path, hint, item.metadata


LEAVES = [(section, *leaf) for section, cls in CLASSES.items() for leaf in leaves(cls)]


def fits(hint: Any, limits: Any, value: Any) -> bool:
    """Whether a value is one that a key may have, worked out in another way than by the code."""
    if get_origin(hint) in (Union, types.UnionType):
        return value is None or fits(next(part for part in get_args(hint) if part is not type(None)), limits, value)
    if dataclasses.is_dataclass(hint):
        return False  # only ever replaced by what is no such section
    if get_origin(hint) is tuple:
        value = spelled_out(hint, value)
        if not isinstance(value, list) or not limits["items"][0] <= len(value) <= limits["items"][1]:
            return False
        inside = all(fits(get_args(hint)[0], limits, item) for item in value)
        return inside and not (limits["distinct"] and len(set(value)) < len(value))
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if not isinstance(value, {float: (int, float)}.get(hint, hint)):
        return False
    if hint is str:
        return not limits or not limits["choices"] or value in limits["choices"]
    low, high = (limits or {}).get("low"), (limits or {}).get("high")
    choices = limits["choices"] if limits else ()
    if hint is float and not -(2.0**1023) < value < 2.0**1023:
        return False
    return (low is None or low <= value) and (high is None or value <= high) and (not choices or value in choices)


def spelled_out(hint: Any, value: Any) -> Any:
    """The list that a text with spaces, or a single value, stands for where a key holds a list."""
    if get_origin(hint) is not tuple and tuple not in map(get_origin, get_args(hint)):
        return value
    if not isinstance(value, str):
        return [value] if type(value) in (int, float) else value
    words = value.split()
    if "str" in str(hint):
        return words
    whole = re.compile(r"[+-]?\d+(_\d+)*").fullmatch
    numbers = []
    for word in words:
        try:
            numbers.append(int(word) if whole(word) else float(word))
        except ValueError:
            numbers.append(word)
    return numbers


def set_at(tree: dict, path: tuple, value: Any) -> dict:
    """A copy of a tree with another value at a path."""
    head, *rest = path
    return {**tree, head: set_at(tree[head], tuple(rest), value) if rest else value}


@usual(5 * EXAMPLES)
@given(st.sampled_from(LEAVES), ANYTHING | NUMBERS | WORDS | LISTS)
def test_a_value_is_taken_exactly_when_it_fits(leaf, value):
    section, path, hint, limits = leaf
    key, values = ".".join((section, *path)), set_at(PARAMS.raw(section), path, value)
    try:
        built = typed(CLASSES[section], values, section)
    except ParamsError as error:
        assert str(error).startswith(key) or key in TOGETHER
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 2000
        assert not fits(hint, limits, value) or key in TOGETHER
        return
    for name in path:
        built = getattr(built, name)
    assert fits(hint, limits, value)
    value = spelled_out(hint, value)
    assert built == (tuple(value) if isinstance(value, list) else value)


def nodes(tree: dict, above: tuple = ()) -> Iterator[tuple]:
    """The paths of all sections and values."""
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from nodes(value, (*above, key))


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(ROOT)


@usual(EXAMPLES // 4)
@given(st.sampled_from([*nodes(TREE)]), ANYTHING | LISTS, st.booleans())
def test_a_value_anywhere_in_the_file_is_read_or_named(study, path, value, added):
    """Put in the place of what is there, or added as a key of any name."""
    tree = copy.deepcopy(TREE)
    if added and isinstance(value, dict) and value:
        path, value = (*path[:-1], next(iter(value))), value
    tree = set_at(tree, path, value)
    other = copy.copy(study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_build_networks", lambda study: None)
        try:
            other.params = Params(tree)
            preflight(other, MORE)
        except ParamsError as error:
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 2000
            assert any(str(part) in str(error) or repr(part) in str(error) for part in path)


@usual(EXAMPLES // 2)
@given(st.text(st.characters(codec="utf-8")) | st.binary().map(lambda b: b.decode("latin-1")))
def test_a_file_of_any_text_is_read_or_named(tmp_path, text):
    file = tmp_path / "params.yaml"
    file.write_bytes(text.encode("latin-1", "replace"))
    with pytest.raises(ParamsError) as caught:  # no such file can have a scale
        Params.load(file)
    assert len(str(caught.value).splitlines()) == 1


def test_dates_and_other_values_of_yaml_are_no_settings(tmp_path):
    """The safe reader makes dates, sets and bytes of some texts."""
    file = tmp_path / "params.yaml"
    for text, kind in (("2026-01-02", "date"), ("!!set {a}", "set"), ("!!binary aGk=", "bytes"), ("0x1F", None)):
        file.write_text(f"scale: a\ncost: {{batch: {text}, warmup: 1, runs: 10}}\n")
        params = Params.load(file)
        if kind is None:
            assert params.section("cost", SECTIONS["cost"]).batch == 31
            continue
        with pytest.raises(ParamsError, match=rf"cost\.batch = .*: int is needed, this is {kind}"):
            params.section("cost", SECTIONS["cost"])
