"""Epochs, learning rate, batches and BatchNorm statistics of everything that is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from splitprobe.core.params import bounded
from splitprobe.learning import optimizers

S = TypeVar("S", bound="Schedule")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained, such as the section ``scales.target.<model>``.

    ``least_steps`` raises the number of epochs for a small set of images.
    """

    epochs: int = bounded(1, 100000)
    lr: float = bounded(1e-7, 1.0)
    schedule: str = bounded(choices=("constant", "cosine", "plateau"))
    least_steps: int = bounded(0, 100_000_000)

    def on(self: S, images: int, batch_size: int) -> S:
        """The same schedule with the epochs that a set of ``images`` images needs for ``least_steps``."""
        return replace(self, epochs=enough(self.epochs, self.least_steps, images, batch_size))


@dataclass(frozen=True)
class Course(Schedule):
    """A schedule that begins with a warm-up: a share of all steps, or from 1 on their number."""

    warmup: float = bounded(0.0, 1_000_000.0)

    def warmup_steps(self, steps: int) -> int:
        """The first of ``steps`` optimizer steps in all, in which the rate rises to its full value."""
        return round(self.warmup * steps if self.warmup < 1 else self.warmup)


def enough(epochs: int, least_steps: int, images: int, batch_size: int) -> int:
    """``epochs``, or as many as ``least_steps`` full batches need, if those are more."""
    # a small set gives few steps an epoch, and would be under-trained
    return max(epochs, math.ceil(least_steps / max(1, images // batch_size)))


@dataclass(frozen=True)
class Adam:
    """Settings of Adam for networks and decoders alike.

    The plateau keys serve the schedule "plateau". ``statistics_batches`` renew BatchNorm's statistics after an epoch.
    """

    batch_size: int = bounded(2, 65536)
    betas: tuple[float, ...] = bounded(0.0, 0.99999, items=(2, 2))
    amsgrad: bool
    plateau_factor: float = bounded(0.01, 0.99)
    plateau_patience: int = bounded(1, 10000)
    statistics_batches: int = bounded(1, 10000)

    def optimizer(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
        """An Adam optimizer of some parameters with these settings."""
        return optimizers.Adam(parameters, lr, self.betas, weight_decay=weight_decay, amsgrad=self.amsgrad)


class Rate:
    """The learning rate over epochs: constant, cosine to zero, or lowered when the held-out loss stops falling.

    In the first ``warmup`` steps it rises from step to step, in equal parts up to that rate. ``epochs`` is the number
    of epochs, and ``done`` says that training ends before it.
    """

    done = False

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule, settings: Adam, warmup: int = 0) -> None:
        self.optimizer, self.warmup, self.steps, self.lr = optimizer, warmup, 0, schedule.lr
        self.epochs, self.plateau, self.scheduler = schedule.epochs, schedule.schedule == "plateau", None
        if schedule.schedule == "cosine":
            self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.epochs)
        elif self.plateau:
            self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=settings.plateau_factor, patience=settings.plateau_patience
            )

    def batch(self) -> None:
        """End a batch; matters for a rate that falls within an epoch."""

    def begin_step(self) -> None:
        """Set the rate of the next optimizer step, as far as that is one of the warm-up."""
        if self.steps < self.warmup:
            self.steps += 1
            self._set(self.lr * self.steps / self.warmup)

    def step(self, held_out_loss: float) -> None:
        """End an epoch; ``held_out_loss`` is that epoch's and matters for the schedule "plateau" alone."""
        self._set(self.lr)  # torch's schedules go on from the rate that they find
        if self.plateau:
            self.scheduler.step(held_out_loss)
        elif self.scheduler:
            self.scheduler.step()
        self.lr = self.optimizer.param_groups[0]["lr"]

    def _set(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr


class UntilConverged(Rate):
    """A constant rate until the held-out loss has stopped falling, then one that falls to zero in equal steps.

    It has stopped where none of the last ``patience`` epochs brought a lower one. The way down takes the share
    ``cooldown`` of all epochs; it begins unasked where it would otherwise not end within ``epochs``, and
    ``still_falling`` then says that the loss had not stopped.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, epochs: int, patience: int, cooldown: float) -> None:
        self.optimizer, self.epochs, self.patience, self.cooldown = optimizer, epochs, patience, cooldown
        self.lr, self.lowest, self.best = optimizer.param_groups[0]["lr"], math.inf, 0
        self.epoch, self.turn, self.end, self.still_falling = 0, 0, epochs, False

    @property
    def done(self) -> bool:
        """Whether the way down has ended."""
        return self.epoch >= self.end

    def step(self, held_out_loss: float) -> None:
        """End an epoch, which had this held-out loss."""
        self.epoch += 1
        if held_out_loss < self.lowest:
            self.lowest, self.best = held_out_loss, self.epoch
        if not self.turn:
            stopped = self.epoch - self.best >= self.patience
            if stopped or self.epoch >= self.epochs - round(self.epochs * self.cooldown):
                down = max(1, round(self.epoch * self.cooldown / (1 - self.cooldown)))
                self.turn, self.still_falling = self.epoch, not stopped
                self.end = min(self.epochs, self.epoch + down) if stopped else self.epochs
        if self.turn and not self.done:
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * (self.end - self.epoch - 0.5) / (self.end - self.turn)


@dataclass(frozen=True)
class Patience:
    """How long something is fitted that goes on until it has converged.

    The rate stays until ``patience`` optimizer steps brought no lower held-out loss; its way down to zero takes the
    share ``cooldown`` of all steps, of which there are at most ``steps``. All are rounded up to whole epochs.
    """

    steps: int = bounded(1, 100_000_000)
    patience: int = bounded(1, 100_000_000)
    cooldown: float = bounded(0.0, 0.9)

    def rate(self, optimizer: torch.optim.Optimizer, images: int, batch_size: int) -> UntilConverged:
        """The rate on so many images, in full batches."""
        an_epoch = max(1, images // batch_size)
        epochs, patience = (math.ceil(steps / an_epoch) for steps in (self.steps, self.patience))
        return UntilConverged(optimizer, epochs, patience, self.cooldown)


class Call(nn.Module):
    """A module that holds a network and calls a function that runs it.

    torch's ``update_bn`` takes a single module, looks for BatchNorm in it and calls it.
    """

    def __init__(self, net: nn.Module, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.run = net, run

    def forward(self, x: Tensor) -> Tensor:
        """The result of the function for x."""
        return self.run(x)


def renew_statistics(net: nn.Module, run: Callable[[Tensor], Tensor], inputs: Iterable[Tensor]) -> None:
    """Set BatchNorm's running statistics in ``net`` from these inputs alone; ``run`` passes one input through ``net``.

    Running averages start at a variance of one and need a hundred steps to reach a feature as small as SiftFunnel's.
    Until then a network that learned well is wrong in evaluation mode, defender and attacker alike.
    """
    # update_bn restores the mode of the module that it is given, so that module gets the mode of the network
    update_bn(inputs, Call(net, run).train(net.training))


def batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield index batches of one shuffled epoch over ``n`` images; a last batch that is not full is dropped."""
    order = torch.randperm(n, device=generator.device, generator=generator)
    size = min(size, n)
    # full batches only: distance correlation depends on the batch size
    yield from order[: n - n % size].split(size)
