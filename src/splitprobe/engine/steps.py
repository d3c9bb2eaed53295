"""What the parts of a build share: its steps, and the errors by which a step can be lost."""

from __future__ import annotations

import os
from dataclasses import dataclass

from splitprobe.core.artifacts import FULL, DiskFull


@dataclass(frozen=True)
class Step:
    """One stage of the graph, with what is needed to run it.

    ``outs`` are paths below ``folder``, which are removed before it runs. ``needs`` are the names of the steps whose
    outputs it reads. ``gpu`` says that it uses the device, ``alone`` that nothing may run beside it, ``first`` that it
    is quick and decides which others are due.
    """

    name: str
    command: str
    folder: str
    outs: tuple[str, ...]
    needs: frozenset[str]
    gpu: bool
    alone: bool
    first: bool = False


class Busy(Exception):
    """Another process builds the same stages; the message names it."""


class Refused(Exception):
    """A step that cannot be run or recorded; the message says why."""


def check_disk(error: OSError, place: object) -> None:
    """Raise DiskFull if that is what an OSError says; ``place`` is named where the error has no file."""
    if error.errno in FULL:
        raise DiskFull(f"{FULL[error.errno]}: {error.filename or os.fspath(place)}") from error


def compare(before: dict[str, object], after: dict[str, object]) -> None:
    """Raise Refused if inputs of a step have changed since it started; the message names them.

    ``before`` and ``after`` map names of inputs to digests or values.
    """
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if names:
        raise Refused(f"{', '.join(names)} changed while it ran: not recorded, run it again")
