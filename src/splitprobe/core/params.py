"""Typed reading of params.yaml: each section becomes a frozen dataclass, and nothing else is let through.

A section's dataclass stands beside the code that uses it (``training.Training``, ``defenses.siftfunnel.Settings``, ...)
and has no defaults, so that params.yaml is the only place with a number. Ranges are declared with :func:`bounded`.
"""

import contextlib
import copy
import math
import re
import reprlib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ruamel.yaml import YAML, YAMLError

T = TypeVar("T")
TOP_LEVEL = (
    "scale", "seed", "runtime", "scales", "data", "normalization", "model", "training",
    "loss", "defense", "variants", "ablation", "mine", "information", "calibration", "attack", "judge", "knowledge",
    "releases", "cost", "leaderboard", "criterion", "rows", "sweeps",
)  # fmt: skip
PER_SCALE = (
    "names", "like", "repeats", "left_out", "data", "model", "target", "judge", "second_judge", "mine", "generator",
    "strong", "prior", "mle", "query_free",
)  # fmt: skip
VARIED = ("defense", "loss", "training", "target")  # what a variant may change; data and networks stay equal for all
OTHERS = "else"  # in place of a scale's name
SCALE = re.compile(r"[\w-]+")  # a scale's name is one of a folder too
LEVELS, VALUES = 20, 100_000  # of a params file, at most: anchors could make it endless
SHOWN = reprlib.Repr()  # values in messages: one line, not too long
SHOWN.maxlevel, SHOWN.maxdict, SHOWN.maxlist, SHOWN.maxtuple, SHOWN.maxset = 4, 20, 20, 20, 20
SHOWN.maxstring, SHOWN.maxlong, SHOWN.maxother = 200, 60, 200


class ParamsError(ValueError):
    """A key of params.yaml that is unknown, missing, mistyped or out of range; the message names key and value."""


def bounded(
    low: float | None = None,
    high: float | None = None,
    choices: tuple = (),
    items: tuple[int, int] | None = None,
    distinct: bool = False,
) -> Any:
    """A dataclass field whose value (or each of its items) must lie in [low, high] or among ``choices``.

    A list has ``items[0]`` to ``items[1]`` items, and none of them twice where they are ``distinct``. A field that is a
    list must say how many.
    """
    return field(metadata={"low": low, "high": high, "choices": choices, "items": items, "distinct": distinct})


def shown(value: Any) -> str:
    """A value of any type, for a message: on one line, and shortened."""
    try:
        return SHOWN.repr(value)
    except ValueError:  # Python does not print whole numbers of more than 4,300 digits
        return f"a {type(value).__name__} too long to print"


def typed(cls: type[T], values: Any, key: str) -> T:
    """Build the dataclass ``cls`` from a mapping; ``key`` is the mapping's dotted name, for messages.

    A key that may be null need not be there. Raises ParamsError for one that is unknown, missing, of the wrong type or
    out of its range.
    """
    return cls(**_read(cls, values, key, whole=True))


def check(cls: type, values: Any, key: str) -> None:
    """Raise ParamsError for a mapping that has something wrong, as :func:`typed` does; keys may be missing."""
    _read(cls, values, key, whole=False)


def refuse_unknown(section: Any, known: Iterable[str], key: str) -> None:
    """Raise ParamsError for a section that is no mapping, or that has a key which is not among the known ones.

    ``key`` is its dotted name, "" for the whole file.
    """
    known = list(known)
    names = ", ".join(map(str, known)) or "none"
    if not isinstance(section, Mapping):
        raise ParamsError(f"{key} = {shown(section)}: a section is needed here; its keys: {names}")
    for name, value in section.items():
        if name not in known:
            raise ParamsError(f"{_below(key, name)} = {shown(value)}: unknown key; known here: {names}")


def _below(key: str, name: Any) -> str:
    """The dotted name of a key, which may be anything that YAML takes for one."""
    plain = isinstance(name, str) and name.isprintable() and 0 < len(name) <= SHOWN.maxstring
    return (f"{key}." if key else "") + (name if plain else shown(name))


_hints = cache(get_type_hints)  # of a dataclass; they are texts, and compiled each time


def _read(cls: type, values: Any, key: str, whole: bool) -> dict[str, Any]:
    """The checked values of the dataclass ``cls`` by name: all of them where the section must be ``whole``."""
    assert all(f.default is MISSING and f.default_factory is MISSING for f in fields(cls)), f"{cls} has a default"
    names = [f.name for f in fields(cls)]
    refuse_unknown(values, names, key)
    hints, read = _hints(cls), {}
    for item in fields(cls):
        own = f"{key}.{item.name}"
        if item.name in values:
            read[item.name] = _converted(hints[item.name], values[item.name], own, whole)
            _check_range(read[item.name], item.metadata, own)
        elif type(None) in get_args(hints[item.name]):
            read[item.name] = None
        elif whole:
            raise ParamsError(f"{own}: missing; {key} needs {', '.join(names)}")
    return read


def _converted(hint: Any, value: Any, key: str, whole: bool) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = [a for a in get_args(hint) if a is not type(None)]
        return _converted(hint, value, key, whole)
    if is_dataclass(hint):
        read = _read(hint, value, key, whole)
        return hint(**read) if whole else read
    if origin is tuple and isinstance(value, list | str | int | float):
        kind = get_args(hint)[0]
        return tuple(_converted(kind, v, f"{key}[{i}]", whole) for i, v in enumerate(as_list(value, kind)))
    if hint is float and type(value) in (int, float):
        return finite(value, key)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    wanted = (
        "a list, or a text with spaces between its items," if origin is tuple else getattr(hint, "__name__", str(hint))
    )
    # a value for each scale is no longer a mapping here, unless one of its keys is no scale
    by_scale = "; a value for each scale has names of scales.names alone as keys" if isinstance(value, Mapping) else ""
    raise ParamsError(f"{key} = {shown(value)}: {wanted} is needed, this is {type(value).__name__}{by_scale}")


def as_list(value: Any, kind: type = str) -> list[Any]:
    """The items of a list, which params.yaml may hold as one text with spaces between them; a single value is one item.

    ``kind``: of the items; where it is a number, words that stand for numbers become them, whole ones where they can.
    """
    if not isinstance(value, str):
        return value if isinstance(value, list) else [value]
    return value.split() if kind is str else [_number(word) for word in value.split()]


def _number(word: str) -> int | float | str:
    """The number that a word stands for, or the word where it stands for none."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(word)
    return word


def finite(value: float, key: str) -> float:
    """A number as a float; raises ParamsError, naming the key, for NaN and for what is too large."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ParamsError(f"{key} = {shown(value)}: a finite number is needed")
    return number


def _check_range(value: Any, limits: Mapping, key: str) -> None:
    if not isinstance(value, tuple):
        _check_item(value, limits, key)
        return
    least, most = limits["items"]
    if not least <= len(value) <= most:
        count = f"{least}" if least == most else f"at least {least}" if len(value) < least else f"at most {most}"
        raise ParamsError(f"{key} = {shown(list(value))}: {count} items are needed, these are {len(value)}")
    for i, item in enumerate(value):
        _check_item(item, limits, f"{key}[{i}]")
        if limits["distinct"] and item in value[:i]:
            raise ParamsError(f"{key} = {shown(list(value))}: {shown(item)} is listed twice")


def _check_item(item: Any, limits: Mapping, key: str) -> None:
    if item is None or not limits:
        return
    if limits["choices"] and item not in limits["choices"]:
        raise ParamsError(f"{key} = {shown(item)}: choose one of {', '.join(map(repr, limits['choices']))}")
    if limits["low"] is not None and item < limits["low"]:
        raise ParamsError(f"{key} = {shown(item)}: must be at least {limits['low']}")
    if limits["high"] is not None and item > limits["high"]:
        raise ParamsError(f"{key} = {shown(item)}: must be at most {limits['high']}")


def _whole(seed: Any, key: str) -> int:
    if type(seed) is not int or seed < 0:
        raise ParamsError(f"{key} = {shown(seed)}: a whole number of at least 0 is needed")
    return seed


def _merged(tree: Mapping, changes: Mapping, key: str) -> dict:
    """The tree with the values of ``changes`` in it, which must stand there already."""
    refuse_unknown(changes, tree, key)
    merged = dict(tree)
    for name, value in changes.items():
        inside = isinstance(value, Mapping) and isinstance(tree[name], Mapping)
        merged[name] = _merged(tree[name], value, _below(key, name)) if inside else value
    return merged


def at_scale(value: Any, scale: Sequence[str], names: Sequence[str]) -> Any:
    """A part of ``scales`` as one scale has it: where a mapping has a value for each scale, that of the scale alone.

    ``scale`` is its name, followed by the name of the scale whose values it has where it has none of its own. The value
    under OTHERS is that of scales which a mapping does not name. A key without a value for this scale is left out.
    """
    if not isinstance(value, Mapping):
        return value
    if value and all(key in (*names, OTHERS) for key in value):
        return next((value[name] for name in (*scale, OTHERS) if name in value), MISSING)
    chosen = {key: at_scale(item, scale, names) for key, item in value.items()}
    return {key: item for key, item in chosen.items() if item is not MISSING}


def read_yaml(path: Path | str | IO[str]) -> dict[Any, Any]:
    """The sections of a YAML file, by its path or open, as DVC reads it.

    Raises ParamsError when it is absent, cannot be read, is not YAML, or holds no sections or endless ones.
    """
    try:
        tree = YAML(typ="safe").load(Path(path) if isinstance(path, str) else path)
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing: run the command in the repository's root folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read: {error}") from error
    except (YAMLError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        line = f", line {mark.line + 1}" if mark else ""
        raise ParamsError(f"{path}{line} is not valid YAML: {' '.join(str(problem).split())}") from error
    if not isinstance(tree, Mapping):
        raise ParamsError(f"{path} holds no sections; `git restore {path}` brings them back")
    _refuse_endless(tree, path)
    return tree


def _refuse_endless(tree: Mapping, path: object) -> None:
    """Raise ParamsError for a tree that contains itself, or that anchors multiply beyond all use."""
    nodes, count = [tree], 0
    for _ in range(LEVELS):
        nodes = [
            child for node in nodes if isinstance(node, Mapping | list)
            for child in (node.values() if isinstance(node, Mapping) else node)
        ]  # fmt: skip
        count += len(nodes)
        if not nodes:
            return
        if count > VALUES:
            break
    raise ParamsError(f"{path} holds more than {VALUES:,} values or {LEVELS} levels: an anchor repeats what is in it")


class Params:
    """The tree of params.yaml as the chosen scale has it, or the part of it that a recipe holds.

    ``read`` lists the dotted keys handed out, which a test compares with the recipes; ``names`` are the scales that
    there are.
    """

    def __init__(self, tree: Mapping) -> None:
        refuse_unknown(tree, TOP_LEVEL, "")
        self.tree, self.read = dict(tree), set()
        self.scale: str = self.raw("scale")
        self._scales = tree.get("scales", {})
        refuse_unknown(self._scales, PER_SCALE, "scales")
        self.names: list[str] = as_list(self._scales.get("names", self.scale))
        if not all(isinstance(n, str) and SCALE.fullmatch(n) for n in self.names):
            raise ParamsError(f"scales.names = {shown(self.names)}: names are needed, separated by spaces")
        if self.scale not in self.names:
            raise ParamsError(f"scale = {shown(self.scale)}: choose one of {', '.join(self.names)}")
        self.like: Mapping[str, str] = self._scales.get("like", {})
        refuse_unknown(self.like, self.names, "scales.like")
        for name, other in self.like.items():
            if other not in self.names or other in self.like:
                why = "a scale of scales.names is needed, which is like no other"
                raise ParamsError(f"scales.like.{name} = {shown(other)}: {why}")
        if "scales" in tree:
            self.tree["scales"] = self.scales(self.scale)
        self.seed: int = _whole(tree.get("seed", 0), "seed")

    def scales(self, scale: str) -> Mapping:
        """The section ``scales`` as one of the scales has it."""
        kept = {key: self._scales[key] for key in ("names", "like") if key in self._scales}
        return {**self.at(self._scales, scale), **kept}

    def at(self, value: Any, scale: str) -> Any:
        """A section whose values may differ by scale, as one of the scales has it."""
        line = (scale, self.like[scale]) if scale in self.like else (scale,)
        return at_scale(value, line, self.names)

    @classmethod
    def load(cls, path: Path | str | IO[str] = "params.yaml", scale: str | None = None) -> "Params":
        """Read a params file, by its path or open, at its own or another scale.

        Raises ParamsError as :func:`read_yaml` does, and for what stands at its top.
        """
        tree = read_yaml(path)
        return cls(tree if scale is None else {**tree, "scale": scale})

    def section(self, key: str, cls: type[T]) -> T:
        """The section at a dotted key, typed; raises ParamsError as :func:`typed` does."""
        self.read.add(key)
        return typed(cls, self.raw(key), key)

    def scaled(self, name: str, cls: type[T]) -> T:
        """The section ``scales.<name>`` as the chosen scale has it, typed."""
        return self.section(f"scales.{name}", cls)

    def varied(self, key: str, model: str = "") -> "Params":
        """The same params with the settings that a section of ``variants`` or ``ablation`` changes.

        Its values may differ by scale. What it changes under ``target`` belongs to ``scales.target.<model>``, and is
        left alone without a model. Raises ParamsError for a section that is absent or changes what it may not.
        """
        self.read.add(key)
        changes = self.at(self._variant(key), self.scale)
        changes.pop("title", None)
        target = changes.pop("target", {})
        other = copy.copy(self)
        other.tree = _merged(self.tree, changes, key)
        if model and target:
            refuse_unknown(target, self.raw(f"scales.target.{model}"), f"{key}.target")
            other.tree = _merged(other.tree, {"scales": {"target": {model: target}}}, key)
        return other

    def title(self, key: str) -> str:
        """The title of a section of ``variants`` or ``ablation``, "" where it has none; raises as :meth:`varied`."""
        return self._variant(key).get("title", "")

    def _variant(self, key: str) -> dict[str, Any]:
        section = self.raw(key)
        refuse_unknown(section, ("title", *VARIED), key)
        if not isinstance(section.get("title", ""), str):
            raise ParamsError(f"{key}.title = {shown(section['title'])}: a text is needed")
        return dict(section)

    def changed(self, key: str, value: Any) -> "Params":
        """The same params with another value at a dotted key; raises ParamsError when params.yaml has none there."""
        self.raw(key)
        changes = value
        for part in reversed(key.split(".")):
            changes = {part: changes}
        other = copy.copy(self)
        other.tree = _merged(self.tree, changes, key)
        return other

    def raw(self, key: str) -> Any:
        """The untyped value at a dotted key; raises ParamsError when there is none."""
        node = self.tree
        for i, part in enumerate(key.split(".")):
            if not isinstance(node, Mapping) or part not in node:
                known = ", ".join(map(str, node)) if isinstance(node, Mapping) else "nothing"
                here = ".".join(key.split(".")[:i]) or "the top level"
                raise ParamsError(f"{key}: missing from params.yaml; {here} holds {known}")
            node = node[part]
        return node

    def seeded(self, seed: Any, key: str) -> "Params":
        """The same params under another seed; ``key`` is where it stands, for the message of the ParamsError."""
        other = copy.copy(self)
        other.seed = _whole(seed, key)
        return other
