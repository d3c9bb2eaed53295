"""Reading and writing artifacts: atomic, strict JSON, plain tensors only, and provenance in each result.

Every reader raises FileNotFoundError for a file that is absent, and DamagedFile for one that is not what a stage wrote.
"""

import contextlib
import csv
import errno
import io
import json
import logging
import math
import os
import platform
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from splitprobe.core.cells import is_committed, writer

log = logging.getLogger("splitprobe")
# errors after which nothing more can be written
FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "a file grew too large"}
LONGEST = 300  # characters of a reason: those of libraries may have many lines


class DiskFull(OSError):
    """Nothing more can be written; the message says where."""


class DamagedFile(ValueError):
    """A file that is not what a stage wrote; the message names it, says why, and how to make it again."""


def damaged(path: Path, why: str) -> DamagedFile:
    """The error of a damaged file."""
    return DamagedFile(f"{path} cannot be used: {textwrap.shorten(why, LONGEST)}; {remedy(path)}")


def remedy(path: Path) -> str:
    """How to get a file again, from git or by the stage that writes it."""
    stage = writer(path)
    if not stage:
        return "it has to be made anew"
    if is_committed(path):
        return f"`git restore {path}` brings it back, or `dvc repro {stage}` makes it anew"
    return f"delete it and run `dvc repro {stage}`"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within the block, whatever a file is refused for becomes a DamagedFile that names it.

    What the system says of the file itself, such as that it is absent, passes.
    """
    try:
        yield
    except DamagedFile:
        raise
    except Exception as error:  # what is read from a damaged file makes libraries raise nearly anything
        if isinstance(error, OSError) and error.filename:
            raise
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise damaged(path, why or type(error).__name__) from error


class Record(dict):
    """What a file holds, by name; a name that it lacks raises a DamagedFile."""

    def __init__(self, path: Path, content: Mapping) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, name: object) -> NoReturn:
        raise damaged(self.path, f"it has no {name!r}")


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file that appears under its name only when the block ends well, and leaves nothing otherwise.

    Raises DiskFull when there is no room for it.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        how = {"dir": path.parent, "prefix": f".{path.name}.", "delete": False, **text}
        with tempfile.NamedTemporaryFile(mode, **how) as stream:  # closing writes what is left, and so may fail as well
            temporary = stream.name
            yield stream
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        if full := no_room(error):
            raise DiskFull(f"{full}: there is no space for {path}; make room and run the same command again") from error
        raise


def no_room(error: BaseException | None) -> str:
    """What is full, if that is behind an error; an empty text otherwise."""
    while error is not None:  # a library may meet the full disk again while it closes its file, and raise that
        if isinstance(error, OSError) and error.errno in FULL:
            return FULL[error.errno]
        error = error.__context__
    return ""


def strict(value: Any) -> Any:
    """The value with plain Python types; a number that is not finite becomes null with ``<key>_reason`` beside it."""
    if isinstance(value, Mapping):
        out = {}
        for key, item in value.items():
            out[key] = strict(item)
            if isinstance(item, float | np.floating) and not math.isfinite(item):
                out[f"{key}_reason"] = f"not finite ({float(item)})"
        return out
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    return value


def write_json(path: Path, value: Mapping) -> None:
    """Write strict JSON (no NaN or Infinity tokens)."""
    text = json.dumps(strict(value), indent=2, allow_nan=False) + "\n"
    with atomic(path) as stream:
        stream.write(text)


def read_json(path: Path) -> Record:
    """The object in a JSON file; it and those in it are Records. Numbers must be finite."""
    with reading(path):
        content = json.loads(
            path.read_text(encoding="utf-8"),
            object_hook=lambda entries: Record(path, entries),
            parse_constant=_finite,
            parse_float=_finite,
        )
        if not isinstance(content, Record):
            raise ValueError(f"it holds a {type(content).__name__}, not an object with names")
    return content


def _finite(text: str) -> float:
    """The number that a text stands for; raises ValueError for one that is not finite."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text}, which is no number")
    return number


def write_csv(path: Path, rows: Sequence[Mapping], columns: Sequence[str]) -> None:
    """Write rows under the given columns; absent, null and non-finite values are empty fields."""
    with atomic(path) as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({c: "" if strict(row.get(c)) is None else strict(row[c]) for c in columns})


def read_csv(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a CSV file as text; where ``columns`` are given, its header must be these."""
    with reading(path), open(path, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        rows = list(reader)
        if reader.fieldnames is None:
            raise ValueError("it is empty")
        if columns and [*reader.fieldnames] != [*columns]:
            raise ValueError(f"its columns are {', '.join(reader.fieldnames)}, not {', '.join(columns)}")
        for i, row in enumerate(rows, 1):
            if None in row or None in row.values():
                raise ValueError(f"row {i} has more or fewer fields than the header")
    return rows


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays, uncompressed (images hardly shrink, and reading is six times faster)."""
    with atomic(path, "wb") as stream:
        np.savez(stream, **arrays)


def read_npz(path: Path) -> Record:
    """All arrays of a file; those of objects, which could run code, are refused."""
    with reading(path), open(path, "rb") as stream:
        try:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError
            with file:
                return Record(path, {name: file[name] for name in file.files})
        except ValueError as error:  # numpy's own message tells how to switch the safety off: it is not repeated
            raise ValueError("it is no archive of arrays, or holds more than numbers") from error


def checked(arrays: Record, name: str, kind: type, *shape: int | None) -> np.ndarray:
    """An array out of :func:`read_npz`, of a kind of numpy's such as ``np.integer``; a length of None may be any."""
    array = arrays[name]
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if not (fits and np.issubdtype(array.dtype, kind)):
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        found = " x ".join(map(str, array.shape)) or "a single value"
        raise damaged(arrays.path, f"{name!r} is {array.dtype}, {found}; {kind.__name__}, {wanted} is needed")
    return array


def write_checkpoint(path: Path, state: Mapping) -> None:
    """Write tensors and plain types with torch's format."""
    import torch  # here, because the stages that only build tables never need it

    content = io.BytesIO()  # torch gives no reason where it cannot write
    torch.save(dict(state), content)
    with atomic(path, "wb") as stream:
        stream.write(content.getbuffer())


def read_checkpoint(path: Path) -> Record:
    """Read a checkpoint onto the CPU, refusing anything but tensors and plain types, which cannot run code.

    Weights that are not finite are those of a network that diverged: the log says so.
    """
    import torch

    with reading(path):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # torch's own message recommends switching the safety off: it is not repeated
            raise ValueError("it is no checkpoint, or holds more than tensors") from error
        if not isinstance(state, Mapping):
            raise ValueError(f"it holds a {type(state).__name__}, not entries with names")
    if not _all_finite(state):
        log.warning("%s holds weights that are not finite; unless that network diverged, %s", path, remedy(path))
    return Record(path, state)


def _all_finite(value: Any) -> bool:
    """Whether all numbers in the tensors of a checkpoint are finite."""
    import torch

    if isinstance(value, Mapping):
        return all(map(_all_finite, value.values()))
    return not isinstance(value, torch.Tensor) or bool(torch.isfinite(value).all())


def provenance(scale: str, seed: int, device: str, cell: str | None = None) -> dict[str, Any]:
    """What every result carries: where it belongs, its seed, the device and the versions behind it."""
    packages = ("torch", "numpy", "scikit-image", "splitprobe")
    return {
        "cell": cell,
        "scale": scale,
        "seed": seed,
        "device": device,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a stage runs the sources beside it, which nobody need have installed
        return "not installed"
