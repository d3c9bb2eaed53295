"""The base class of all defenses, with the hooks that training, attacks and measures call.

The base class itself defends nothing. A defense overrides only the hooks that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.core.params import Params, typed
from splitprobe.core.runtime import Runtime
from splitprobe.learning.estimator import Estimator
from splitprobe.models.split import Layout


@dataclass(frozen=True)
class Empty:
    """The settings of a defense that has none."""


@dataclass(frozen=True)
class Batch:
    """One training batch, as the hooks of a defense see it.

    ``x`` (B, C, H, W) is augmented and in [0, 1], ``y`` (B,) holds the labels, ``z`` (B, c, h, w) is the feature before
    release, ``logits`` are (B, classes). ``activations`` are the outputs of the edge's blocks, of which the last is z,
    followed by the outputs of the cloud's blocks, of which the last is the logits.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    logits: Tensor
    activations: tuple[Tensor, ...]

    def detached(self) -> Batch:
        """The same batch without a gradient graph, to train an estimator that must not change the network."""
        # x and logits too: an estimator must not reach any part of the graph
        values = {name: getattr(self, name).detach() for name in ("x", "z", "logits")}
        return replace(self, **values, activations=tuple(a.detach() for a in self.activations))


@dataclass(frozen=True)
class Site:
    """Where and how long a defense is trained, for ``prepare`` and ``make_private``.

    ``images`` is the number of training images; ``layout`` is what a decoder of z must fit. ``normalize`` is the edge's
    first step, of images in [0, 1]; ``x_shape`` and ``z_shape`` are those of one image and of its feature.
    """

    layout: Layout
    normalize: nn.Module
    x_shape: torch.Size
    z_shape: torch.Size
    images: int
    epochs: int
    runtime: Runtime
    seed: int


# an optimizer, and a function that yields the index batches of one epoch
Private = tuple[torch.optim.Optimizer, Callable[[], Iterator[Tensor]]]


class Defense:
    """A network without a defense, and the hooks that defenses override.

    ``title`` names the defense in tables. ``stochastic`` says whether ``release`` draws noise; ``stochastic_cloud``
    says whether the cloud does, in evaluation too. ``masks`` says that entries may be missing from a release, which
    then has zeros in their places that mean nothing: strong decoders are told what came through. ``estimator`` is what
    the defense trains beside the network to know what z says about x; training tells afterwards whether the edge outran
    it. ``full_precision`` says that training must be in float32. ``replayable`` says that steps may be recorded as a
    CUDA graph: they have the same shapes, and what Python holds changes between epochs alone.
    """

    title: ClassVar[str] = "Unprotected"
    Settings: ClassVar[type] = Empty
    stochastic: ClassVar[bool] = False
    stochastic_cloud: ClassVar[bool] = False
    masks: ClassVar[bool] = False
    full_precision: ClassVar[bool] = False
    replayable: ClassVar[bool] = True
    estimator: Estimator | None = None

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @classmethod
    def from_params(cls, name: str, params: Params) -> Defense:
        """Build the defense from its section of params.yaml. Raises ParamsError naming a bad key."""
        return cls(params.section(f"defense.{name}", cls.Settings))

    @classmethod
    def lending(cls, name: str, params: Params) -> Defense:
        """The defense as one that lends its networks to another: settings that only training uses may be left out."""
        return cls.from_params(name, params)

    @classmethod
    def from_plain(cls, name: str, plain: Mapping) -> Defense:
        """Build the defense from the settings that a checkpoint carries. Raises ParamsError naming a bad key."""
        return cls(typed(cls.Settings, plain, f"defense.{name}"))

    def plain(self) -> dict[str, Any]:
        """The settings as a dict of plain types, for checkpoints and results."""
        return asdict(self.settings)

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """Edge and cloud with the changes that the defense makes to the architecture.

        Takes the plain network: ``edge`` holds the normalization and then blocks, ``cloud`` the other blocks.
        """
        return edge, cloud

    def release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """What leaves the device for z (B, c, h, w), in the same shape.

        Noise is drawn from ``generator``.
        """
        return z

    def training_release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """What the cloud gets in the steps of training; the release, unless a defense overrides it."""
        return self.release(z, generator)

    def combined_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """What an adversary makes of ``queries`` independent releases of z (B, c, h, w), in that shape: their mean.

        Where entries may be missing, it is the mean of the releases that have them, and 0 where none has. Override it
        where the mean can be drawn at less cost, or where several releases tell more than their mean.
        """
        total = self.release(z, generator)
        if queries == 1:
            return total
        # running sums: memory does not grow with the number of queries
        came = total != 0
        for _ in range(queries - 1):
            sent = self.release(z, generator)
            total, came = total + sent, came + (sent != 0).int()
        return total / (came.clamp_min(1) if self.masks else queries)

    def releases(self, parts: Iterable[Tensor], n: int, queries: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the combined releases of n images whose z comes in parts (k, c, h, w), part by part.

        On the CPU they are those of the whole set at once. Override it where draws for parts would be other ones.
        """
        return (self.combined_release(z, queries, generator) for z in parts)

    def mismatch(self, z_hat: Tensor, observed: Tensor, queries: int) -> Tensor:
        """The difference of a candidate's feature ``z_hat`` from a combined release, by entry (B, c, h, w).

        Override it where a release may not be compared entry by entry.
        """
        return z_hat - observed

    def task_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The classification loss, a scalar, of logits (B, classes) and labels (B,)."""
        return F.cross_entropy(logits.float(), y)

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The terms that the defense adds to the loss: scalars by name, each already weighted."""
        return {}

    def check(self, images: int) -> None:
        """Raise ParamsError where the settings do not suit a training on so many images; called before anything."""

    @property
    def batch_size(self) -> int | None:
        """The batch size that the defense needs; None takes that of the section ``training``."""
        return None

    def prepare(self, site: Site) -> None:
        """Called before training: build what is trained beside the network (an estimator, an adversary)."""

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """Called before each epoch, counted from 1: move a schedule. Returns values for the training curve.

        They are all numbers that steps are made with and that are not the same in each epoch.
        """
        return {}

    @property
    def in_force(self) -> bool:
        """Whether this epoch's weights may be selected: False until a schedule has brought the defense into force."""
        return True

    def inner_step(self, batch: Batch) -> dict[str, Tensor]:
        """Called before each step of the network: train the defense's own estimator on a detached batch.

        Returns readings for the training curve, by name.
        """
        return {}

    def watch(self, batch: Batch) -> dict[str, Tensor]:
        """Readings on the last batch of an epoch, for the training curve, by name; computed without gradients."""
        return {}

    def make_private(self, net: nn.Module, optimizer: torch.optim.Optimizer, site: Site) -> Private | None:
        """An optimizer and index batches that replace those of the training; None keeps both as they are."""
        return None

    def facts(self) -> dict[str, Any]:
        """What the result file states beside the settings, after training."""
        return {}

    def gray_box_decoder(self, layout: Layout) -> nn.Module | None:
        """The decoder of an attacker who knows the changed architecture; None where it is not changed."""
        return None


class Noisy(Defense):
    """A defense that releases z plus fresh Gaussian noise; ``settings.sigma`` is its deviation, in the units of z."""

    stochastic = True

    def release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """The feature z (B, c, h, w) plus fresh noise, in the same shape."""
        return self.combined_release(z, 1, generator)

    def combined_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """The mean of ``queries`` noisy releases of z (B, c, h, w), from a single draw."""
        # the mean of n normal draws is one draw with a deviation smaller by sqrt(n);
        # torch fills a contiguous tensor many times faster than a channels-last one
        noise = torch.empty_like(z, memory_format=torch.contiguous_format).normal_(generator=generator)
        return z + noise.mul_(self.settings.sigma / queries**0.5)
