"""What a sweep tries: a cell's settings, one changed at a time, at the values that ``sweeps`` in params.yaml lists."""

import logging
from dataclasses import dataclass

from splitprobe.core.cells import Cell, Paths
from splitprobe.core.params import Params, ParamsError, as_list, finite, shown
from splitprobe.core.recipe import Recipe

log = logging.getLogger("splitprobe")


@dataclass(frozen=True)
class Run:
    """One repetition of a cell with another value at a key: ``params`` has it, ``paths`` its seed."""

    key: str
    value: float
    params: Params
    paths: Paths


def runs(recipe: Recipe) -> list[Run]:
    """All that a sweep trains: each value of each setting for each seed. Raises as :func:`settings` does."""
    return [
        Run(key, value, changed.seeded(own.seed, "seed"), paths)
        for key, value, changed in settings(recipe.cell, recipe.params)
        for own, paths in recipe.repetitions()
    ]


def settings(cell: Cell, params: Params) -> list[tuple[str, float, Params]]:
    """Key, value and the params with it for each setting of a cell's sweep, but for the one that the cell itself has.

    ``params`` are those of the cell's recipe, so a key must be a setting of its defense. Raises ParamsError for an
    entry that is no mapping of keys to numbers, for a key that the cell has not or that is no number, and for a value
    that is there twice.
    """
    section, changed = f"sweeps.{cell.name.partition('/')[2]}", []
    params.read.add(section)
    knobs = params.raw(section)
    if not isinstance(knobs, dict):
        raise ParamsError(f"{section} = {shown(knobs)}: keys with values are needed; {{}} tries nothing")
    for key, values in knobs.items():
        where = f"{section}: {key}"
        if not str(key).startswith(("defense.", "loss.")) or (
            key.startswith(f"defense.{cell.architecture}.") and (cell.architecture != cell.defense)
        ):
            raise ParamsError(f"{where}: a setting of {cell.name}'s defense is needed, under defense or loss")
        now = params.raw(key)
        if type(now) not in (int, float):
            raise ParamsError(f"{where}: its value {shown(now)} is no number")
        for value in _checked(where, values):
            if value == now:
                log.info("%s: %s = %g is its own setting, so the sweep leaves it out", cell.name, key, value)
                continue
            # a whole number stays one: its type is checked
            changed.append(
                (key, value, params.changed(key, int(value) if type(now) is int and value % 1 == 0 else value))
            )
    return changed


def _checked(where: str, values: object) -> list[float]:
    """A knob's distinct numbers."""
    items = as_list(values, float)
    if not items or any(type(item) not in (int, float) for item in items):
        raise ParamsError(f"{where} = {shown(values)}: at least one number is needed; several with spaces between them")
    numbers = [finite(item, where) for item in items]
    for number in numbers:
        if numbers.count(number) > 1:
            raise ParamsError(f"{where} = {shown(values)}: {number:g} is listed twice")
    return numbers
