"""One view of a folder and of a .zip: a sorted list of file names, and their content. Nothing is ever unpacked."""

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from splitprobe.datasets.base import DataError, Rejected

SYSTEM_FILES = ("__macosx", "thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Tree:
    """Sorted file names relative to the top, with ``/``; ``read`` gives one's content or raises DataError."""

    names: list[str]
    read: Callable[[str], bytes]
    rejected: list[Rejected]


@contextlib.contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """Open a folder or a .zip. Hidden and system files are left out; links to folders are followed.

    Raises DataError when there is neither.
    """
    if path.is_dir():
        names = [n for n in _walk(path) if not _hidden(n)]
        yield Tree(sorted(names), lambda name: _guarded((path / name).read_bytes), [])
        return
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is neither a folder nor a whole .zip ({error}): fetch it again or unpack it") from None
    with archive:
        # some Windows tools write backslashes
        files = {i.filename.replace("\\", "/"): i for i in archive.infolist() if not i.is_dir()}
        outside = sorted(n for n in files if n.startswith("/") or ".." in n.split("/"))
        names = sorted(n for n in files.keys() - set(outside) if not _hidden(n))
        rejected = [Rejected(n, "its name points outside the archive") for n in outside]
        yield Tree(names, lambda name: _guarded(lambda: archive.read(files[name])), rejected)


def _walk(top: Path) -> Iterator[str]:
    visited = set()
    for folder, subfolders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link back up would never end
            subfolders.clear()
            continue
        visited.add(real)
        subfolders.sort()
        prefix = Path(folder).relative_to(top).as_posix()
        yield from (name if prefix == "." else f"{prefix}/{name}" for name in files)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in SYSTEM_FILES for part in name.split("/"))


def _guarded(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except Exception as error:  # damaged archives raise BadZipFile, zlib.error, RuntimeError (password), EOFError, ...
        raise DataError(f"cannot be read: {error or type(error).__name__}") from error
