"""The hooks of a defense. A method overrides only what it is; the base class defends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.models.split import Layout
from splitprobe.params import Params, typed
from splitprobe.runtime import Runtime


@dataclass(frozen=True)
class Empty:
    """The section of a defense without settings."""


@dataclass(frozen=True)
class Batch:
    """One training batch: augmented x (B, C, H, W) in [0, 1], labels y, z before release, logits, hidden features.

    ``activations`` are the outputs of the edge's blocks, the last being z, then of the cloud's, the last being logits.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    logits: Tensor
    activations: tuple[Tensor, ...]

    def detached(self) -> Batch:
        """The same values without a graph: what an estimator beside the network learns from."""
        values = {name: getattr(self, name).detach() for name in ("x", "z", "logits")}
        return replace(self, **values, activations=tuple(a.detach() for a in self.activations))


@dataclass(frozen=True)
class Site:
    """Where and how long a defense is trained: what ``prepare`` and ``make_private`` may need."""

    layout: Layout
    images: int
    epochs: int
    runtime: Runtime
    seed: int


Private = tuple[torch.optim.Optimizer, Callable[[], Iterator[Tensor]]]  # an optimizer, and one epoch's index batches


class Defense:
    """No defense, and the hook contract of all others.

    ``stochastic`` says whether ``release`` draws noise, ``stochastic_cloud`` whether the cloud does, in evaluation too.
    """

    title: ClassVar[str] = "Unprotected"
    Settings: ClassVar[type] = Empty
    stochastic: ClassVar[bool] = False
    stochastic_cloud: ClassVar[bool] = False

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @classmethod
    def from_params(cls, name: str, params: Params) -> Defense:
        """Read the defense's section; raises ParamsError naming a bad key."""
        return cls(params.section(f"defense.{name}", cls.Settings))

    @classmethod
    def from_plain(cls, name: str, plain: Mapping) -> Defense:
        """The defense with the settings that a checkpoint carries."""
        return cls(typed(cls.Settings, plain, f"defense.{name}"))

    def plain(self) -> dict[str, Any]:
        """The settings as plain types, for checkpoints and results."""
        return asdict(self.settings)

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """The defense's architecture, out of the plain edge (normalization first, then blocks) and cloud."""
        return edge, cloud

    def release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """What leaves the device for z (B, c, h, w), in training and inference; noise comes from the generator."""
        return z

    def combined_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """What an adversary makes of independent releases of the same z (B, c, h, w), of the same shape: their mean.

        Override it where the mean has a cheaper form, or where several releases tell more than their mean.
        """
        total = self.release(z, generator)
        for _ in range(queries - 1):
            total = total + self.release(z, generator)
        return total / queries if queries > 1 else total

    def mismatch(self, z_hat: Tensor, observed: Tensor, queries: int) -> Tensor:
        """How far a candidate's feature z_hat is from a combined release, by entry (B, c, h, w).

        Override it where a release may not be compared entry by entry.
        """
        return z_hat - observed

    def task_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The classification loss, a scalar, for logits (B, classes) and labels (B,)."""
        return F.cross_entropy(logits.float(), y)

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """Terms added to the loss, by name, each already weighted."""
        return {}

    @property
    def batch_size(self) -> int | None:
        """Images in a batch, where the method needs its own number; None takes that of ``training``."""
        return None

    def prepare(self, site: Site) -> None:
        """Before training: build what is trained beside the network (an estimator, an adversary)."""

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """Before each epoch, counted from 1: move a schedule; what is returned stands in the training curve."""
        return {}

    @property
    def in_force(self) -> bool:
        """Whether this epoch's weights may be selected: not before the method's schedule has brought it into force."""
        return True

    def inner_step(self, batch: Batch) -> dict[str, Tensor]:
        """Before each step of the network: train the own estimator on a detached batch; its readings, for the curve."""
        return {}

    def watch(self, batch: Batch) -> dict[str, Tensor]:
        """Readings on an epoch's last batch, for the curve; without gradients."""
        return {}

    def make_private(self, net: nn.Module, optimizer: torch.optim.Optimizer, site: Site) -> Private | None:
        """Replace the optimizer and the batches of an epoch; None leaves both as they are."""
        return None

    def facts(self) -> dict[str, Any]:
        """What the result states beside the settings, after training."""
        return {}

    def gray_box_decoder(self, layout: Layout) -> nn.Module | None:
        """The decoder of an attacker who knows the changed architecture; None where nothing is changed."""
        return None


class Noisy(Defense):
    """Releases z plus fresh Gaussian noise of standard deviation ``settings.sigma``, in the feature's own units."""

    stochastic = True

    def release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """Z plus fresh noise."""
        return self.combined_release(z, 1, generator)

    def combined_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """The mean of n normal draws is one of a deviation smaller by sqrt(n)."""
        # torch fills a contiguous tensor many times faster than a channels-last one
        noise = torch.empty_like(z, memory_format=torch.contiguous_format).normal_(generator=generator)
        return z + self.settings.sigma / queries**0.5 * noise
