"""How long, how fast and in which batches anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from splitprobe.params import bounded


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained; ``scales.<scale>.target`` is one."""

    epochs: int = bounded(1, 100000)
    lr: float = bounded(1e-7, 1.0)
    schedule: str = bounded(choices=("constant", "cosine", "plateau"))


@dataclass(frozen=True)
class Adam:
    """The optimizer of networks and decoders alike; the plateau keys serve the schedule of that name."""

    batch_size: int = bounded(2, 65536)
    betas: tuple[float, ...] = bounded(0.0, 0.99999)
    amsgrad: bool
    plateau_factor: float = bounded(0.01, 0.99)
    plateau_patience: int = bounded(1, 10000)

    def optimizer(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
        """Adam with these settings."""
        return torch.optim.Adam(parameters, lr, self.betas, weight_decay=weight_decay, amsgrad=self.amsgrad)


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


def batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Index batches of one shuffled epoch; a short last one is dropped: distance correlation depends on the size."""
    order = torch.randperm(n, device=generator.device, generator=generator)
    size = min(size, n)
    yield from order[: n - n % size].split(size)
