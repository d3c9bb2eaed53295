"""CIFAR-10 (Krizhevsky, 2009) in the layouts it comes in; ``raw`` is the folder, the one around it, or the archive.

- ``cifar-10-batches-py/`` or ``cifar-10-python.tar.gz``, the official Python archive;
- Hugging Face ``uoft-cs/cifar10``: ``train-*.parquet`` and ``test-*.parquet`` (needs pyarrow);
- ``train|test/<class>/*`` as a folder or a .zip.

Test is drawn from the official test set, the other three roles from the official training set.
"""

import io
import itertools
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from splitprobe.datasets import folder, images
from splitprobe.datasets.archive import LARGEST
from splitprobe.datasets.base import DataError, Dataset
from splitprobe.datasets.sections import Settings, Source
from splitprobe.datasets.split import UNUSED, draw

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
BATCHES = (*TRAIN_BATCHES, "test_batch")
BATCH_FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
SITE = "https://www.cs.toronto.edu/~kriz/cifar.html"
ADVICE = (
    f"put {BATCH_FOLDER}/ or {ARCHIVE} ({SITE}), the parquet files of Hugging Face's uoft-cs/cifar10, or "
    "train/<class>/* and test/<class>/* there; or set `download: true` for this data set in params.yaml"
)


def load(source: Source, settings: Settings, rng: np.random.Generator, root: Path) -> Dataset:
    """Read whichever layout lies at ``source.raw`` and draw the roles, balanced over the classes.

    Raises DataError when there is no layout and ``download`` is off or fails, when a layout is incomplete or damaged,
    or when a role asks for more images than there are.
    """
    source.refuse("classes", "min_mean", "auxiliary_exclude")
    path = source.raw_path(root)
    dataset = _load_layout(path, source, settings, rng, root) if os.path.exists(path) else None
    if dataset is None and source.download:
        _download(path)
        dataset = _load_layout(path, source, settings, rng, root)
    if dataset is None:
        raise DataError(f"{path} {'holds no CIFAR-10' if os.path.exists(path) else 'is missing'}: {ADVICE}")
    return dataset


def _load_layout(
    path: Path, source: Source, settings: Settings, rng: np.random.Generator, root: Path
) -> Dataset | None:
    """Read the layout at a path; None where there is none."""
    batches = _find_file(path, "data_batch_1")
    archive = _find_file(path, ARCHIVE) if path.is_dir() else path if path.name.endswith((".tar.gz", ".tgz")) else None
    if batches:
        return _from_batches(lambda name: (batches.parent / name).read_bytes(), batches.parent, source, settings, rng)
    if archive and archive.is_file():
        return _from_batches(_read_archive(archive), archive, source, settings, rng)
    if path.is_dir() and any(path.rglob("*.parquet")):
        return _from_parquet(path, source, settings, rng)
    if path.is_file() or any(p.is_dir() for p in path.glob("*/*")):
        return folder.load(source, settings, rng, root, CLASSES)
    return None


def _find_file(path: Path, name: str) -> Path | None:
    """The file of that name in a folder or one level below; None where there is none."""
    return next((p for p in sorted([*path.glob(name), *path.glob(f"*/{name}")]) if p.is_file()), None)


def _from_batches(
    read: Callable[[str], bytes], where: Path, source: Source, settings: Settings, rng: np.random.Generator
) -> Dataset:
    """The data set from the official batches, of which ``read`` gives one by name; ``where`` is for messages."""
    parts = [_read_batch(read, name, where) for name in BATCHES]
    labels = np.concatenate([labels for _, labels in parts])
    # the official test batch was read last
    test = np.arange(len(labels)) >= len(labels) - len(parts[-1][1])
    split = _draw_roles(labels, test, source, rng, where)
    used = np.flatnonzero(split != UNUSED)
    # only the images that are used are resized
    all_pixels = itertools.chain.from_iterable(pixels for pixels, _ in parts)
    drawn_pixels = images.resized(itertools.compress(all_pixels, split != UNUSED), len(used), source, settings)
    return Dataset(drawn_pixels, labels[used], split[used], CLASSES, len(labels))


def _read_batch(read: Callable[[str], bytes], name: str, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """One official batch: uint8 (n, 32, 32, 3) and labels int64 (n,). Raises DataError when it is damaged."""
    try:
        batch = BatchUnpickler(io.BytesIO(read(name)), encoding="bytes").load()
        batch = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()}
        pixels = np.asarray(batch["data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = np.asarray(batch["labels"], np.int64)
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        what = f"{name} is missing or no batch of CIFAR-10 ({reason})"
        raise DataError(f"{where}: {what}; fetch the archive again") from error
    if labels.shape != pixels.shape[:1]:
        raise DataError(f"{where}: {name} holds {len(pixels)} images and {labels.size} labels; fetch the archive again")
    return pixels, labels


class BatchUnpickler(pickle.Unpickler):
    """Reads plain containers and numpy arrays from a pickle.

    Any other object raises UnpicklingError, so no foreign code can run.
    """

    def find_class(self, module: str, name: str) -> Any:
        """One of the few functions that rebuild an array. Raises UnpicklingError for any other name."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            # numpy's own function, wherever this version of numpy keeps it
            return np.zeros(0).__reduce__()[0]
        allowed = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): _dtype, ("_codecs", "encode"): _encode}
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a batch of CIFAR-10")
        return allowed[module, name]


def _dtype(code: str | bytes, align: bool = False, copy: bool = False) -> np.dtype:
    """The dtype of a pickled array. Raises UnpicklingError for anything but numbers."""
    # the official files say align=0, which numpy 2.4 deprecates
    dtype = np.dtype(code.decode() if isinstance(code, bytes) else code, bool(align), bool(copy))
    if dtype.kind not in "biuf":
        raise pickle.UnpicklingError(f"an array of {dtype} has no place in a batch of CIFAR-10")
    return dtype


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """The bytes that Python 2 pickled as text."""
    return text.encode("latin1")


def _read_archive(archive: Path) -> Callable[[str], bytes]:
    """A function that gives the content of a file in the official archive, by its base name, once.

    Nothing is unpacked to disk. Raises DataError when the archive is damaged.
    """
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.isfile() and Path(m.name).name in BATCHES and m.size <= LARGEST]
            content = {Path(m.name).name: tar.extractfile(m).read() for m in members}
    except Exception as error:  # TarError, zlib.error, OSError, EOFError, ...
        reason = " ".join(str(error).split())
        raise DataError(f"{archive} is no whole .tar.gz ({reason}): fetch it again; {ADVICE}") from error
    return content.pop  # each batch is read once; pop frees its memory


def _from_parquet(path: Path, source: Source, settings: Settings, rng: np.random.Generator) -> Dataset:
    """The data set from parquet files. Raises DataError when pyarrow or a file is missing, or a file is damaged."""
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(f"{path} holds parquet files, and reading them needs `pip install pyarrow`") from None
    encoded, labels, names, is_test = [], [], [], []
    for half in ("train", "test"):
        files = sorted(path.rglob(f"{half}-*.parquet"))
        if not files:
            raise DataError(f"{path} holds no {half}-*.parquet: {ADVICE}")
        for file in files:
            try:
                table = parquet.read_table(file, columns=["img", "label"])
                encoded += [bytes(cell["bytes"]) for cell in table["img"].to_pylist()]
                labels += [int(label) for label in table["label"].to_pylist()]
            except Exception as error:  # pyarrow's errors have no base class in common with that of a missing column
                reason = " ".join(str(error).split())
                raise DataError(f"{file} is no parquet file of uoft-cs/cifar10 ({reason}): fetch it again") from error
            names += [f"{file.relative_to(path).as_posix()}#{i}" for i in range(table.num_rows)]
            is_test += [half == "test"] * table.num_rows
    content = dict(zip(names, encoded, strict=True))
    pixels, readable, rejected = images.read_all(names, content.__getitem__, source, settings)
    index = np.flatnonzero(readable)
    labels, is_test = np.array(labels, np.int64)[index], np.array(is_test, bool)[index]
    split = _draw_roles(labels, is_test, source, rng, path)
    used = np.flatnonzero(split != UNUSED)
    return Dataset(images.compact(pixels, index[used]), labels[used], split[used], CLASSES, len(index), rejected)


def _draw_roles(
    labels: np.ndarray, test: np.ndarray, source: Source, rng: np.random.Generator, where: Path
) -> np.ndarray:
    """The roles of all images, as :func:`draw` gives them. Raises DataError for labels that are not CIFAR-10's."""
    if not ((labels >= 0) & (labels < len(CLASSES))).all():
        raise DataError(f"{where}: labels run from {labels.min()} to {labels.max()}, CIFAR-10's from 0 to 9")
    try:
        return draw(labels, np.arange(len(labels)), test, source, rng)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _download(path: Path) -> None:
    """Let torchvision fetch the official archive, verified by its checksum, into the folder ``path``."""
    if path.suffix:
        raise DataError(f"raw = {path}: a download needs the name of a folder; {ADVICE}")
    from torchvision.datasets import CIFAR10  # imported here, because it imports torch

    try:
        CIFAR10(path.parent if path.name == BATCH_FOLDER else path, download=True)
    except Exception as error:
        raise DataError(f"downloading CIFAR-10 to {path} failed ({' '.join(str(error).split())}); {ADVICE}") from error
