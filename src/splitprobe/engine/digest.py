"""The digests by which DVC knows files and folders, computed without DVC."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path


def digest(path: Path, ignored: tuple[str, ...] = ()) -> str:
    """MD5 of a file, or of a folder's list of files with ``.dir`` behind it.

    ``ignored`` are patterns of names that are left out of folders. Raises FileNotFoundError naming a path that is
    missing.
    """
    if path.is_dir():
        files = sorted(_files(path, ignored), key=lambda file: file.relative_to(path).as_posix())
        entries = [{"md5": digest(file), "relpath": file.relative_to(path).as_posix()} for file in files]
        # DVC takes the MD5 of exactly this JSON text
        return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest() if hasattr(hashlib, "file_digest") else _md5(stream)


def _md5(stream: object) -> str:
    """MD5 of an open file, for Python versions without ``hashlib.file_digest``."""
    md5 = hashlib.md5()
    while block := stream.read(1 << 20):
        md5.update(block)
    return md5.hexdigest()


def _files(folder: Path, ignored: tuple[str, ...]) -> Iterator[Path]:
    """Yield all files below a folder, except ignored ones."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _matches(name, ignored)]
        yield from (Path(place, name) for name in names if not _matches(name, ignored))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name matches one of the patterns."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def ignored_names(root: Path) -> tuple[str, ...]:
    """The patterns in a checkout's .dvcignore, which are names of files and folders."""
    file = root / ".dvcignore"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return tuple(line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#"))
