"""One view of a folder and of a .zip: sorted file names and their content. Nothing is ever unpacked to disk."""

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
    """Sorted file names relative to the top, with ``/`` between folders.

    ``read`` gives the content of one of them, or raises DataError. ``rejected`` are files that cannot be used.
    """

    names: list[str]
    read: Callable[[str], bytes]
    rejected: list[Rejected]


@contextlib.contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """Open a folder or a .zip. Hidden and system files are left out; links to folders are followed.

    Raises DataError when the path is neither.
    """
    if path.is_dir():
        names = [n for n in _walk(path) if not _is_hidden(n)]
        yield Tree(sorted(names), lambda name: _read_or_data_error((path / name).read_bytes), [])
        return
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is neither a folder nor a whole .zip ({error}): fetch it again or unpack it") from None
    with archive:
        # some Windows tools write backslashes
        files = {i.filename.replace("\\", "/"): i for i in archive.infolist() if not i.is_dir()}
        outside = sorted(n for n in files if n.startswith("/") or ".." in n.split("/"))
        names = sorted(n for n in files.keys() - set(outside) if not _is_hidden(n))
        rejected = [Rejected(n, "its name points outside the archive") for n in outside]
        yield Tree(names, lambda name: _read_or_data_error(lambda: archive.read(files[name])), rejected)


def _walk(top: Path) -> Iterator[str]:
    """Yield the files below a folder, relative to it; each real folder is visited once."""
    visited = set()
    for folder, subfolders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link to a folder above would never end
            subfolders.clear()
            continue
        visited.add(real)
        subfolders.sort()  # of two links to one folder the first by name counts
        prefix = Path(folder).relative_to(top).as_posix()
        yield from (name if prefix == "." else f"{prefix}/{name}" for name in files)


def _is_hidden(name: str) -> bool:
    """Whether a file, or a folder around it, is hidden or a system file."""
    return any(part.startswith(".") or part.lower() in SYSTEM_FILES for part in name.split("/"))


def _read_or_data_error(read: Callable[[], bytes]) -> bytes:
    """What ``read`` gives; any error becomes a DataError."""
    try:
        return read()
    except Exception as error:  # damaged archives raise BadZipFile, zlib.error, RuntimeError (password), EOFError, ...
        raise DataError(f"cannot be read: {error or type(error).__name__}") from error
