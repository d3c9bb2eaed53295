"""Generator attack: a decoder fitted on auxiliary images so that G(z) is x; the paper's equation (4).

Black-box: the decoder mirrors the plain network's cut. Gray-box: it mirrors the defense's architecture, where that
differs. Repeated: the black-box decoder on the mean of several releases of the same image, where releases are random.
Cloud-side: the gray-box decoder on what the cloud's first layer makes of z, where that layer undoes a funnel.
Differs from the authors: epochs are selected on held-out auxiliary images (theirs: on the target's images), and a
stochastic release is drawn anew at every step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.attacks.base import Attack
from splitprobe.models import count
from splitprobe.models.layers import ChannelExpand, deconv_tanh
from splitprobe.params import Params, bounded
from splitprobe.runtime import progress
from splitprobe.schedule import Adam, Rate, Schedule, batches, renew_statistics
from splitprobe.target import Target


@dataclass(frozen=True)
class Settings(Adam):
    """The section ``attack.generator``."""

    decoders: tuple[str, ...] = bounded(choices=("black_box", "gray_box", "repeated", "cloud_side"))
    queries: int = bounded(2, 10000)
    draws: int = bounded(1, 1000)
    holdout: float = bounded(0.01, 0.5)


@dataclass(frozen=True)
class Plan(Schedule):
    """The section ``scales.<scale>.generator``."""

    images: int = bounded(1, 10_000_000)


class Generator(Attack):
    """One decoder; ``decoder()`` makes its network. It sees ``view`` of what is released."""

    family, kind = "generator", "decoders"

    def __init__(
        self, name: str, target: Target, seed: int, decoder: Callable[[], nn.Module], settings: Settings, plan: Plan
    ) -> None:
        super().__init__(name, target, seed)
        self.settings, self.plan = settings, plan
        self.access = name.replace("_", "-")
        self.draws = settings.draws if target.defense.stochastic else 1
        self.view: Callable[[Tensor], Tensor] = target.cloud[0] if name == "cloud_side" else nn.Identity()
        if name == "repeated":
            self.queries, self.access = settings.queries, f"black-box, {settings.queries} queries"
        with target.runtime.seeded(seed, "decoder"):
            self.decoder = target.runtime.place(decoder())
        self.optimizer = settings.optimizer(self.decoder.parameters(), plan.lr)
        self.best_epoch, self.holdout_mse, self.sizes = 0, float("inf"), (0, 0)

    @torch.no_grad()
    def observe(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """The view of the mean of fresh releases."""
        return torch.cat([self.view(part) for part in super().observe(z, generator).split(512)])

    def step(self, z: Tensor, images: Tensor) -> Tensor:
        """One optimizer step on observed z and uint8 images; the loss."""
        with self.target.runtime.autocast():
            x_hat = self.decoder(z)
        loss = F.mse_loss(x_hat.float(), images.float() / 255)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss

    def fit(self, auxiliary: Tensor) -> None:
        """Train on auxiliary images, keep the epoch that is best on the held-out part of them."""
        auxiliary = self.shuffled(auxiliary)
        held = max(1, round(len(auxiliary) * self.settings.holdout))
        self.sizes = (len(auxiliary) - held, held)
        self.plan = self.plan.on(self.sizes[0], self.settings.batch_size)
        z = self.target.features(auxiliary)  # once: only the release is drawn anew
        noise, order = self.generator("release"), self.generator("order")
        held_z, held_images = self.observe(z[-held:], self.generator("holdout")), auxiliary[-held:]
        plan, settings, best = self.plan, self.settings, None
        rate = Rate(self.optimizer, plan, settings)
        bar = progress(range(1, plan.epochs + 1), f"{self.target.cell.name} {self.name}")
        for epoch in bar:
            self.decoder.train()
            for index in batches(len(auxiliary) - held, settings.batch_size, order):
                loss = self.step(self.observe(z[index], noise), auxiliary[index])
            seen = z[: settings.batch_size * settings.statistics_batches].split(settings.batch_size)
            renew_statistics(self.decoder, self.decoder, (self.observe(part, noise) for part in seen))
            error = self.error(held_z, held_images)
            rate.step(error)
            if error < self.holdout_mse:
                self.holdout_mse, self.best_epoch, best = error, epoch, copy.deepcopy(self.decoder.state_dict())
            self.curve.append({"epoch": epoch, f"{self.name}_mse": error})
            bar.set_postfix(loss=f"{loss.item():.4f}", held_out=f"{error:.4f}")
        if best is not None:  # none when every epoch diverged; the scores then say so
            self.decoder.load_state_dict(best)

    def error(self, z: Tensor, images: Tensor) -> float:
        """Mean squared error per element on released z and uint8 images."""
        x_hat = self.reconstruct(z, tuple(images.shape[1:]))
        return F.mse_loss(x_hat, images.float() / 255).item()

    @torch.no_grad()
    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Decode in evaluation mode."""
        self.decoder.eval()
        return torch.cat([self.decoder(part).float() for part in z.split(512)])

    def facts(self) -> dict[str, Any]:
        """Budget, selection and size."""
        return {
            "queries": self.queries,
            "parameters": count.parameters(self.decoder),
            "epochs": self.plan.epochs,
            "best_epoch": self.best_epoch,
            "lr": self.plan.lr,
            "schedule": self.plan.schedule,
            "fit_images": self.sizes[0],
            "holdout_images": self.sizes[1],
            "holdout_mse": self.holdout_mse,
        }


def cloud_side_decoder(target: Target) -> nn.Module | None:
    """The authors' decoder of the widened feature: down to the channels of z, then the gray-box decoder.

    93,449 parameters for ResNet-18 at width 64, 2 channels, cut 3. None where the cloud does not begin by widening z.
    """
    widening, layout = target.cloud[0], target.blueprint.layout(target.edge)
    if not isinstance(widening, ChannelExpand):
        return None
    narrowing = deconv_tanh(widening.out_channels, layout.z_channels, 3)
    return nn.Sequential(narrowing, target.defense.gray_box_decoder(layout))


def build(target: Target, params: Params, test: Tensor) -> tuple[list[Attack], Tensor]:
    """All decoders of ``attack.generator`` that apply to the target, and the test images to attack (the first ones).

    A gray-box decoder exists only where the defense changes the architecture, a repeated one only where it is random, a
    cloud-side one only where the cloud widens z.
    """
    settings, plan = params.section("attack.generator", Settings), params.scaled("generator", Plan)
    layout = target.blueprint.layout(target.edge)
    makers: dict[str, Callable[[], nn.Module | None]] = {
        "black_box": lambda: layout.mirror(layout.z_channels),
        "gray_box": lambda: target.defense.gray_box_decoder(layout),
        "cloud_side": lambda: cloud_side_decoder(target),
        "repeated": lambda: layout.mirror(layout.z_channels) if target.defense.stochastic else None,
    }
    chosen = [name for name in settings.decoders if makers[name]() is not None]
    return [Generator(name, target, params.seed, makers[name], settings, plan) for name in chosen], test[: plan.images]
