"""MLE attack: optimize the pixels until the edge's feature meets the intercepted one; the paper's equations (2)-(3).

``paper`` is the authors' optimizer: SGD from Gaussian noise on the mean over batch and feature, plus the root of a
batch-wide total variation. Its gradients are so small that it often ends where it started; the result shows it.
``tuned`` is an attack that moves: Adam from gray (with a little noise, since a constant image ties every max-pool and
can leave a funnel without gradient), a sum per image (relative to the feature's own energy, so that one weight of the
total variation means the same for every defense), pixels kept in [0, 1], learning rate and total variation chosen on
auxiliary images with a stated number of trials. The defense says how a candidate's feature is compared with what it
released. Hybrid (hybrid.py) is the same from a better start.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from splitprobe import measures, optimizers
from splitprobe.attacks.base import Attack, intercepted
from splitprobe.params import Params, bounded
from splitprobe.runtime import progress
from splitprobe.target import Target

CURVE_POINTS = 50


@dataclass(frozen=True)
class Paper:
    """The section ``attack.mle.paper``."""

    lr: float = bounded(1e-9, 1000.0)
    momentum: float = bounded(0.0, 0.999)
    tv: float = bounded(0.0, 1e9)


@dataclass(frozen=True)
class Grid:
    """The section ``attack.mle.hybrid``: the values to choose from; every pair of them is a trial."""

    lr: tuple[float, ...] = bounded(1e-9, 1000.0)
    tv: tuple[float, ...] = bounded(0.0, 1e9)


@dataclass(frozen=True)
class Tuned(Grid):
    """The section ``attack.mle.tuned``: these, and the noise on the gray start."""

    start_noise: float = bounded(0.0, 1.0)


@dataclass(frozen=True)
class Settings:
    """The section ``attack.mle``: its variants."""

    paper: Paper
    tuned: Tuned
    hybrid: Grid


@dataclass(frozen=True)
class Plan:
    """The section ``scales.<scale>.mle``."""

    images: int = bounded(1, 100000)
    steps: int = bounded(1, 1_000_000)
    trial_images: int = bounded(1, 10000)
    trial_steps: int = bounded(1, 1_000_000)


def total_variation(x: Tensor) -> Tensor:
    """Mean squared difference of vertical plus that of horizontal neighbors, one number per image (N,)."""
    vertical, horizontal = x[:, :, 1:] - x[:, :, :-1], x[:, :, :, 1:] - x[:, :, :, :-1]
    return vertical.square().mean((1, 2, 3)) + horizontal.square().mean((1, 2, 3))


class Mle(Attack):
    """The common descent; a variant gives start, loss and optimizer."""

    family, kind, access = "mle", "variants", "white-box"

    def __init__(self, name: str, target: Target, seed: int, plan: Plan, truth: Tensor) -> None:
        super().__init__(name, target, seed)
        self.plan, self.truth, self.start_psnr_db = plan, truth, float("nan")

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """The scalar to minimize."""
        raise NotImplementedError

    def step(self, x: Tensor, z: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One iteration on the pixels; the loss before it."""
        loss = self.loss(x, z)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    def descend(self, x: Tensor, z: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> Tensor:
        """All iterations; x_hat (N, C, H, W) in [0, 1]. The curve's PSNR is for the reader, never for choosing."""
        every = max(1, steps // CURVE_POINTS)
        bar = progress(range(steps), f"{self.target.cell.name} MLE {self.name}", "step")
        self.start_psnr_db = self._psnr(x)
        for i in bar:
            before = self._psnr(x) if i % every == 0 else None
            loss = self.step(x, z, optimizer)
            if before is not None:
                row = {"step": i, f"{self.name}_psnr_db": before, f"{self.name}_loss": loss.item()}
                self.curve.append(row)
                bar.set_postfix(loss=f"{row[f'{self.name}_loss']:.4g}")
        return x.detach().clamp(0, 1)

    def _psnr(self, x: Tensor) -> float:
        return measures.psnr(measures.mse(self.truth, x.detach().clamp(0, 1))).mean().item()

    def facts(self) -> dict[str, Any]:
        """Budget and start."""
        return {"steps": self.plan.steps, "start_psnr_db": self.start_psnr_db}


class PaperMle(Mle):
    """SGD from N(0, 1), mean over everything, lambda sqrt(TV) of the whole batch, clamped only at the end."""

    def __init__(self, target: Target, seed: int, settings: Paper, plan: Plan, truth: Tensor) -> None:
        super().__init__("paper", target, seed, plan, truth)
        self.settings = settings

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Mean squared feature distance plus the weighted root of the mean total variation."""
        return F.mse_loss(self.target.edge(x), z) + self.settings.tv * total_variation(x).mean().sqrt()

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Descend from Gaussian noise."""
        x = torch.randn(len(z), *shape, device=z.device, generator=self.generator("start")).requires_grad_()
        optimizer = optimizers.SGD([x], self.settings.lr, self.settings.momentum)
        return self.descend(x, z, optimizer, self.plan.steps)

    def facts(self) -> dict[str, Any]:
        """Budget and settings."""
        return {**super().facts(), "lr": self.settings.lr, "tv": self.settings.tv}


class TunedMle(Mle):
    """Adam from gray; learning rate and TV weight chosen on auxiliary images; each image's best iterate is kept."""

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
        self.improves = True  # whether a trial came nearer to its images than their start

    def objective(self, x: Tensor, z: Tensor) -> Tensor:
        """What an image is optimized for, (N,): relative squared feature distance plus the weighted total variation."""
        energy = z.square().sum((1, 2, 3)).clamp_min(1e-12)
        distance = self.target.defense.mismatch(self.target.edge(x), z, self.queries).square().sum((1, 2, 3))
        return distance / energy + self.weights * total_variation(x)

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """The sum of all images' objectives."""
        return self.objective(x, z).sum()

    def keep(self, x: Tensor, values: Tensor) -> None:
        """Note the images (N, C, H, W) whose objective (N,) is the lowest so far."""
        if self.lowest is None:
            self.lowest, self.best = values.clone(), x.clone()
            return
        better = values < self.lowest
        self.lowest = torch.where(better, values, self.lowest)
        self.best = torch.where(better[:, None, None, None], x, self.best)

    def step(self, x: Tensor, z: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One iteration, projected back to [0, 1]; keeps each image's best iterate."""
        return self.iterate([x], z, optimizer)

    def iterate(self, parts: list[Tensor], z: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """The same on a batch that lies in several tensors."""
        x = torch.cat(parts)
        values = self.objective(x, z)
        self.keep(x.detach(), values.detach())
        loss = values.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for part in parts:
                part.clamp_(0, 1)
        return loss

    @torch.no_grad()
    def finish(self, x: Tensor, z: Tensor) -> Tensor:
        """The best iterate of each image, the last one counted in."""
        self.keep(x.detach(), self.objective(x, z))
        best, self.lowest = self.best, None
        return best

    def start(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Gray with a little noise (N, *shape), the same one at every call."""
        noise = torch.randn(len(z), *shape, device=z.device, generator=self.generator("start"))
        return (0.5 + self.settings.start_noise * noise).clamp(0, 1)

    def fit(self, auxiliary: Tensor) -> None:
        """Choose learning rate and weight on a few auxiliary images."""
        self.choose(self.shuffled(auxiliary)[: self.plan.trial_images])

    def choose(self, images: Tensor) -> None:
        """Run every trial on these images, keep the one with the smallest mean squared error.

        All trials share one batch: images do not interact, so each has its own learning rate and weight.
        """
        (z,) = intercepted(self, images)
        first = self.start(z, tuple(images.shape[1:]))
        starts = [first.clone().requires_grad_() for _ in self.trials]
        groups = [{"params": [x], "lr": lr} for x, (lr, _) in zip(starts, self.trials, strict=True)]
        optimizer = optimizers.Adam(groups)
        tv = torch.tensor([tv for _, tv in self.trials], device=z.device)
        self.weights = tv.repeat_interleave(len(images))
        many = z.repeat(len(self.trials), 1, 1, 1)
        for _ in progress(range(self.plan.trial_steps), f"{self.target.cell.name} MLE trials", "step"):
            self.iterate(starts, many, optimizer)
        found = self.finish(torch.cat(starts), many).split(len(images))
        errors = [measures.mse(images, x).mean().item() for x in found]
        self.lr, self.tv = self.trials[errors.index(min(errors))]
        self.weights = self.tv
        self.improves = min(errors) < measures.mse(images, first).mean().item()

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Descend from the start with the chosen settings; no image ends with a higher objective than it began with."""
        x = self.start(z, shape).requires_grad_()
        self.descend(x, z, optimizers.Adam([x], self.lr), self.plan.steps)
        return self.finish(x, z)

    def facts(self) -> dict[str, Any]:
        """Budget, trials and the choice."""
        trials = {
            "trials": len(self.trials),
            "trial_images": self.plan.trial_images,
            "trial_steps": self.plan.trial_steps,
        }
        return {**super().facts(), "lr": self.lr, "tv": self.tv, **trials}


def build(target: Target, params: Params, test: Tensor, built: Mapping[str, Attack]) -> tuple[list[Attack], Tensor]:
    """All variants of ``attack.mle``, and the test images to attack (the first ones)."""
    settings, plan = params.section("attack.mle", Settings), params.scaled("mle", Plan)
    truth = test[: plan.images]
    paper = PaperMle(target, params.seed, settings.paper, plan, truth)
    return [paper, TunedMle(target, params.seed, settings.tuned, plan, truth)], truth
