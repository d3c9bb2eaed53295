"""MLE attack: optimize pixels until the edge's feature meets the intercepted one; the paper's equations (2)-(3).

``paper`` is the authors' optimizer: SGD from Gaussian noise on the mean over batch and feature, plus the root of a
batch-wide total variation. Its gradients are so small that it often ends where it started; the result shows it.

``tuned`` is an attack that moves: Adam from gray, on a sum per image, with pixels kept in [0, 1]. Learning rate and
weight of the total variation are chosen on auxiliary images with a stated number of trials. The defense says how a
candidate's feature is compared with what it released. The hybrid attack (hybrid.py) is ``tuned`` from a better start.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from splitprobe.attacks.base import Attack, intercepted
from splitprobe.core.params import Params, bounded
from splitprobe.core.runtime import progress
from splitprobe.learning import measures, optimizers
from splitprobe.targets.target import Target

CURVE_POINTS = 50  # rows of the curve, about; each costs a PSNR of all images


@dataclass(frozen=True)
class Paper:
    """The section ``attack.mle.paper``; ``tv`` is the weight of the total variation."""

    lr: float = bounded(1e-9, 1000.0)
    momentum: float = bounded(0.0, 0.999)
    tv: float = bounded(0.0, 1e9)


@dataclass(frozen=True)
class Grid:
    """The section ``attack.mle.hybrid``: values to choose from. Every pair of a rate and a weight is one trial."""

    lr: tuple[float, ...] = bounded(1e-9, 1000.0, items=(1, 100), distinct=True)
    tv: tuple[float, ...] = bounded(0.0, 1e9, items=(1, 100), distinct=True)


@dataclass(frozen=True)
class Tuned(Grid):
    """The section ``attack.mle.tuned``: values to choose from, and the deviation of the noise on the gray start."""

    start_noise: float = bounded(0.0, 1.0)


@dataclass(frozen=True)
class Settings:
    """The section ``attack.mle``: settings of each variant."""

    paper: Paper
    tuned: Tuned
    hybrid: Grid


@dataclass(frozen=True)
class Plan:
    """The section ``scales.mle``: test images and steps of the attack.

    ``trial_images`` and ``trial_steps`` are those of each trial. Where a data set has fewer images, all are used.
    """

    images: int = bounded(1, 100000)
    steps: int = bounded(1, 1_000_000)
    trial_images: int = bounded(1, 10000)
    trial_steps: int = bounded(1, 1_000_000)


def total_variation(x: Tensor) -> Tensor:
    """Mean squared differences of vertical and of horizontal neighbors in x (N, C, H, W), added up, as (N,)."""
    vertical, horizontal = x[:, :, 1:] - x[:, :, :-1], x[:, :, :, 1:] - x[:, :, :, :-1]
    return vertical.square().mean((1, 2, 3)) + horizontal.square().mean((1, 2, 3))


class Mle(Attack):
    """The optimization that all variants share; a variant gives start, loss and optimizer.

    ``truth`` are the original images, which only the curve is compared with.
    """

    family, kind, access = "mle", "variants", "white-box"

    def __init__(self, name: str, target: Target, seed: int, plan: Plan, truth: Tensor) -> None:
        super().__init__(name, target, seed)
        self.plan, self.truth, self.start_psnr_db = plan, truth, float("nan")

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """The scalar to minimize, for candidates x (N, C, H, W) and observed z (N, c, h, w)."""
        raise NotImplementedError

    def step(self, x: Tensor, z: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One optimizer step on the pixels x; returns the loss before it."""
        loss = self.loss(x, z)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    def descend(self, x: Tensor, z: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> Tensor:
        """Run ``steps`` steps on the pixels x; returns x_hat (N, C, H, W) in [0, 1].

        The PSNR in the curve needs the original images. It is for the reader and never used to choose anything.
        """
        interval = max(1, steps // CURVE_POINTS)
        bar = progress(range(steps), f"{self.target.cell.name} MLE {self.name}", "step")
        self.start_psnr_db = self._psnr(x)
        for i in bar:
            # taken before the step, which changes x in place
            psnr_db = self._psnr(x) if i % interval == 0 else None
            loss = self.step(x, z, optimizer)
            if psnr_db is not None:
                row = {"step": i, f"{self.name}_psnr_db": psnr_db, f"{self.name}_loss": loss.item()}
                self.curve.append(row)
                bar.set_postfix(loss=f"{row[f'{self.name}_loss']:.4g}")
        return x.detach().clamp(0, 1)

    def _psnr(self, x: Tensor) -> float:
        """Mean PSNR of x, clamped to [0, 1], against the originals, in dB."""
        return measures.psnr(measures.mse(self.truth, x.detach().clamp(0, 1))).mean().item()

    def facts(self) -> dict[str, Any]:
        """Number of steps, and the PSNR of the start."""
        return {"steps": self.plan.steps, "start_psnr_db": self.start_psnr_db}


class PaperMle(Mle):
    """SGD from N(0, 1) noise, with the authors' loss.

    That is a mean over everything plus lambda sqrt(TV) of the whole batch. Pixels are clamped only at the end.
    """

    def __init__(self, target: Target, seed: int, settings: Paper, plan: Plan, truth: Tensor) -> None:
        super().__init__("paper", target, seed, plan, truth)
        self.settings = settings

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Mean squared feature distance plus the weighted root of the batch's mean total variation."""
        return F.mse_loss(self.target.edge(x), z) + self.settings.tv * total_variation(x).mean().sqrt()

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Optimize from Gaussian noise; returns x_hat (N, C, H, W) in [0, 1]."""
        x = torch.randn(len(z), *shape, device=z.device, generator=self.generator("start")).requires_grad_()
        optimizer = optimizers.SGD([x], self.settings.lr, self.settings.momentum)
        return self.descend(x, z, optimizer, self.plan.steps)

    def facts(self) -> dict[str, Any]:
        """Budget and settings, for the result."""
        return {**super().facts(), "lr": self.settings.lr, "tv": self.settings.tv}


class TunedMle(Mle):
    """Adam from gray, with settings chosen on auxiliary images; the best step of each image is kept."""

    def __init__(
        self, target: Target, seed: int, settings: Grid, plan: Plan, truth: Tensor, name: str = "tuned"
    ) -> None:
        super().__init__(name, target, seed, plan, truth)
        self.settings = settings
        self.trials = list(itertools.product(settings.lr, settings.tv))
        self.lr, self.tv = self.trials[0]
        self.weights: Tensor | float = self.tv
        self.lowest: Tensor | None = None
        self.best: Tensor | None = None
        self.tried = 0  # images that a trial was run on
        self.improves = True  # whether the best trial came nearer to its images than their start was

    def objective(self, x: Tensor, z: Tensor) -> Tensor:
        """The objective (N,) of images x: relative squared feature distance plus weighted total variation.

        The distance is relative to the energy of z, so that one weight of the total variation means the same for every
        defense.
        """
        # the least value, because a dead feature has no energy
        energy = z.square().sum((1, 2, 3)).clamp_min(1e-12)
        distance = self.target.defense.mismatch(self.target.edge(x), z, self.queries).square().sum((1, 2, 3))
        return distance / energy + self.weights * total_variation(x)

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """The sum of the objectives of all images, a scalar."""
        return self.objective(x, z).sum()

    def keep(self, x: Tensor, values: Tensor) -> None:
        """Remember those of the images (N, C, H, W) whose objective (N,) is the lowest so far."""
        if self.lowest is None:
            self.lowest, self.best = values.clone(), x.clone()
            return
        better = values < self.lowest
        self.lowest = torch.where(better, values, self.lowest)
        self.best = torch.where(better[:, None, None, None], x, self.best)

    def step(self, x: Tensor, z: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One optimizer step, with x then clamped to [0, 1]; keeps the best step of each image. Returns the loss."""
        return self.iterate([x], z, optimizer)

    def iterate(self, parts: list[Tensor], z: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One optimizer step on a batch of images that lies in several tensors, ``parts``; returns the loss before it.

        Remembers each image's best step, and clamps the parts to [0, 1] afterwards.
        """
        x = torch.cat(parts)
        values = self.objective(x, z)
        self.keep(x.detach(), values.detach())
        loss = values.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for part in parts:  # in place, on the leaves that the optimizer holds
                part.clamp_(0, 1)
        return loss

    @torch.no_grad()
    def finish(self, x: Tensor, z: Tensor) -> Tensor:
        """The best step of each image (N, C, H, W), with the final x counted in; forgets them afterwards."""
        self.keep(x.detach(), self.objective(x, z))
        # None, so that the next batch starts anew
        best, self.lowest = self.best, None
        return best

    def start(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Gray images (N, *shape) with a little noise, the same at every call."""
        # noise, because a constant image ties every max-pool and can leave a funnel without gradient
        noise = torch.randn(len(z), *shape, device=z.device, generator=self.generator("start"))
        return (0.5 + self.settings.start_noise * noise).clamp(0, 1)

    def fit(self, auxiliary: Tensor) -> None:
        """Choose learning rate and total variation weight on a few auxiliary images."""
        self.choose(self.shuffled(auxiliary)[: self.plan.trial_images])

    def choose(self, images: Tensor) -> None:
        """Run every trial on uint8 images (N, C, H, W) and adopt the settings with the smallest mean squared error."""
        self.tried = len(images)
        # a single draw: this attack intercepts once
        (z,) = intercepted(self, images)
        start = self.start(z, tuple(images.shape[1:]))
        # all trials share one batch: images do not interact, so each trial keeps its own rate and weight
        starts = [start.clone().requires_grad_() for _ in self.trials]
        groups = [{"params": [x], "lr": lr} for x, (lr, _) in zip(starts, self.trials, strict=True)]
        optimizer = optimizers.Adam(groups)
        tv = torch.tensor([tv for _, tv in self.trials], device=z.device)
        self.weights = tv.repeat_interleave(len(images))
        repeated_z = z.repeat(len(self.trials), 1, 1, 1)
        for _ in progress(range(self.plan.trial_steps), f"{self.target.cell.name} MLE trials", "step"):
            self.iterate(starts, repeated_z, optimizer)
        results = self.finish(torch.cat(starts), repeated_z).split(len(images))
        errors = [measures.mse(images, x).mean().item() for x in results]
        # by the error of the images, which the attacker knows for auxiliary ones
        self.lr, self.tv = self.trials[errors.index(min(errors))]
        self.weights = self.tv
        self.improves = min(errors) < measures.mse(images, start).mean().item()

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Optimize from the start with the chosen settings; returns x_hat (N, C, H, W) in [0, 1].

        No image ends with a higher objective than it began with.
        """
        x = self.start(z, shape).requires_grad_()
        self.descend(x, z, optimizers.Adam([x], self.lr), self.plan.steps)
        return self.finish(x, z)

    def facts(self) -> dict[str, Any]:
        """Budget, number and size of the trials, and the chosen settings."""
        trials = {
            "trials": len(self.trials),
            "trial_images": self.tried,
            "trial_steps": self.plan.trial_steps,
        }
        return {**super().facts(), "lr": self.lr, "tv": self.tv, **trials}


def build(target: Target, params: Params, test: Tensor, built: Mapping[str, Attack]) -> tuple[list[Attack], Tensor]:
    """The variants ``paper`` and ``tuned``, and the test images that they attack (the first ones)."""
    settings, plan = params.section("attack.mle", Settings), params.scaled("mle", Plan)
    truth = test[: plan.images]
    paper = PaperMle(target, params.seed, settings.paper, plan, truth)
    return [paper, TunedMle(target, params.seed, settings.tuned, plan, truth)], truth
