"""The stage ``train_prior``: a denoiser of each data set's auxiliary images, which attacks use as their prior.

It sees no image of the target's and no feature, so that one serves all cells of a data set. It learns at noise levels
between ``high`` and ``low`` that are spread evenly over their logarithms, on images that are flipped at random where
the target's training flips them. What is saved is the running mean of its weights. A share of the images is held out:
its error there is taken of each noise level, as a share of what the best pixel-by-pixel answer has (see the denoiser),
and attacks choose their settings on them.
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from splitprobe.core.artifacts import provenance, read_checkpoint, reading, write_checkpoint, write_json
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError, bounded
from splitprobe.core.runtime import Runtime, progress
from splitprobe.datasets.base import open_dataset
from splitprobe.learning import optimizers
from splitprobe.learning.augment import augment
from splitprobe.learning.schedule import UntilConverged, batches
from splitprobe.models import count
from splitprobe.models.denoiser import Denoiser, levels

log = logging.getLogger("splitprobe")
LEVELS = 6  # noise levels that the held-out error is taken at
MOST_HELD = 256  # held-out images that it is taken on, at most


@dataclass(frozen=True)
class Plan:
    """The section ``scales.prior``.

    ``steps``, ``patience``, ``cooldown`` and ``lr`` are as in ``scales.strong``; ``average`` is what the running mean
    of the weights keeps at each step. The noise levels ``high`` and ``low`` are deviations of an image in [0, 1].
    """

    steps: int = bounded(1, 100_000_000)
    patience: int = bounded(1, 100_000_000)
    cooldown: float = bounded(0.0, 0.9)
    lr: float = bounded(1e-7, 1.0)
    batch_size: int = bounded(1, 65536)
    width: int = bounded(8, 4096)
    average: float = bounded(0.0, 0.999999)
    holdout: float = bounded(0.01, 0.5)
    high: float = bounded(1e-3, 100.0)
    low: float = bounded(1e-4, 1.0)

    def __post_init__(self) -> None:
        if self.width % 8:
            raise ParamsError(f"scales.prior.width = {self.width}: a multiple of 8 is needed")
        if self.low >= self.high:
            raise ParamsError(f"scales.prior.low = {self.low:g}: must be below scales.prior.high = {self.high:g}")


@dataclass(frozen=True)
class Prior:
    """A trained denoiser, frozen, the noise levels that it knows, and which auxiliary images it was not fitted on."""

    denoiser: Denoiser
    high: float
    low: float
    held_out: frozenset[int]


class Training:
    """The fit of a denoiser to uint8 images (N, C, H, W), and the running mean of its weights, ``mean``.

    ``fitted`` and ``held_out`` are the numbers of the images that it learns from, and of those that it does not.
    """

    def __init__(self, images: Tensor, plan: Plan, flip: bool, runtime: Runtime, seed: int, *purpose: str) -> None:
        self.plan, self.flip, self.runtime = plan, flip, runtime
        self.draws = runtime.generator(seed, "prior", *purpose, "draws")
        order = torch.randperm(len(images), device=images.device, generator=self.draws)
        # at least one image on either side
        held = min(max(1, round(len(images) * plan.holdout)), max(1, len(images) - 1))
        self.held_out, self.fitted = order[:held], order[held:] if len(images) > 1 else order
        self.images, self.held = images, images[self.held_out[:MOST_HELD]]
        with runtime.seeded(seed, "prior", *purpose, "weights"):
            self.denoiser = runtime.place(Denoiser(images.shape[1], images.shape[2], plan.width))
        self.denoiser.standardize(images, self.fitted)
        self.mean = copy.deepcopy(self.denoiser).eval().requires_grad_(False)
        self.optimizer, self.steps = optimizers.Adam(self.denoiser.parameters(), plan.lr), 0
        self.an_epoch = max(1, len(self.fitted) // plan.batch_size)
        epochs, patience = (math.ceil(steps / self.an_epoch) for steps in (plan.steps, plan.patience))
        self.rate = UntilConverged(self.optimizer, epochs, patience, plan.cooldown)
        shape = self.held.shape
        self.noise = torch.randn(shape, device=images.device, generator=self.draws)  # the same for all epochs

    def step(self, images: Tensor) -> Tensor:
        """One optimizer step on uint8 images (B, C, H, W); returns the loss."""
        plan, n = self.plan, len(images)
        x = images.float() / 255
        if self.flip:
            x = augment(x, flip=True, jitter=0.0, generator=self.draws)
        # one draw for all, so that each batch has noise levels of all sizes
        share = torch.rand(1, device=x.device, generator=self.draws) + torch.arange(n, device=x.device) / n
        sigma = plan.high * (plan.low / plan.high) ** (share % 1)
        noise = torch.randn(x.shape, device=x.device, generator=self.draws)
        with self.runtime.autocast():
            loss = self.denoiser.relative_error(x, sigma, noise).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        # at first a mean over fewer steps, or the first weights would stay in it
        kept = min(plan.average, self.steps / (10 + self.steps))
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.denoiser.parameters(), strict=True):
                mean.lerp_(now, 1 - kept)
        return loss

    @torch.no_grad()
    def errors(self) -> list[float]:
        """Held-out error of the mean at each of LEVELS noise levels, the highest first, as the module says."""
        parts = [(x.float() / 255, noise) for x, noise in zip(self.held.split(64), self.noise.split(64), strict=True)]
        sigmas = [
            self.held.new_full((1,), s, dtype=torch.float32) for s in levels(self.plan.high, self.plan.low, LEVELS)
        ]
        found = [
            torch.cat([self.mean.relative_error(x, sigma.expand(len(x)), noise) for x, noise in parts]).mean()
            for sigma in sigmas
        ]
        return torch.stack(found).tolist()

    def fit(self, label: str) -> list[float]:
        """Train until the held-out error stops falling, as the plan says; returns :meth:`errors` of the last epoch."""
        bar = progress(range(self.rate.epochs), label)
        for _ in bar:
            for index in batches(len(self.fitted), self.plan.batch_size, self.draws):
                loss = self.step(self.images[self.fitted[index]])
            errors = self.errors()
            self.rate.step(sum(errors) / LEVELS)
            bar.set_postfix(loss=f"{loss.item():.3f}", held_out=f"{sum(errors) / LEVELS:.3f}")
            if self.rate.done:
                break
        return errors


def train_prior(dataset: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """Train the denoiser of a data set's auxiliary images.

    Writes priors/<dataset>.pt and .json; returns the latter.
    """
    plan, flip = params.scaled("prior", Plan), params.raw("training.flip")
    prepared, summary = open_dataset(paths, dataset)
    images = runtime.images(prepared.role("auxiliary")[0])
    batch = min(plan.batch_size, len(images))
    runtime = runtime.settled(
        f"denoiser {plan.width} wide of {tuple(images.shape[1:])}, batch {batch}",
        lambda place: partial(Training(images[:batch], plan, flip, place, 0).step, images[:batch]),
    )
    training = Training(images, plan, flip, runtime, params.seed, dataset)
    log.info("prior/%s: at most %d epochs on %d images, %s", dataset, training.rate.epochs, len(images), runtime.name)
    errors = training.fit(f"prior/{dataset}")
    size = {"channels": images.shape[1], "side": images.shape[2], "width": plan.width}
    result = {
        "provenance": provenance(params.scale, params.seed, runtime.name, f"prior/{dataset}"),
        "dataset": summary["title"],
        "parameters": count.parameters(training.denoiser),
        "training": {**asdict(plan), "steps_run": training.steps, "still_improving": training.rate.still_falling},
        "fit_images": len(training.fitted),
        "holdout_images": len(training.held_out),
        # 1 is the error of the best pixel-by-pixel answer
        "relative_error": [
            {"noise": noise, "relative_error": error}
            for noise, error in zip(levels(plan.high, plan.low, LEVELS), errors, strict=True)
        ],
    }
    state = {"dataset": dataset, "size": size, "high": plan.high, "low": plan.low}
    state |= {"held_out": training.held_out.cpu(), "denoiser": training.mean.state_dict()}
    write_checkpoint(paths.prior(dataset), state)
    write_json(paths.prior(dataset).with_suffix(".json"), result)
    shares = ", ".join(f"{error:.2f}" for error in errors)
    log.info("prior/%s: %d steps; error at noise %g to %g: %s of the trivial answer's", dataset, training.steps,
             plan.high, plan.low, shares)  # fmt: skip
    return result


def load_prior(paths: Paths, dataset: str, runtime: Runtime) -> Prior:
    """A data set's prior, frozen, onto the runtime's device.

    Raises FileNotFoundError or DamagedFile, when it is absent, or damaged or of another data set.
    """
    file = paths.prior(dataset)
    try:
        state = read_checkpoint(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} is missing: `dvc repro train_prior@{dataset}` trains it") from None
    with reading(file):
        if state["dataset"] != dataset:
            raise ValueError(f"it is that of {state['dataset']}")
        denoiser = Denoiser(**state["size"])
        denoiser.load_state_dict(state["denoiser"])
        denoiser = runtime.place(denoiser).eval().requires_grad_(False)
        return Prior(denoiser, float(state["high"]), float(state["low"]), frozenset(state["held_out"].tolist()))
