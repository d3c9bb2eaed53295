"""Reading and writing artifacts: atomic, strict JSON, plain tensors only, and provenance in each result."""

import contextlib
import csv
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file that appears under its name only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    with tempfile.NamedTemporaryFile(mode, dir=path.parent, prefix=f".{path.name}.", delete=False, **text) as stream:
        try:
            yield stream
        except BaseException:
            stream.close()
            os.unlink(stream.name)
            raise
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)


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


def read_json(path: Path) -> Any:
    """Read JSON; raises FileNotFoundError or ValueError naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); `dvc repro` writes it anew once it is deleted"
        ) from error


def write_csv(path: Path, rows: Sequence[Mapping], columns: Sequence[str]) -> None:
    """Write rows under the given columns; absent, null and non-finite values are empty fields."""
    with atomic(path) as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({c: "" if strict(row.get(c)) is None else strict(row[c]) for c in columns})


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as text."""
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays, uncompressed (images hardly shrink, and reading is six times faster)."""
    with atomic(path, "wb") as stream:
        np.savez(stream, **arrays)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file; raises ValueError naming a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {k: file[k] for k in file.files}
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run `dvc repro` again") from error


def write_checkpoint(path: Path, state: Mapping) -> None:
    """Write tensors and plain types with torch's format."""
    import torch  # here, because the stages that only build tables never need it

    with atomic(path, "wb") as stream:
        torch.save(dict(state), stream)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, refusing anything but tensors and plain types."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch's own message recommends switching the safety off: it is not repeated
        raise ValueError(f"{path} is damaged or holds more than tensors; delete it and run `dvc repro`") from error


def provenance(scale: str, seed: int, device: str, cell: str | None = None) -> dict[str, Any]:
    """What every result carries: where it belongs, its seed, the device and the versions behind it."""
    packages = ("torch", "numpy", "scikit-image", "splitprobe")
    return {
        "cell": cell,
        "scale": scale,
        "seed": seed,
        "device": device,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }
