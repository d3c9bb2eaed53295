"""All information measures of one cell: one half of the stage ``probe_target``."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch

from splitprobe.artifacts import note_seconds, provenance, write_csv, write_json
from splitprobe.cells import Paths
from splitprobe.datasets.prepare import open_dataset
from splitprobe.information.effective import effective_information
from splitprobe.information.mine import Pairs, Plan, Settings, estimate_calibrated, estimate_paper
from splitprobe.params import Params
from splitprobe.runtime import Runtime
from splitprobe.target import Target, load_target

log = logging.getLogger("splitprobe")


BATCH = 1024  # images released and counted at a time; changes memory, not results


def pairs(target: Target, images: torch.Tensor) -> Pairs:
    """Resident uint8 images beside their z, released anew each time; the edge's first step normalizes."""
    return Pairs(images, target.features(images), target.defense.release, target.edge[0])


def measure_information(cell: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """Both MINEs, fitted on the target's training images and read on test images; effective information on the latter.

    Writes information.json and the estimator curve; returns the former.
    """
    begin = time.perf_counter()
    settings, plan = params.section("mine", Settings), params.scaled("mine", Plan)
    target = load_target(paths.target(cell), runtime)
    dataset, _ = open_dataset(paths, target.cell.dataset)
    needed = {
        role: max(getattr(plan.paper, size), getattr(plan.calibrated, size))
        for role, size in (("train", "fit_images"), ("test", "held_out_images"))
    }
    fit, held = (pairs(target, runtime.images(dataset.role(role)[0][:n])) for role, n in needed.items())
    log.info("%s: MINE on %d images, read on %d, %s", cell, len(fit.x), len(held.x), runtime.name)
    arguments = (runtime, params.seed, f"{cell} MINE")
    paper, paper_rows = estimate_paper(fit, held, settings, plan.paper, *arguments)
    calibrated, rows = estimate_calibrated(fit, held, settings, plan.calibrated, *arguments)
    test = runtime.images(dataset.role("test")[0])
    noise = runtime.generator(params.seed, "effective")
    released = (target.defense.release(target.features(part), noise) for part in test.split(BATCH))
    result = {
        "provenance": provenance(params.scale, params.seed, runtime.name, cell),
        "cell": cell,
        "mine": {"paper": paper, "calibrated": calibrated},
        "effective": effective_information(released),
    }
    curve = _curve(paper_rows, rows)
    write_csv(paths.curve(cell, "mine"), curve, ("epoch", "paper_nats", "calibrated_nats", "calibrated_fit_nats"))
    write_json(paths.result(cell, "information.json"), result)
    note_seconds(paths.seconds(cell, "information"), begin)
    for name, value in result["mine"].items():
        log.info("  MINE, %s: %.4f nats of at most %.4f", name, value["mi_nats"], value["cap_nats"])
    effective = result["effective"]
    log.info(
        "  %.0f of %d entries of z are not zero, %d of %d channels are dead; results in %s",
        effective["nonzero_per_image"], effective["capacity"], effective["dead_channels"], effective["channels"],
        paths.result(cell, "information.json"),
    )  # fmt: skip
    return result


def _curve(paper: list[dict[str, float]], calibrated: list[dict[str, float]]) -> list[dict[str, float]]:
    """One line per epoch of the longer run; the shorter one's fields stay empty after its end."""
    lines = [{"epoch": epoch} for epoch in range(1, max(len(paper), len(calibrated)) + 1)]
    for line, row in zip(lines, paper, strict=False):
        line["paper_nats"] = row["nats"]
    for line, row in zip(lines, calibrated, strict=False):
        line |= {"calibrated_nats": row["nats"], "calibrated_fit_nats": row["fit_nats"]}
    return lines
