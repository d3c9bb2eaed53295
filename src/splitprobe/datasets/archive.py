"""One view of a folder and of a .zip: sorted file names and their content. Nothing is ever unpacked to disk."""

import contextlib
import os
import posixpath
import stat
import threading
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from splitprobe.datasets.base import DataError, Rejected

SYSTEM_FILES = ("__macosx", "thumbs.db", "desktop.ini")
UTF8 = 0x800  # the flag of a .zip's entry whose name is UTF-8
LARGEST = 2**29  # bytes of a file; what is larger is no image, and a small archive can hold a file of any size


@dataclass(frozen=True)
class Tree:
    """Sorted file names relative to the top, with ``/`` between folders.

    Control characters, and bytes that are no UTF-8, are written as escapes such as ``\\udce9``, so that every name fits
    into a line of text. ``read`` gives the content of one of them, or raises DataError. ``rejected`` are files that
    cannot be used.
    """

    names: list[str]
    read: Callable[[str], bytes]
    rejected: list[Rejected]


@contextlib.contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """Open a folder or a .zip. Hidden and system files are left out; links to folders are followed.

    Links to nowhere, and folders that cannot be opened, are among the rejected files. Raises DataError when the path is
    neither a folder nor a .zip.
    """
    if path.is_dir():
        found, rejected = _walk(path)
        names = {in_one_line(name): name for name in found}
        yield Tree(sorted(names), lambda name: _read_or_data_error(lambda: _content(path / names[name])), rejected)
        return
    try:
        if not path.is_file():  # to open a pipe would wait forever
            raise zipfile.BadZipFile("no regular file")
        archive = zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory of a .zip raises nearly anything
        reason = in_one_line(str(error) or type(error).__name__)
        advice = "fetch it again or unpack it"
        raise DataError(f"{path} is neither a folder nor a whole .zip ({reason}): {advice}") from None
    with archive:
        entries = {_entry_name(info): info for info in archive.infolist()}
        files = {name: info for name, info in entries.items() if not name.endswith("/")}
        outside = sorted(n for n in files if n.startswith("/") or ".." in n.split("/"))
        # normalized, because some tools write ./ before each name
        inside = {posixpath.normpath(n): info for n, info in files.items() if n not in outside}
        names = sorted(n for n in inside if not _is_hidden(n))
        rejected = [Rejected(n, "its name points outside the archive") for n in outside]
        alone = threading.Lock()  # several versions of zipfile take the place of another thread's read for their own
        yield Tree(names, lambda name: _read_or_data_error(lambda: _unpacked(archive, inside[name], alone)), rejected)


def _entry_name(info: zipfile.ZipInfo) -> str:
    """The name of a .zip's entry, a folder's with / at the end.

    Several tools write UTF-8 without saying so, and Python then reads the name as code page 437.
    """
    name = info.filename
    if not info.flag_bits & UTF8:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return in_one_line(name.replace("\\", "/"))  # some Windows tools write backslashes


def in_one_line(name: str) -> str:
    """The text with control characters, line ends and lone surrogates (of bytes that are no UTF-8) as escapes."""
    odd = ("Cc", "Cs", "Zl", "Zp")
    if name.isprintable():  # as nearly all are
        return name
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in odd else c for c in name)


def _walk(top: Path) -> tuple[list[str], list[Rejected]]:
    """The files below a folder, relative to it, and what cannot be opened; each real folder is visited once."""
    names, rejected, visited = [], [], set()

    def relative(path: str) -> str:
        return Path(path).relative_to(top).as_posix()

    def fail(error: OSError) -> None:
        rejected.append(Rejected(in_one_line(relative(error.filename)), f"cannot be read: {error.strerror}"))

    for folder, subfolders, files in os.walk(top, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link to a folder above would never end
            subfolders.clear()
            continue
        visited.add(real)
        # sorted, so that of two links to one folder the first by name counts
        subfolders[:] = sorted(name for name in subfolders if not _is_hidden(name))
        prefix = "" if folder == str(top) else relative(folder) + "/"
        for file in (name for name in files if not _is_hidden(name)):
            path = os.path.join(folder, file)
            if os.path.islink(path) and not os.path.exists(path):
                reason = f"a link to {in_one_line(os.readlink(path))}, which is not there"
                rejected.append(Rejected(in_one_line(prefix + file), reason))
            else:
                names.append(prefix + file)
    return names, sorted(rejected, key=lambda item: item.file)


def _is_hidden(name: str) -> bool:
    """Whether a file, or a folder around it, is hidden or a system file."""
    return any(part.startswith(".") or part.lower() in SYSTEM_FILES for part in name.split("/"))


def _content(path: Path) -> bytes:
    """The content of a file. Raises DataError for one that is too large, and for pipes and devices."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait forever
        raise DataError("no regular file")
    _check_size(status.st_size)
    return path.read_bytes()


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, alone: threading.Lock) -> bytes:
    """The content of a .zip's entry. Raises DataError for one that is too large; zipfile reads no more than it says."""
    _check_size(info.file_size)
    with alone:
        return archive.read(info)


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise DataError(f"{size} bytes are too many for an image")


def _read_or_data_error(read: Callable[[], bytes]) -> bytes:
    """What ``read`` gives; any error becomes a DataError of one line."""
    try:
        return read()
    except Exception as error:  # damaged archives raise BadZipFile, zlib.error, RuntimeError (password), EOFError, ...
        raise DataError(f"cannot be read: {in_one_line(str(error)) or type(error).__name__}") from error
