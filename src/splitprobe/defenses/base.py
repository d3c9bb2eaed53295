"""The hooks of a defense. A method overrides only what it is; the base class defends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.params import Params, typed


@dataclass(frozen=True)
class Empty:
    """The section of a defense without settings."""


@dataclass(frozen=True)
class Batch:
    """One training batch: augmented x (B, C, H, W) in [0, 1], labels y, z before release, logits, hidden features."""

    x: Tensor
    y: Tensor
    z: Tensor
    logits: Tensor
    activations: tuple[Tensor, ...]


class Defense:
    """No defense, and the hook contract of all others. ``stochastic`` says whether ``release`` draws noise."""

    title: ClassVar[str] = "Unprotected"
    Settings: ClassVar[type] = Empty
    stochastic: ClassVar[bool] = False

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

    def task_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The classification loss, a scalar, for logits (B, classes) and labels (B,)."""
        return F.cross_entropy(logits.float(), y)

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """Terms added to the loss, by name, each already weighted."""
        return {}

    def gray_box_decoder(self, z_channels: int, cut: int, width: int, channels: int) -> nn.Module | None:
        """The decoder of an attacker who knows the changed architecture; None where nothing is changed."""
        return None
