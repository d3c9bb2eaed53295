"""All information measures of one cell, as a part of the stage ``train_mine``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from splitprobe.core.artifacts import provenance, write_csv, write_json, write_npz
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.core.runtime import Runtime
from splitprobe.datasets.base import open_dataset
from splitprobe.information.bound import decoder_bound
from splitprobe.information.dependence import dependence
from splitprobe.information.effective import effective_information
from splitprobe.information.entropy import Quantizer, entropy
from splitprobe.information.mine import estimate_calibrated, estimate_paper
from splitprobe.information.pairs import Pairs, partners
from splitprobe.information.settings import Information, Plan, Settings
from splitprobe.learning.parts import joined
from splitprobe.targets.target import Features, Target

log = logging.getLogger("splitprobe")

BATCH = 1024  # images released and counted at a time; changes memory, not results
CURVE = ("epoch", "paper_nats", "calibrated_nats", "calibrated_fit_nats", "infonce_nats")


def pairs(target: Target, images: torch.Tensor, keep: bool) -> Pairs:
    """Pairs of uint8 images (N, C, H, W) on the device and their z, with the target's release and normalization."""

    def release(parts: Iterable[torch.Tensor], n: int, noise: torch.Generator) -> Iterator[torch.Tensor]:
        return iter(target.defense.releases(parts, n, 1, noise))

    return Pairs(images, Features.of(target, images, keep=keep), release, target.edge[0])


# gives x_hat (N, C, H, W) in [0, 1], rebuilt from what is sent of uint8 x (N, C, H, W)
Rebuild = Callable[[torch.Tensor], torch.Tensor]


def measure_information(target: Target, params: Params, paths: Paths, rebuild: Rebuild) -> dict[str, Any]:
    """Run every measure on a cell's target; what must be fitted learns from training images, all read test images.

    ``rebuild`` is an attack on one release of each image; its error gives a lower bound on the information. Writes
    information.json, the estimator's curve and information.npz. Returns the content of the first.

    information.npz says how often each level of the quantized z occurs on training images: ``counts`` (channels,
    levels), between ``low`` and ``high`` (channels,).
    """
    settings, plan = params.section("mine", Settings), params.scaled("mine", Plan)
    cell, runtime = target.cell.name, target.runtime
    dataset, _ = open_dataset(paths, target.cell.dataset)
    fit_images = max(plan.paper.fit_images, plan.calibrated.fit_images)
    images = [runtime.images(dataset.role("train")[0][:fit_images]), runtime.images(dataset.role("test")[0])]
    keep = target.keeps(sum(map(len, images)))
    fit, test = (pairs(target, some, keep) for some in images)
    log.info("%s: information from %d images, read on %d, %s", cell, len(fit.x), len(test.x), runtime.name)
    arguments = (runtime, params.seed, f"{cell} MINE")
    paper, paper_rows = estimate_paper(fit, test, settings, plan.paper, *arguments)
    estimates, rows = estimate_calibrated(fit, test, settings, plan.calibrated, *arguments)
    effective = effective_information(released(test, runtime, params.seed, "effective"))
    information = params.section("information", Information)
    contents, histograms = _entropy_and_dependence(fit, test, information, runtime, params.seed)
    # training images: the basis must come from other images than those that the bound is about
    basis = fit.x[: information.bound_images]
    shuffles = shuffled(len(test.x), information, runtime, params.seed)
    bound = decoder_bound(basis, test.x, rebuild(test.x), information.bound_components, shuffles)
    result = {
        "provenance": provenance(params.scale, params.seed, runtime.name, cell),
        "cell": cell,
        "mine": {"paper": paper, **estimates, "decoder": bound},
        "effective": effective,
        **contents,
    }
    write_csv(paths.curve(cell, "information"), _join_curves(paper_rows, rows), CURVE)
    write_npz(paths.result(cell, "information.npz"), **histograms)
    write_json(paths.result(cell, "information.json"), result)
    _log_result(result, paths.result(cell, "information.json"))
    return result


def shuffled(n: int, settings: Information, runtime: Runtime, seed: int) -> list[torch.Tensor]:
    """For each shuffle, the partner of each of n images, (n,): another image, whose z it gets."""
    generator = runtime.generator(seed, "shuffles", n)
    return [partners(n, generator) for _ in range(settings.shuffles)]


def released(pairs: Pairs, runtime: Runtime, seed: int, purpose: str) -> Iterator[torch.Tensor]:
    """Yield z as it is sent, in batches (B, c, h, w); the same seed and purpose give the same draws."""
    noise = runtime.generator(seed, purpose)
    return (pairs.sent(pairs.z[start : start + BATCH], noise) for start in range(0, len(pairs.x), BATCH))


def _entropy_and_dependence(
    fit: Pairs, test: Pairs, settings: Information, runtime: Runtime, seed: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Entropy and dependence of z for the result, and the histograms behind the entropy."""
    fit_z, test_z = (partial(released, p, runtime, seed, f"entropy {i}") for i, p in enumerate((fit, test)))
    # functions, not batches: the fit images are released twice, with the same noise
    quantizer = Quantizer.fit(fit_z(), settings.levels)
    bits, counts = entropy(quantizer, fit_z(), test_z(), settings.smoothing, settings.deflate_images)
    first = test.first(settings.dependence_images)
    z = joined(released(first, runtime, seed, "dependence"), len(first.x))
    arrays = {"counts": counts.int(), "low": quantizer.low, "high": quantizer.high}
    histograms = {name: array.cpu().numpy() for name, array in arrays.items()}
    dependent = dependence(first.x, z, shuffled(len(z), settings, runtime, seed))
    return {"entropy": bits, "dependence": dependent}, histograms


def _log_result(result: dict[str, Any], path: Path) -> None:
    """Write the result to the log."""
    for name, value in result["mine"].items():
        mi, cap, null = (value[key] for key in ("mi_nats", "cap_nats", "null_nats"))
        log.info("  mutual information, %s: %.4f nats of at most %.4f; of shuffled pairs %.4f", name, mi, cap, null)
    effective, bits = result["effective"], result["entropy"]
    log.info(
        "  z: %.0f of %d entries are not zero, %d of %d channels are dead",
        effective["nonzero_per_image"], effective["capacity"], effective["dead_channels"], effective["channels"],
    )  # fmt: skip
    log.info(
        "  %.0f bits coded, %.0f deflated; squared distance correlation %.3f, bias-corrected; results in %s",
        bits["coded_bits_per_image"], bits["deflate_bits_per_image"], result["dependence"]["dcor_squared"], path,
    )  # fmt: skip


def _join_curves(paper: list[dict[str, float]], calibrated: list[dict[str, float]]) -> list[dict[str, float]]:
    """One row per epoch of the longer of two trainings.

    The fields of the shorter one stay empty after its end.
    """
    lines = [{"epoch": epoch} for epoch in range(1, max(len(paper), len(calibrated)) + 1)]
    for line, row in zip(lines, paper, strict=False):
        line["paper_nats"] = row["nats"]
    for line, row in zip(lines, calibrated, strict=False):
        line |= {"calibrated_nats": row["nats"], "calibrated_fit_nats": row["fit_nats"]}
        line["infonce_nats"] = row["infonce_nats"]
    return lines
