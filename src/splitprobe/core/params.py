"""Typed reading of params.yaml: each section becomes a frozen dataclass, and nothing else is let through.

A section's dataclass stands beside the code that uses it (``training.Training``, ``defenses.siftfunnel.Settings``, ...)
and has no defaults, so that params.yaml is the only place with a number. Ranges are declared with :func:`bounded`.
"""

import copy
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ruamel.yaml import YAML, YAMLError

T = TypeVar("T")
TOP_LEVEL = (
    "scale", "seed", "runtime", "scales", "data", "normalization", "model", "training",
    "loss", "defense", "variants", "ablation", "mine", "information", "calibration", "attack", "judge", "knowledge",
    "cost", "leaderboard", "criterion", "rows", "sweeps",
)  # fmt: skip
PER_SCALE = ("names", "repeats", "data", "model", "target", "judge", "mine", "generator", "strong", "mle")
VARIED = ("defense", "loss")  # what a variant may change; schedules and data stay equal for all


class ParamsError(ValueError):
    """A key of params.yaml that is unknown, missing, mistyped or out of range; the message names key and value."""


def bounded(low: float | None = None, high: float | None = None, choices: tuple = ()) -> Any:
    """A dataclass field whose value (or each of its items) must lie in [low, high] or among ``choices``."""
    return field(metadata={"low": low, "high": high, "choices": choices})


def typed(cls: type[T], values: Any, key: str) -> T:
    """Build the dataclass ``cls`` from a mapping; ``key`` is the mapping's dotted name, for messages.

    A key that may be null need not be there. Raises ParamsError for one that is unknown, missing, of the wrong type or
    out of its range.
    """
    if not isinstance(values, Mapping):
        raise ParamsError(f"{key} = {values!r}: a section with the keys {_names(cls)} is needed here")
    for name, value in values.items():
        if name not in _names(cls):
            raise ParamsError(f"{key}.{name} = {value!r}: unknown key; known here: {', '.join(_names(cls))}")
    hints, built = get_type_hints(cls), {}
    for item in fields(cls):
        if item.name not in values and type(None) in get_args(hints[item.name]):
            built[item.name] = None
            continue
        if item.name not in values:
            raise ParamsError(f"{key}.{item.name}: missing; {key} needs {', '.join(_names(cls))}")
        built[item.name] = _converted(hints[item.name], values[item.name], f"{key}.{item.name}")
        _check_range(built[item.name], item.metadata, f"{key}.{item.name}")
    return cls(**built)


def _names(cls: type) -> list[str]:
    assert all(f.default is MISSING and f.default_factory is MISSING for f in fields(cls)), f"{cls} has a default"
    return [f.name for f in fields(cls)]


def _converted(hint: Any, value: Any, key: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = [a for a in get_args(hint) if a is not type(None)]
        return _converted(hint, value, key)
    if is_dataclass(hint):
        return typed(hint, value, key)
    if origin is tuple and isinstance(value, list):
        return tuple(_converted(get_args(hint)[0], v, f"{key}[{i}]") for i, v in enumerate(value))
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    wanted = "a list" if origin is tuple else getattr(hint, "__name__", str(hint))
    raise ParamsError(f"{key} = {value!r}: {wanted} is needed, this is {type(value).__name__}")


def _check_range(value: Any, limits: Mapping, key: str) -> None:
    for item in value if isinstance(value, tuple) else (value,):
        if item is None or not limits:
            continue
        if limits["choices"] and item not in limits["choices"]:
            raise ParamsError(f"{key} = {item!r}: choose one of {', '.join(map(repr, limits['choices']))}")
        # written as "not >=", so that NaN fails too
        if limits["low"] is not None and not item >= limits["low"]:
            raise ParamsError(f"{key} = {item!r}: must be at least {limits['low']}")
        if limits["high"] is not None and not item <= limits["high"]:
            raise ParamsError(f"{key} = {item!r}: must be at most {limits['high']}")


def _whole(seed: Any, key: str) -> int:
    if type(seed) is not int or seed < 0:
        raise ParamsError(f"{key} = {seed!r}: a whole number of at least 0 is needed")
    return seed


def _merged(tree: Mapping, changes: Mapping, key: str) -> dict:
    """The tree with the values of ``changes`` in it, which must stand there already."""
    merged = dict(tree)
    for name, value in changes.items():
        if name not in tree:
            raise ParamsError(f"{key}.{name} = {value!r}: unknown key; known here: {', '.join(tree)}")
        inside = isinstance(value, Mapping) and isinstance(tree[name], Mapping)
        merged[name] = _merged(tree[name], value, f"{key}.{name}") if inside else value
    return merged


def at_scale(value: Any, scale: str, names: Sequence[str]) -> Any:
    """A part of ``scales`` as one scale has it: where a mapping has a value for each scale, that of the scale alone.

    A key without a value for this scale is left out.
    """
    if not isinstance(value, Mapping):
        return value
    if value and all(key in names for key in value):
        return value.get(scale, MISSING)
    chosen = {key: at_scale(item, scale, names) for key, item in value.items()}
    return {key: item for key, item in chosen.items() if item is not MISSING}


class Params:
    """The tree of params.yaml as the chosen scale has it, or the part of it that a recipe holds.

    ``read`` lists the dotted keys handed out, which a test compares with the recipes.
    """

    def __init__(self, tree: Mapping) -> None:
        self.tree, self.read = dict(tree), set()
        for name, value in tree.items():
            if name not in TOP_LEVEL:
                raise ParamsError(f"{name} = {value!r}: unknown key; known here: {', '.join(TOP_LEVEL)}")
        self.scale: str = self.raw("scale")
        if "scales" in tree:
            self.tree["scales"] = self._scaled(tree["scales"])
        self.seed: int = _whole(tree.get("seed", 0), "seed")

    def _scaled(self, scales: Mapping) -> Mapping:
        """The section ``scales`` at the chosen scale."""
        for part, value in scales.items():
            if part not in PER_SCALE:
                raise ParamsError(f"scales.{part} = {value!r}: unknown key; known here: {', '.join(PER_SCALE)}")
        names = scales.get("names", [self.scale])
        if self.scale not in names:
            raise ParamsError(f"scale = {self.scale!r}: choose one of {', '.join(names)}")
        return at_scale(scales, self.scale, names)

    @classmethod
    def load(cls, path: Path | str | IO[str] = "params.yaml", scale: str | None = None) -> "Params":
        """Read a params file, by its path or open, at its own or another scale.

        Raises ParamsError when it is absent or not YAML.
        """
        try:
            tree = YAML(typ="safe").load(Path(path) if isinstance(path, str) else path)  # as DVC reads it
        except FileNotFoundError:
            raise ParamsError(f"{path} is missing: run the command in the repository's root folder") from None
        except UnicodeDecodeError as error:
            raise ParamsError(f"{path} cannot be read: {error}") from error
        except YAMLError as error:
            raise ParamsError(f"{path} is not valid YAML: {error}") from error
        if not isinstance(tree, Mapping):
            raise ParamsError(f"{path} holds no sections; `git restore {path}` brings them back")
        return cls(tree if scale is None else {**tree, "scale": scale})

    def section(self, key: str, cls: type[T]) -> T:
        """The section at a dotted key, typed; raises ParamsError as :func:`typed` does."""
        self.read.add(key)
        return typed(cls, self.raw(key), key)

    def scaled(self, name: str, cls: type[T]) -> T:
        """The section ``scales.<name>`` as the chosen scale has it, typed."""
        return self.section(f"scales.{name}", cls)

    def varied(self, key: str) -> "Params":
        """The same params with the settings that a section of ``variants`` or ``ablation`` changes.

        Raises ParamsError for a section that is absent or changes what it may not.
        """
        self.read.add(key)
        changes = {k: v for k, v in self.raw(key).items() if k != "title"}
        for part, value in changes.items():
            if part not in VARIED:
                raise ParamsError(f"{key}.{part} = {value!r}: a variant has a title and may change {', '.join(VARIED)}")
        other = copy.copy(self)
        other.tree = _merged(self.tree, changes, key)
        return other

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
