"""Every measure of information on data whose answer is known: the stage ``calibrate_information``.

The data are correlated Gaussians of an image's shape for mutual information and distance correlation, and quantized
Gaussians for entropy. Estimators run with the budget that the scale gives them on real features. The file thus tells
what they can see at this scale, not what they could see with more.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from splitprobe.core.artifacts import provenance, write_json
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, bounded
from splitprobe.core.runtime import Runtime, derive
from splitprobe.information import gaussian
from splitprobe.information.bound import decoder_bound
from splitprobe.information.dependence import dependence
from splitprobe.information.entropy import Quantizer, entropy
from splitprobe.information.mine import estimate_calibrated, estimate_paper
from splitprobe.information.pairs import Pairs, partners
from splitprobe.information.settings import Information, Plan, Settings
from splitprobe.learning.losses import distance_correlation

log = logging.getLogger("splitprobe")


@dataclass(frozen=True)
class Calibration:
    """The section ``calibration``.

    ``channels`` and ``side`` are the shape of x and z, ``rho`` the correlations. ``images``, ``entries`` of each, and
    ``widths`` (standard deviations in quantization steps) are those of the coded Gaussians.
    """

    channels: int = bounded(1, 1024)
    side: int = bounded(1, 1024)
    rho: tuple[float, ...] = bounded(0.0, 0.9999, items=(1, 100), distinct=True)
    images: int = bounded(2, 1_000_000)
    entries: int = bounded(1, 10_000_000)
    widths: tuple[float, ...] = bounded(0.01, 1000.0, items=(1, 100), distinct=True)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of each x and z: (channels, side, side)."""
        return self.channels, self.side, self.side


def calibrate_information(params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """Run every measure beside its true value; writes calibration.json and returns its content.

    ``mutual_information`` and ``dependence`` have one record for each correlation, ``entropy`` one for each width.
    """
    begin = time.perf_counter()
    calibration = params.section("calibration", Calibration)
    settings, plan = params.section("mine", Settings), params.scaled("mine", Plan)
    information = params.section("information", Information)
    result: dict[str, Any] = {
        "provenance": provenance(params.scale, params.seed, runtime.name),
        "shape": calibration.shape,
        "mutual_information": [],
        "dependence": [],
        "entropy": [],
    }
    for rho in calibration.rho:
        fit, held = pairs(rho, calibration, plan, runtime, params.seed)
        truth = gaussian.mutual_information(rho, math.prod(calibration.shape))
        records = estimates(rho, fit, held, (settings, plan), information, runtime, params.seed)
        result["mutual_information"].append({"rho": rho, "truth_nats": truth, **records})
        result["dependence"].append({"rho": rho, **dependent(rho, held.first(information.dependence_images))})
        values = ", ".join(f"{name} {record['mi_nats']:.3f}" for name, record in records.items())
        log.info("  rho %g: %.3f nats; %s", rho, truth, values)
    for width in calibration.widths:
        record = coded(width, calibration, information, runtime, params.seed)
        result["entropy"].append({"width": width, **record})
        log.info("  width %g: %s bits an entry", width, ", ".join(f"{k[:-5]} {v:.3f}" for k, v in record.items()))
    write_json(paths.calibration, result)
    log.info("measures tried on known answers in %.1f s: %s", time.perf_counter() - begin, paths.calibration)
    return result


def pairs(rho: float, known: Calibration, plan: Plan, runtime: Runtime, seed: int) -> tuple[Pairs, Pairs]:
    """Gaussian pairs to fit on and held-out ones, as many as the scale gives images to the larger of the estimators."""
    budgets = (plan.paper, plan.calibrated)
    fit, held = (max(getattr(budget, name) for budget in budgets) for name in ("fit_images", "held_out_images"))
    # drawn on the CPU, so that every device sees the same numbers
    generator = torch.Generator().manual_seed(derive(seed, "calibration", rho))
    x, z = (t.to(runtime.device) for t in gaussian.correlated_pairs(fit + held, known.shape, rho, generator))
    halves = (Pairs(x[part], z[part], _release_unchanged, nn.Identity()) for part in (slice(fit), slice(fit, None)))
    return next(halves), next(halves)


def _release_unchanged(parts: Iterable[Tensor], n: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The release of these pairs: z without a change."""
    return iter(parts)


def estimates(
    rho: float, fit: Pairs, held: Pairs, mine: tuple[Settings, Plan], information: Information, runtime: Runtime,
    seed: int,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """All estimates of I, by name.

    ``decoder_mmse`` knows rho. ``decoder_fitted`` is a linear decoder, fitted on the fit pairs.
    """
    settings, plan = mine
    paper, _ = estimate_paper(fit, held, settings, plan.paper, runtime, seed, f"rho {rho:g}")
    trained, _ = estimate_calibrated(fit, held, settings, plan.calibrated, runtime, seed, f"rho {rho:g}")
    weights = torch.linalg.lstsq(fit.z.flatten(1), fit.x.flatten(1)).solution
    rebuilt = {"decoder_mmse": rho * held.z, "decoder_fitted": (held.z.flatten(1) @ weights).reshape(held.x.shape)}
    basis, components = fit.x[: information.bound_images], information.bound_components
    generator = runtime.generator(seed, "shuffles", len(held.x))
    shuffles = [partners(len(held.x), generator) for _ in range(information.shuffles)]
    bounds = {name: decoder_bound(basis, held.x, x_hat, components, shuffles) for name, x_hat in rebuilt.items()}
    return {"paper": paper, **trained, **bounds}


def dependent(rho: float, pairs: Pairs) -> dict[str, Any]:
    """Distance correlation of the pairs, bias-corrected and plain, beside its closed form."""
    return {
        "truth_dcor_squared": gaussian.distance_correlation(rho, pairs.x[0].numel()),
        "plain_dcor_squared": distance_correlation(pairs.x, pairs.z).item(),
        **dependence(pairs.x, pairs.z),
    }


def coded(width: float, known: Calibration, information: Information, runtime: Runtime, seed: int) -> dict[str, float]:
    """Bits per entry of a Gaussian whose quantization steps are 1: closed form, static code, deflate."""
    levels = information.levels
    generator = torch.Generator().manual_seed(derive(seed, "calibration entropy", width))
    parts = [torch.randn(known.images, 1, known.entries, generator=generator).to(runtime.device) for _ in range(2)]
    fit, test = (part.mul_(width).add_((levels - 1) / 2) for part in parts)
    # a fixed range, not the data's own: otherwise every width would span the same steps
    ends = (torch.tensor([end], device=runtime.device) for end in (0.0, levels - 1.0))
    bits, _ = entropy(Quantizer(*ends, levels), [fit], [test], information.smoothing, information.deflate_images)
    per_entry = {f"{name}_bits": bits[f"{name}_bits_per_image"] / known.entries for name in ("coded", "deflate")}
    return {"truth_bits": gaussian.quantized_entropy(width, levels), **per_entry}
