"""How long, how fast and in which batches anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from splitprobe import optimizers
from splitprobe.params import bounded

S = TypeVar("S", bound="Schedule")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained; ``scales.<scale>.target`` is one."""

    epochs: int = bounded(1, 100000)
    lr: float = bounded(1e-7, 1.0)
    schedule: str = bounded(choices=("constant", "cosine", "plateau"))
    least_steps: int = bounded(0, 100_000_000)

    def on(self: S, images: int, batch_size: int) -> S:
        """The same schedule with the epochs that a set of so many images needs for ``least_steps``."""
        return replace(self, epochs=enough(self.epochs, self.least_steps, images, batch_size))


def enough(epochs: int, least_steps: int, images: int, batch_size: int) -> int:
    """Epochs, or as many as ``least_steps`` full batches need: a small set would be under-trained otherwise."""
    return max(epochs, math.ceil(least_steps / max(1, images // batch_size)))


@dataclass(frozen=True)
class Adam:
    """The optimizer of networks and decoders alike; the plateau keys serve the schedule of that name."""

    batch_size: int = bounded(2, 65536)
    betas: tuple[float, ...] = bounded(0.0, 0.99999)
    amsgrad: bool
    plateau_factor: float = bounded(0.01, 0.99)
    plateau_patience: int = bounded(1, 10000)
    statistics_batches: int = bounded(1, 10000)

    def optimizer(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
        """Adam with these settings."""
        return optimizers.Adam(parameters, lr, self.betas, weight_decay=weight_decay, amsgrad=self.amsgrad)


class Rate:
    """The learning rate over epochs: constant, cosine to zero, or lowered when the held-out loss stops falling."""

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule, settings: Adam) -> None:
        self.plateau, self.scheduler = schedule.schedule == "plateau", None
        if schedule.schedule == "cosine":
            self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.epochs)
        elif self.plateau:
            self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=settings.plateau_factor, patience=settings.plateau_patience
            )

    def step(self, held_out_loss: float) -> None:
        """End an epoch."""
        if self.plateau:
            self.scheduler.step(held_out_loss)
        elif self.scheduler:
            self.scheduler.step()


class Call(nn.Module):
    """A network under a function that runs it, for what wants a module to call."""

    def __init__(self, net: nn.Module, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.run = net, run

    def forward(self, x: Tensor) -> Tensor:
        """What the function makes of x."""
        return self.run(x)


def renew_statistics(net: nn.Module, run: Callable[[Tensor], Tensor], inputs: Iterable[Tensor]) -> None:
    """BatchNorm's statistics from these inputs alone; ``run`` passes one through ``net``.

    Running averages start at a variance of one and need a hundred steps to reach a feature as small as SiftFunnel's:
    until then a network that learned well is wrong in evaluation mode, defender and attacker alike.
    """
    update_bn(inputs, Call(net, run).train(net.training))


def batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Index batches of one shuffled epoch; a short last one is dropped: distance correlation depends on the size."""
    order = torch.randperm(n, device=generator.device, generator=generator)
    size = min(size, n)
    yield from order[: n - n % size].split(size)
