"""The stage ``prepare``: read a source once, draw its roles, and write what every later stage reads."""

import itertools
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from splitprobe.core import artifacts
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.core.runtime import derive
from splitprobe.datasets import load
from splitprobe.datasets.archive import in_one_line
from splitprobe.datasets.auxiliary import shared_names
from splitprobe.datasets.base import DataError, Dataset
from splitprobe.datasets.guide import SHOWN, few
from splitprobe.datasets.sections import SIDE_OF_ALL, Settings, Source, located

log = logging.getLogger("splitprobe")


def prepare(name: str, params: Params, paths: Paths) -> dict[str, Any]:
    """Prepare the data set ``name`` of the chosen scale; returns its summary.

    Writes images.npz, rejected.csv and summary.json, all or none. Raises ParamsError or DataError.
    """
    key = f"scales.data.{name}"
    source = params.scaled(f"data.{name}", Source)
    settings = params.section("data", Settings)
    rng = np.random.default_rng(derive(params.seed, "prepare", name))
    try:
        source.check_side()
        for part in filter(None, (source.raw, source.auxiliary_raw, source.auxiliary_exclude)):
            refuse_unwatched(located(part, paths.raw(name)), paths.raw(name))
        dataset = load(source, settings, rng, paths.raw(name))
    except (DataError, ParamsError) as error:
        raise type(error)(in_one_line(f"{key}: {error}")) from error
    except MemoryError as error:
        raise DataError(f"{key}: its images do not fit into memory ({error}): ask for fewer or smaller ones") from error
    summary = summarize(name, source, dataset)
    summary["provenance"] = artifacts.provenance(params.scale, params.seed, "cpu")
    _write(name, dataset, summary, paths)
    _log_summary(name, dataset, summary, paths)
    return summary


def refuse_unwatched(path: Path, folder: Path) -> None:
    """Raise DataError for raw data outside of ``folder``, the data set's own, or behind a link to a folder within it.

    DVC watches that folder and does not look behind links, so that a change there would go unnoticed. The folder itself
    may be a link.
    """
    path, top = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    if not path.is_relative_to(top):
        advice = f"put it there, or make {folder} a link to the folder around it"
        raise DataError(f"{path} lies outside of {folder}, where DVC looks for changes: {advice}")
    above = (one for one in (path, *path.parents) if one != top and one.is_relative_to(top))
    below = (os.path.join(at, name) for at, folders, _ in os.walk(path) for name in folders)
    for one in itertools.chain(above, below):
        if os.path.islink(one) and os.path.isdir(one):
            advice = f"make {folder} itself the link, or hard links instead (cp -al)"
            raise DataError(f"{one} is a link to a folder, behind which DVC does not look for changes: {advice}")


def summarize(name: str, source: Source, dataset: Dataset) -> dict[str, Any]:
    """What the data set is, in numbers.

    These are sizes by role and class, files kept and rejected, and duplicates across roles. Where the auxiliary images
    have a source of their own: its name, its classes, and how many of their names are also the target's.
    ``auxiliary_classes`` is null where there is no such source or it has no classes.
    """
    auxiliary_classes = dataset.auxiliary_classes
    return {
        "name": name,
        "title": source.title,
        "source": source.source,
        "classes": list(dataset.classes),
        "channels": source.channels,
        "side": source.side,
        "auxiliary_source": source.auxiliary_source,
        "auxiliary_classes": list(auxiliary_classes) if auxiliary_classes else None,
        "shared_classes": len(shared_names(dataset.classes, auxiliary_classes or ())),
        "counts": dataset.counts(),
        "class_counts": dataset.class_counts(),
        "kept": dataset.kept,
        "rejected": len(dataset.rejected),
        **dataset.duplicates(),
        "bytes": dataset.images.nbytes,
    }


def _write(name: str, dataset: Dataset, summary: dict[str, Any], paths: Paths) -> None:
    """Write the three files of the data set, all or none."""
    try:
        artifacts.write_npz(paths.images(name), images=dataset.images, labels=dataset.labels, split=dataset.split)
        artifacts.write_csv(paths.rejected(name), [asdict(r) for r in dataset.rejected], ("file", "reason"))
        artifacts.write_json(paths.summary(name), summary)
    except BaseException:  # an interruption too
        for path in (paths.images(name), paths.rejected(name), paths.summary(name)):
            path.unlink(missing_ok=True)
        raise


def _log_summary(name: str, dataset: Dataset, summary: dict[str, Any], paths: Paths) -> None:
    """Write the numbers of the data set, and warnings about it, to the log."""
    counts = ", ".join(f"{role} {n}" for role, n in summary["counts"].items())
    log.info("%s: %s; %d classes: %s", name, summary["title"], len(dataset.classes), few(dataset.classes, 10))
    log.info("kept %d images, rejected %d files; drawn: %s", dataset.kept, len(dataset.rejected), counts)
    for item in dataset.rejected[:SHOWN]:
        log.warning("  rejected %s: %s", item.file, item.reason)
    if len(dataset.rejected) > SHOWN:
        log.warning("  and %d more: see %s", len(dataset.rejected) - SHOWN, paths.rejected(name))
    for role, row in summary["class_counts"].items():
        if absent := [label for label, n in row.items() if not n]:
            log.warning("%s holds no image of %s", role, few(absent))
    if summary["shared_classes"]:
        names = few(shared_names(dataset.classes, dataset.auxiliary_classes))
        message = (
            "%d class names of the target occur in the auxiliary source too: %s; if the same people, leave them out"
        )
        log.warning(message, summary["shared_classes"], names)
    if summary["duplicates_auxiliary"] or summary["duplicates_test"]:
        message = "identical pixels: %d auxiliary images occur in another role, %d test images in train; none removed"
        log.warning(message, summary["duplicates_auxiliary"], summary["duplicates_test"])
    if summary["side"] % SIDE_OF_ALL:
        log.warning("side = %d fits the cnn alone: other networks need a multiple of %d", summary["side"], SIDE_OF_ALL)
    log.info("written to %s", paths.prepared(name))
