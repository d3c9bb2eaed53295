"""What a sweep tries: a cell's settings, one changed at a time, at the values that ``sweeps`` in params.yaml lists."""

import logging
from dataclasses import dataclass
from typing import Any

from splitprobe.cells import Cell, Paths, repetitions
from splitprobe.params import Params, ParamsError, typed

log = logging.getLogger("splitprobe")


@dataclass(frozen=True)
class Knob:
    """An item of ``sweeps.<row>``: the dotted key of a number in params.yaml, and its other values."""

    key: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Run:
    """One repetition of a cell with another value at a key: ``params`` has it, ``paths`` its seed."""

    key: str
    value: float
    params: Params
    paths: Paths


def runs(cell: Cell, params: Params, paths: Paths) -> list[Run]:
    """All that the sweep of a cell trains: each of its settings for each seed of ``scales.<scale>.seeds.sweeps``.

    Raises ParamsError for a seed that the cell's group has not, and as :func:`settings` does.
    """
    group = f"scales.{params.scale}.seeds"
    known = [own.seed for own, _ in repetitions(cell.group, params, paths)]
    seeds = [own.seed for own, _ in repetitions("sweeps", params, paths)]
    for seed in seeds:
        if seed not in known:
            raise ParamsError(
                f"{group}.sweeps = {seeds}: accuracy is compared with the unprotected network of the same seed, "
                f"and {group}.{cell.group} = {known} has no {seed}"
            )
    return [
        Run(key, value, changed.seeded(seed, f"{group}.sweeps"), paths.seeded(seed))
        for key, value, changed in settings(cell, params)
        for seed in seeds
    ]


def settings(cell: Cell, params: Params) -> list[tuple[str, float, Params]]:
    """Key, value and the params with it for each setting of a cell's sweep, but for the one that the cell itself has.

    Raises ParamsError for an entry that is no list of knobs, a knob without a value or with one twice, and for a key
    that params.yaml lacks, that is no number, or that changes no setting of the cell.
    """
    row, own, found = cell.name.partition("/")[2], settled(cell, params), []
    for i, knob in enumerate(_knobs(f"sweeps.{row}", params)):
        where, now = f"sweeps.{row}[{i}].key = {knob.key!r}", params.raw(knob.key)
        if type(now) not in (int, float):
            raise ParamsError(f"{where}: its value {now!r} is no number")
        for value in knob.values:
            if value == now:
                log.info("%s: %s = %g is its own setting, so the sweep leaves it out", cell.name, knob.key, value)
                continue
            # a whole number stays one: its type is checked
            changed = params.changed(knob.key, int(value) if type(now) is int and value.is_integer() else value)
            if settled(cell, changed) == own:
                parts = dict.fromkeys((f"defense.{cell.defense}", cell.tune, f"variants.{cell.variant}"))
                raise ParamsError(f"{where}: changes no setting of {cell.name}, which come from {', '.join(parts)}")
            found.append((knob.key, value, changed))
    return found


def settled(cell: Cell, params: Params) -> list[Any]:
    """The values that a cell's defense is built from, as its variant and its ablation leave them."""
    varied = params.varied(f"variants.{cell.variant}").varied(f"ablation.{cell.ablation}")
    return [varied.raw(f"defense.{cell.defense}"), varied.raw(cell.tune)]


def _knobs(key: str, params: Params) -> list[Knob]:
    """The list at a key, typed."""
    params.read.add(key)
    listed = params.raw(key)
    if not isinstance(listed, list):
        raise ParamsError(f"{key} = {listed!r}: a list of keys with their values is needed; [] tries nothing")
    knobs = [typed(Knob, item, f"{key}[{i}]") for i, item in enumerate(listed)]
    known = set()
    for i, knob in enumerate(knobs):
        if not knob.values:
            raise ParamsError(f"{key}[{i}].values = []: at least one value of {knob.key} is needed")
        for value in knob.values:
            if (knob.key, value) in known:
                raise ParamsError(f"{key}[{i}].values: {value:g} is listed twice for {knob.key}")
            known.add((knob.key, value))
    return knobs
