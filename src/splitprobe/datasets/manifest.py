"""``MANIFEST.csv``: which patient an image is of, so that no patient is divided among roles.

It has a column of paths and a column of patients, by any of the names below; case, spaces and underscores make no
difference. Fields are separated by commas, semicolons, tabs or bars. The text is UTF-8, with or without its mark. Paths
count from the top of the set, from the manifest's folder, or from a folder further up, whichever reading finds most of
the files; names without a folder are looked for in all folders. A manifest that cannot be used stops the run, since
patients would be divided without it. Images that it does not name count as one patient each, and rows for files that
are not there count for nothing; both are warned of.
"""

import csv
import io
import logging
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from splitprobe.datasets.archive import Tree, in_one_line
from splitprobe.datasets.base import DataError
from splitprobe.datasets.guide import few

MANIFESTS = ("manifest.csv", "manifest.tsv")
SEPARATORS = ",;\t|"
PATHS = (
    "path", "filepath", "imagepath", "relativepath", "relpath", "file", "files", "filename", "fname", "image", "images",
    "imagefile", "imagefilename", "imagename", "imageindex", "imageid", "img", "imgpath", "imgfile", "imgname",
    "picture", "photo",
)  # fmt: skip
PERSON = ("patient", "patients", "subject", "subj", "identity", "person", "participant", "individual")
DETAIL = ("", "id", "ids", "no", "nr", "num", "number", "name", "key", "code", "index", "identifier")
PEOPLE = (*map("".join, product(PERSON, DETAIL)), "pid", "mrn")
ADVICE = "call its columns path and patient, or delete the file where no image has a patient"
log = logging.getLogger("splitprobe")

Rows = list[tuple[str, str]]  # path and patient


def read_groups(tree: Tree, files: Sequence[str]) -> np.ndarray:
    """A group number for each file, int64 (n,).

    There is one group for each patient that a manifest names, and one for each file of no named patient. Of several
    manifests the outermost count, all those at one depth. Raises DataError when a manifest cannot be read, has no
    column of paths or of patients, names no file here, or names two patients for one.
    """
    groups = np.arange(len(files))
    for item in tree.rejected:
        if _is_manifest(item.file):
            raise DataError(f"{item.file} cannot be used: {item.reason}")
    manifests = [name for name in tree.names if _is_manifest(name)]
    manifests = [n for n in manifests if n.count("/") == min(m.count("/") for m in manifests)]
    if not manifests:
        return groups
    patients: dict[str, str] = {}
    for manifest in manifests:
        try:
            _add(patients, _match(read_rows(tree.read(manifest)), manifest, tree.names))
        except DataError as error:
            raise DataError(f"{manifest} {error}") from None
    named = [i for i, file in enumerate(files) if patients.get(file)]
    where = few(manifests)
    if not named:
        raise DataError(f"{where} names a patient for none of the images, such as {files[0]}; {ADVICE}")
    if len(named) < len(files):
        example = next(file for file in files if not patients.get(file))
        message = "%s names no patient for %d of %d images, such as %s: each counts as one of its own"
        log.warning(message, where, len(files) - len(named), len(files), example)
    # numbers from len(files) on, which no file without a patient has
    number = {patient: len(files) + k for k, patient in enumerate(sorted({patients[files[i]] for i in named}))}
    groups[named] = [number[patients[files[i]]] for i in named]
    return groups


def _is_manifest(name: str) -> bool:
    return posixpath.basename(name).lower() in MANIFESTS


def read_rows(content: bytes) -> Rows:
    """Path and patient of each row that has a path. Raises DataError for what is no such table."""
    try:
        text, wrong = content.decode("utf-8-sig"), content.find(0)  # no text holds zeros, but those of 16 bits a letter
    except UnicodeDecodeError as error:
        text, wrong = "", error.start
    if wrong >= 0:
        begin = in_one_line(content[:200].decode("utf-8", "backslashreplace"))
        raise DataError(f"is not UTF-8 text (byte {wrong}); save it as such; it begins {begin}")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    if re.match("sep=.\n", lines):  # a line of Excel's
        lines = lines.partition("\n")[2]
    header = lines.partition("\n")[0]
    separator = max(SEPARATORS, key=lambda s: (sum(p is not None for p in _positions(header, s)), header.count(s)))
    at, person = _positions(header, separator)
    columns = few([in_one_line(column[:40].strip()) for column in _columns(header, separator)], 20)
    found = f"; its columns: {columns or 'none'}"
    if at is None or person is None:
        what = "paths" if at is None else "patients"
        raise DataError(f"has no column of {what} that is known here{found}: {ADVICE}")
    rows, fields = [], len(_columns(header, separator))
    reader = csv.reader(io.StringIO(lines), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if len(row) > fields and any(row[fields:]):  # its columns would be shifted
                raise DataError(f"has {len(row)} fields in line {reader.line_num} and {fields} in its first{found}")
            if len(row) > at and row[at].strip():
                rows.append((row[at].strip(), row[person].strip() if len(row) > person else ""))
    except csv.Error as error:
        raise DataError(f"cannot be read in line {reader.line_num} ({error}){found}") from None
    return rows[1:]


def _columns(header: str, separator: str) -> list[str]:
    """The fields of a table's first line."""
    try:
        return next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # a field larger than csv takes
        return [header]


def _positions(header: str, separator: str) -> tuple[int | None, int | None]:
    """Where the columns of paths and of patients are; None for one that is not there."""
    plain = [re.sub(r"[\W_]+", "", column.casefold()) for column in _columns(header, separator)]
    path, person = (next((plain.index(name) for name in known if name in plain), None) for known in (PATHS, PEOPLE))
    return path, person


def _match(rows: Rows, manifest: str, names: Sequence[str]) -> dict[str, str]:
    """The patient of each file that a manifest names, by the reading of its paths that finds most files.

    Raises DataError where none is found, or where a file gets two patients.
    """
    known = {unicodedata.normalize("NFC", name): name for name in names}
    best: list[tuple[str, str]] = []
    for reading in _readings([path for path, _ in rows], posixpath.dirname(manifest), list(known)):
        found = [(known[name], who) for name, (_, who) in zip(reading, rows, strict=True) if name in known]
        if len({name for name, _ in found}) > len({name for name, _ in best}):
            best = found
    if not best:
        example = f"a path is {in_one_line(rows[0][0][:200])}" if rows else "it has no row with a path"
        raise DataError(f"names a patient for none of the images: {example}, a file is {names[0]}; {ADVICE}")
    if len(best) < len(rows):
        log.warning("%s: %d of %d rows name no file here", manifest, len(rows) - len(best), len(rows))
    patients: dict[str, str] = {}
    for name, who in best:
        _add(patients, {name: who})
    return patients


def _readings(paths: Sequence[str], folder: str, names: Sequence[str]) -> Iterator[list[str]]:
    """What files the paths may mean, under one reading after the other; "" for a path that means none."""
    normal = [unicodedata.normalize("NFC", posixpath.normpath(path.replace("\\", "/"))) for path in paths]
    parts = [[part for part in path.split("/") if part] for path in normal]
    for skipped in range(max(map(len, parts), default=0)):
        tails = ["/".join(part[skipped:]) for part in parts]
        for start in dict.fromkeys(("", folder)):
            yield [tail and posixpath.join(start, tail) for tail in tails]
    # without any folder: files whose names are there once
    bases = Counter(map(posixpath.basename, names))
    once = {posixpath.basename(name): name for name in names if bases[posixpath.basename(name)] == 1}
    yield [once.get(path, "") for path in normal]


def _add(patients: dict[str, str], more: dict[str, str]) -> None:
    """Take up more files with their patients. Raises DataError for a file that has another patient already."""
    for name, who in more.items():
        if who and patients.setdefault(name, who) != who:
            raise DataError(f"names two patients for {name}: {patients[name]!r} and {who!r}")
