"""MLE attack: optimize pixels until the edge's feature meets the intercepted one; the paper's equations (2)-(3).

``paper`` is the authors' optimizer: SGD from Gaussian noise on the mean over batch and feature, plus the root of a
batch-wide total variation. Its gradients are so small that it often ends where it started; the result shows it.

``tuned`` is an attack that moves: Adam from gray, on a sum per image, with pixels kept in [0, 1]. A feature may be met
better and the image get worse, so all that decides how far it goes is chosen on auxiliary images, by their PSNR: the
learning rate and its decay, the weight of the total variation, and the number of steps, 0 among them. Every pair of
rate and weight is tried with few steps, and the best pairs go on, with each decay, to the most steps allowed. The
attack then runs as many steps as were best, and the results say whether more would still have helped. The defense says
how a candidate's feature is compared with what it released. The hybrid attack (hybrid.py) is ``tuned`` from a better
start.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from splitprobe.attacks.base import Attack, intercepted
from splitprobe.core.params import Params, bounded
from splitprobe.core.runtime import progress
from splitprobe.learning import measures, optimizers
from splitprobe.learning.replay import Replay
from splitprobe.targets.target import Target

CURVE_POINTS = 50  # rows of the curve, about; each costs a PSNR of all images
CHECKS = 40  # numbers of steps that are compared, about, in equal ratios up to the most allowed


@dataclass(frozen=True)
class Paper:
    """The section ``attack.mle.paper``; ``tv`` is the weight of the total variation."""

    lr: float = bounded(1e-9, 1000.0)
    momentum: float = bounded(0.0, 0.999)
    tv: float = bounded(0.0, 1e9)


@dataclass(frozen=True)
class Grid:
    """The section ``attack.mle.hybrid``: values to choose from.

    ``decay`` is what the learning rate has fallen to, as a share of the first step's, after the most steps allowed; it
    falls by the same factor at each step.
    """

    lr: tuple[float, ...] = bounded(1e-9, 1000.0, items=(1, 100), distinct=True)
    tv: tuple[float, ...] = bounded(0.0, 1e9, items=(1, 100), distinct=True)
    decay: tuple[float, ...] = bounded(1e-9, 1.0, items=(1, 100), distinct=True)


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
    """The section ``scales.mle``: number of test images, and of steps: of ``paper``, and the most of other variants.

    Each trial takes ``trial_steps`` on ``trial_images``; the best ``finalists`` go on with ``final_images``.
    """

    images: int = bounded(1, 100000)
    steps: int = bounded(1, 1_000_000)
    most_steps: int = bounded(1, 1_000_000)
    trial_images: int = bounded(1, 10000)
    trial_steps: int = bounded(1, 1_000_000)
    finalists: int = bounded(1, 1000)
    final_images: int = bounded(1, 10000)


@dataclass(frozen=True)
class Trial:
    """Settings of one optimization: learning rate, weight of the total variation, decay of the rate."""

    lr: float
    tv: float
    decay: float = 1.0


def total_variation(x: Tensor) -> Tensor:
    """Mean squared differences of vertical and of horizontal neighbors in x (N, C, H, W), added up, as (N,)."""
    vertical, horizontal = x[:, :, 1:] - x[:, :, :-1], x[:, :, :, 1:] - x[:, :, :, :-1]
    return vertical.square().mean((1, 2, 3)) + horizontal.square().mean((1, 2, 3))


def decibels(images: Tensor, x: Tensor) -> Tensor:
    """PSNR (N,) of x (N, C, H, W) in [0, 1] against uint8 images; NaN where an optimization diverged."""
    return measures.psnr((images.float() / 255 - x).square().mean((1, 2, 3)))


class Mle(Attack):
    """The optimization that all variants share; a variant gives start, loss and optimizer.

    ``truth`` are the original images, which only the curve is compared with.
    """

    family, kind, access = "mle", "variants", "white-box"
    replayable: ClassVar[bool] = True  # whether steps may be recorded as a CUDA graph

    def __init__(self, name: str, target: Target, seed: int, plan: Plan, truth: Tensor) -> None:
        super().__init__(name, target, seed)
        self.plan, self.truth, self.start_psnr_db = plan, truth, float("nan")

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """The scalar to minimize, for candidates x (N, C, H, W) and observed z (N, c, h, w)."""
        raise NotImplementedError

    def stepper(self, parts: list[Tensor], z: Tensor, optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
        """A function that makes the next optimizer step on a batch of images that lies in several tensors.

        It returns the loss before the step, which the next one may overwrite on a GPU.
        """
        replay = Replay(partial(self.update, parts, z, optimizer), self.target.runtime, optimizer, (), self.replayable)

        def step() -> Tensor:
            loss = replay()
            self.after(optimizer)
            return loss

        return step

    def update(self, parts: list[Tensor], z: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """The part of a step that is the same each time, and runs on the device alone."""
        loss = self.loss(torch.cat(parts), z)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    def after(self, optimizer: torch.optim.Optimizer) -> None:
        """End a step: what Python has to do."""

    def descend(self, x: Tensor, z: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> Tensor:
        """Run ``steps`` steps on the pixels x; returns x_hat (N, C, H, W) in [0, 1].

        The PSNR in the curve needs the original images. It is for the reader and never used to choose anything.
        """
        interval = max(1, steps // CURVE_POINTS)
        bar = progress(range(steps), f"{self.target.cell.name} MLE {self.name}", "step")
        self.start_psnr_db, step = self._psnr(x), self.stepper([x], z, optimizer)
        for i in bar:
            # taken before the step, which changes x in place
            psnr_db = self._psnr(x) if i % interval == 0 else None
            loss = step()
            if psnr_db is not None:
                row = {"step": i, f"{self.name}_psnr_db": psnr_db, f"{self.name}_loss": loss.item()}
                self.curve.append(row)
                bar.set_postfix(loss=f"{row[f'{self.name}_loss']:.4g}")
        return x.detach().clamp(0, 1)

    def _psnr(self, x: Tensor) -> float:
        """Mean PSNR of x, clamped to [0, 1], against the originals, in dB."""
        return decibels(self.truth, x.detach().clamp(0, 1)).mean().item()

    def facts(self) -> dict[str, Any]:
        """The PSNR of the start."""
        return {"start_psnr_db": self.start_psnr_db}


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
        return {"steps": self.plan.steps, **super().facts(), "lr": self.settings.lr, "tv": self.settings.tv}


class TunedMle(Mle):
    """Adam from gray, with its settings and its number of steps chosen on auxiliary images."""

    def __init__(
        self, target: Target, seed: int, settings: Grid, plan: Plan, truth: Tensor, name: str = "tuned"
    ) -> None:
        super().__init__(name, target, seed, plan, truth)
        self.settings = settings
        self.trials = [Trial(lr, tv) for lr, tv in itertools.product(settings.lr, settings.tv)]
        self.chosen, self.steps, self.choice_psnr_db = self.trials[0], plan.most_steps, float("nan")
        self.seen = 0  # images that were there for the trials
        self.weights: Tensor | float = self.chosen.tv

    def objective(self, x: Tensor, z: Tensor) -> Tensor:
        """The objective (N,) of images x: relative squared feature distance plus the penalty.

        The distance is relative to the energy of z, so that one weight means the same for every defense.
        """
        # the least value, because a dead feature has no energy
        energy = z.square().sum((1, 2, 3)).clamp_min(1e-12)
        distance = self.target.defense.mismatch(self.target.edge(x), z, self.queries).square().sum((1, 2, 3))
        return distance / energy + self.penalty(x)

    def penalty(self, x: Tensor) -> Tensor:
        """What images x (N, C, H, W) are punished for, (N,), each with the weight of its trial: total variation."""
        return self.weights * total_variation(x)

    def weigh(self, trials: list[Trial], images: int, device: torch.device) -> None:
        """Take the weights of several trials, each with so many images in a batch."""
        self.weights = torch.tensor([trial.tv for trial in trials], device=device).repeat_interleave(images)

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """The sum of the objectives of all images, a scalar."""
        return self.objective(x, z).sum()

    def optimizer(self, pixels: list[Tensor], trials: list[Trial]) -> torch.optim.Adam:
        """Adam on several batches of images, each with the rate of its own trial and what this falls by at a step."""
        fall = (trial.decay ** (1 / self.plan.most_steps) for trial in trials)
        groups = zip(pixels, trials, fall, strict=True)
        return optimizers.Adam([{"params": [x], "lr": trial.lr, "fall": by} for x, trial, by in groups])

    def update(self, parts: list[Tensor], z: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One optimizer step, with the images then clamped to [0, 1]."""
        loss = super().update(parts, z, optimizer)
        with torch.no_grad():
            for part in parts:  # in place, on the leaves that the optimizer holds
                part.clamp_(0, 1)
        return loss

    def after(self, optimizer: torch.optim.Optimizer) -> None:
        """Lower the learning rates."""
        for group in optimizer.param_groups:
            group["lr"] *= group["fall"]

    def start(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Gray images (N, *shape) with a little noise, the same at every call."""
        # noise, because a constant image ties every max-pool and can leave a funnel without gradient
        noise = torch.randn(len(z), *shape, device=z.device, generator=self.generator("start"))
        return (0.5 + self.settings.start_noise * noise).clamp(0, 1)

    def fit(self, auxiliary: Tensor) -> None:
        """Choose settings and number of steps on a few auxiliary images."""
        self.choose(self.shuffled(auxiliary, slice(max(self.plan.trial_images, self.plan.final_images))))

    def choose(self, images: Tensor) -> None:
        """Adopt the settings and the number of steps that bring uint8 images (N, C, H, W) the highest mean PSNR."""
        plan, self.seen = self.plan, len(images)
        curves = self.tried(images[: plan.trial_images], self.trials, min(plan.trial_steps, plan.most_steps))
        highest = [max(row[i] for row in curves.values()) for i in range(len(self.trials))]
        order = sorted(range(len(self.trials)), key=lambda i: -highest[i])
        pairs = itertools.product((self.trials[i] for i in order[: plan.finalists]), self.settings.decay)
        self.decide(images, [replace(trial, decay=decay) for trial, decay in pairs])

    def decide(self, images: Tensor, finalists: list[Trial]) -> None:
        """Adopt that of these settings, and that number of steps, which are best on uint8 images (N, C, H, W)."""
        plan, self.seen = self.plan, len(images)
        curves = self.tried(images[: plan.final_images], finalists, plan.most_steps)
        self.steps, place = best(curves)
        self.choice_psnr_db, self.chosen = curves[self.steps][place], finalists[place]
        self.weigh([self.chosen], 1, images.device)

    def tried(self, images: Tensor, trials: list[Trial], steps: int) -> dict[int, list[float]]:
        """Run trials on uint8 images (N, C, H, W); returns the mean PSNR of each by number of steps, from 0 on.

        Ends before ``steps`` where nothing has improved for as long as the best took, and for ``trial_steps``.
        """
        # a single draw: this attack intercepts once
        (z,) = intercepted(self, images)
        start = self.start(z, tuple(images.shape[1:]))
        # all trials share one batch: images do not interact, so each trial keeps its own rate and weight
        parts = [start.clone().requires_grad_() for _ in trials]
        optimizer = self.optimizer(parts, trials)
        self.weigh(trials, len(images), z.device)
        step, curves = self.stepper(parts, z.repeat(len(trials), 1, 1, 1), optimizer), {}
        checks = checkpoints(steps)
        for i in progress(range(steps + 1), f"{self.target.cell.name} MLE trials", "step"):
            if i in checks:
                means = [decibels(images, x.detach()).mean() for x in parts]
                # a trial that diverged is the worst
                curves[i] = torch.stack(means).nan_to_num(nan=-math.inf).tolist()
                top, _ = best(curves)
                if i >= max(2 * top, top + self.plan.trial_steps):
                    break
            if i < steps:
                step()
        return curves

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Optimize from the start as chosen; returns x_hat (N, C, H, W) in [0, 1]."""
        x = self.start(z, shape).requires_grad_()
        return self.descend(x, z, self.optimizer([x], [self.chosen]), self.steps)

    def facts(self) -> dict[str, Any]:
        """What was chosen, whether more steps would still have helped, and number and size of the trials."""
        plan = self.plan
        return {
            "steps": self.steps,
            "most_steps": plan.most_steps,
            "still_improving": self.steps == plan.most_steps,
            **super().facts(),
            "choice_psnr_db": self.choice_psnr_db,
            **asdict(self.chosen),
            "trials": len(self.trials),
            "trial_images": min(plan.trial_images, self.seen),
            "trial_steps": plan.trial_steps,
            "finalists": min(plan.finalists, len(self.trials)) * len(self.settings.decay),
            "final_images": min(plan.final_images, self.seen),
        }


def checkpoints(steps: int) -> set[int]:
    """The numbers of steps that are compared: 0, 1, and in about equal ratios up to ``steps``."""
    return {0} | {round(steps ** (i / CHECKS)) for i in range(CHECKS + 1)}


def best(curves: Mapping[int, list[float]]) -> tuple[int, int]:
    """The number of steps and the place of the highest value in lists by number of steps; the first of equal ones."""
    places = ((steps, i) for steps, row in curves.items() for i in range(len(row)))
    return max(places, key=lambda place: curves[place[0]][place[1]])


def build(target: Target, params: Params, test: Tensor, built: Mapping[str, Attack]) -> tuple[list[Attack], Tensor]:
    """The variants ``paper`` and ``tuned``, and the test images that they attack (the first ones)."""
    settings, plan = params.section("attack.mle", Settings), params.scaled("mle", Plan)
    truth = test[: plan.images]
    paper = PaperMle(target, params.seed, settings.paper, plan, truth)
    return [paper, TunedMle(target, params.seed, settings.tuned, plan, truth)], truth
