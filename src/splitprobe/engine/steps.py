"""What the parts of a build share: its steps, and the ways in which one can be lost."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "a file grew too large"}


@dataclass(frozen=True)
class Step:
    """One stage of the graph, as far as running it goes.

    ``outs`` are paths below ``folder``, which are removed before it runs; ``needs`` the names of the steps whose
    outputs it reads; ``gpu`` says that it uses the device, ``alone`` that nothing may run beside it.
    """

    name: str
    command: str
    folder: str
    outs: tuple[str, ...]
    needs: frozenset[str]
    gpu: bool
    alone: bool


class Busy(Exception):
    """Another process builds the same stages; the message names it."""


class Refused(Exception):
    """A step that cannot be run or recorded; the message says why."""


class DiskFull(Exception):
    """Nothing more can be written; the message says where."""


def check_disk(error: OSError, place: object) -> None:
    """Raise DiskFull when that is what an error says; ``place`` is named where the error has no file."""
    if error.errno in FULL:
        raise DiskFull(f"{FULL[error.errno]}: {error.filename or os.fspath(place)}") from error


def compare(before: dict[str, object], after: dict[str, object]) -> None:
    """Raise Refused naming the inputs of a step that are no longer what they were when it started."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if names:
        raise Refused(f"{', '.join(names)} changed while it ran: not recorded, run it again")
