"""Generator attack: a decoder fitted on auxiliary images so that G(z) is x; the paper's equation (4).

Black-box: the decoder mirrors the plain network's cut. Gray-box: it mirrors the defense's architecture, where that
differs. Repeated: the black-box decoder on several releases of the same image as one, where releases are random.
Cloud-side: the gray-box decoder on what the cloud's first layer makes of z, where that layer undoes a funnel. Strong
and strong repeated, not the paper's: a larger residual decoder of the standardized feature, alike for every defense.
Differs from the authors: epochs are selected on held-out auxiliary images (theirs: on the target's images), and a
stochastic release is drawn anew at every step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.attacks.base import Attack
from splitprobe.models import count
from splitprobe.models.layers import ChannelExpand, deconv_tanh
from splitprobe.models.residual import ResidualDecoder
from splitprobe.params import Params, bounded
from splitprobe.runtime import progress
from splitprobe.schedule import Adam, Rate, Schedule, batches, renew_statistics
from splitprobe.target import Target

TITLES = {
    "black_box": "black-box",
    "gray_box": "gray-box",
    "repeated": "black-box",
    "cloud_side": "cloud-side",
    "strong": "strong black-box",
    "strong_repeated": "strong black-box",
}


@dataclass(frozen=True)
class Settings(Adam):
    """The section ``attack.generator``."""

    decoders: tuple[str, ...] = bounded(
        choices=("black_box", "gray_box", "repeated", "cloud_side", "strong", "strong_repeated")
    )
    queries: int = bounded(2, 10000)
    draws: int = bounded(1, 1000)
    holdout: float = bounded(0.01, 0.5)


@dataclass(frozen=True)
class Plan(Schedule):
    """The section ``scales.<scale>.generator``."""

    images: int = bounded(1, 10_000_000)


@dataclass(frozen=True)
class Strong(Schedule):
    """The section ``scales.<scale>.strong``: schedule and size of the residual decoder."""

    width: int = bounded(8, 4096)
    blocks: int = bounded(1, 100)


class Generator(Attack):
    """One decoder; ``decoder()`` makes its network. It sees ``view`` of what is released."""

    family, kind = "generator", "decoders"

    def __init__(
        self, name: str, target: Target, seed: int, decoder: Callable[[], nn.Module], settings: Settings, plan: Schedule
    ) -> None:
        super().__init__(name, target, seed)
        self.settings, self.plan = settings, plan
        self.access = TITLES[name]
        self.draws = settings.draws if target.defense.stochastic else 1
        self.view: Callable[[Tensor], Tensor] = target.cloud[0] if name == "cloud_side" else nn.Identity()
        if name.endswith("repeated"):
            self.queries, self.access = settings.queries, f"{TITLES[name]}, {settings.queries} queries"
        with target.runtime.seeded(seed, "decoder"):
            self.decoder = target.runtime.place(decoder())
        self.optimizer = settings.optimizer(self.decoder.parameters(), plan.lr)
        self.best_epoch, self.holdout_mse, self.sizes = 0, float("inf"), (0, 0)
        self.holdout: Tensor | None = None  # the auxiliary images it was not fitted on, once it is fitted

    @torch.no_grad()
    def observe(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """The view of fresh releases as one."""
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
        held = self.held(len(auxiliary))
        self.sizes = (len(auxiliary) - held, held)
        self.plan = self.plan.on(self.sizes[0], self.settings.batch_size)
        z = self.target.features(auxiliary)  # once: only the release is drawn anew
        noise, order = self.generator("release"), self.generator("order")
        held_z, self.holdout = self.observe(z[-held:], self.generator("holdout")), auxiliary[-held:]
        if isinstance(self.decoder, ResidualDecoder):
            self.decoder.standardize(self.observe(z[:-held], self.generator("standardize")))
        plan, settings, best = self.plan, self.settings, None
        rate = Rate(self.optimizer, plan, settings)
        bar = progress(range(1, plan.epochs + 1), f"{self.target.cell.name} {self.name}")
        for epoch in bar:
            self.decoder.train()
            for index in batches(len(auxiliary) - held, settings.batch_size, order):
                loss = self.step(self.observe(z[index], noise), auxiliary[index])
            seen = z[:-held][: settings.batch_size * settings.statistics_batches].split(settings.batch_size)
            renew_statistics(self.decoder, self.decoder, (self.observe(part, noise) for part in seen))
            error = self.error(held_z, self.holdout)
            rate.step(error)
            if error < self.holdout_mse:
                self.holdout_mse, self.best_epoch, best = error, epoch, copy.deepcopy(self.decoder.state_dict())
            self.curve.append({"epoch": epoch, f"{self.name}_mse": error})
            bar.set_postfix(loss=f"{loss.item():.4f}", held_out=f"{error:.4f}")
        if best is not None:  # none when every epoch diverged; the scores then say so
            self.decoder.load_state_dict(best)

    def held(self, images: int) -> int:
        """How many of so many auxiliary images are held out: at least one."""
        return max(1, round(images * self.settings.holdout))

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
    return nn.Sequential(narrowing, target.blueprint.gray_box_decoder(layout))


def build(target: Target, params: Params, test: Tensor, built: Mapping[str, Attack]) -> tuple[list[Attack], Tensor]:
    """All decoders of ``attack.generator`` that apply to the target, and the test images to attack (the first ones).

    A gray-box decoder exists only where the defense changes the architecture, repeated ones only where it is random, a
    cloud-side one only where the cloud widens z.
    """
    settings, plan = params.section("attack.generator", Settings), params.scaled("generator", Plan)
    strong = params.scaled("strong", Strong)
    layout, shape = target.blueprint.layout(target.edge), target.blueprint.shape
    z_shape = tuple(target.features(test[:1]).shape[1:])

    def residual() -> nn.Module:
        return ResidualDecoder(z_shape, shape.channels, shape.side, strong.width, strong.blocks)

    makers: dict[str, Callable[[], nn.Module | None]] = {
        "black_box": lambda: layout.mirror(layout.z_channels),
        "gray_box": lambda: target.blueprint.gray_box_decoder(layout),
        "cloud_side": lambda: cloud_side_decoder(target),
        "repeated": lambda: layout.mirror(layout.z_channels) if target.defense.stochastic else None,
        "strong": residual,
        "strong_repeated": lambda: residual() if target.defense.stochastic else None,
    }
    chosen = [name for name in settings.decoders if makers[name]() is not None]
    plans = {name: strong if name.startswith("strong") else plan for name in chosen}
    attacks = [Generator(name, target, params.seed, makers[name], settings, plans[name]) for name in chosen]
    return attacks, test[: plan.images]
