"""Query-free attack: whoever can neither query the edge nor has its weights trains a substitute of it.

Source: FORA (Xu, Yang, Yi, Li, Wang, Hu, Zhuang and Liu, "A Stealthy Wrongdoer: Feature-Oriented Reconstruction Attack
against Split Learning", CVPR 2024, and its code). The attacker sees the features of the attacked images, not these
images, and has auxiliary images, not their features. A substitute is trained until its features of auxiliary images are
distributed like the intercepted ones: it lowers their maximum mean discrepancy (MMD, five Gaussian kernels) and
deceives a discriminator. A decoder of the substitute's features, fitted on auxiliary images, then rebuilds the attacked
ones.

Differs from the authors: they intercept during the edge's training, here it is trained. Their substitute is of another
family, here it has the plain network's layers up to the cut, which the black-box decoder knows too; where z has other
channels, a convolution follows. Channels are standardized by the intercepted ones, since several defenses shrink z. The
discriminator is smaller, with a hinge loss where theirs is Wasserstein's with a penalty on gradients, which costs three
times as much; beside it the discrepancy has half of the weight, in their script 0.8. The decoder is fitted when the
substitute is done, theirs alongside.

Expected: between the mean image and a decoder with a few pairs (x, z). Features may be distributed alike and belong to
other images; nothing tells the attacker so, and results vary with the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.attacks import generator
from splitprobe.attacks.base import Attack, intercepted
from splitprobe.attacks.generator import Generator
from splitprobe.core.params import Params, bounded
from splitprobe.core.runtime import progress
from splitprobe.defenses.base import Defense
from splitprobe.learning import optimizers
from splitprobe.learning.augment import augment
from splitprobe.learning.replay import Replay
from splitprobe.learning.schedule import renew_statistics
from splitprobe.models import count
from splitprobe.models import split as splitting
from splitprobe.models.layers import bottleneck
from splitprobe.targets.target import Target

KERNELS = (0.125, 0.25, 0.5, 1.0, 2.0)  # variances in mean squared distances of the batch, as published


@dataclass(frozen=True)
class Settings:
    """The section ``attack.query_free``.

    The weight of the discrepancy, beside which the discriminator has the rest; of both Adams the first moment's decay;
    the discriminator's rate and the channels of its first layer.
    """

    mmd: float = bounded(0.0, 1.0)
    momentum: float = bounded(0.0, 0.99)
    discriminator_lr: float = bounded(1e-7, 1.0)
    discriminator_width: int = bounded(1, 1024)


@dataclass(frozen=True)
class Plan:
    """The section ``scales.query_free``: steps, images in a step (of either kind), and the substitute's rate.

    This falls to zero in equal steps.
    """

    steps: int = bounded(1, 100_000_000)
    images: int = bounded(2, 65536)
    lr: float = bounded(1e-7, 1.0)


def discrepancy(a: Tensor, b: Tensor) -> Tensor:
    """Squared MMD, a scalar of at least 0, of a (N, ...) and b (M, ...): the biased estimate, over all KERNELS.

    It is 0 where nothing differs.
    """
    points = torch.cat([a.flatten(1), b.flatten(1)]).float()
    squares = points.square().sum(1)
    # by the Gram matrix: differences of all pairs would take the square of the batch in memory
    distances = (squares[:, None] + squares[None] - 2 * points @ points.T).clamp_min(0)
    scale = distances.detach().mean().clamp_min(1e-12)
    kernel = sum(torch.exp(-distances / (2 * width * scale)) for width in KERNELS)
    n = len(a)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


class Discriminator(nn.Sequential):
    """Says of a feature (B, channels, h, w) how much it looks intercepted: a number for each, (B, 1)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            *(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Flatten(), nn.LazyLinear(1)),
        )


class QueryFree(Attack):
    """A substitute of the edge, trained on unlabelled features of ``images`` (uint8, N, C, H, W), and its decoder.

    Of the target it uses what these images release, the architecture without defense, and the shape of z.
    """

    access = "query-free"

    def __init__(self, target: Target, params: Params, images: Tensor) -> None:
        super().__init__("query_free", target, params.seed)
        self.settings, self.plan = params.section("attack.query_free", Settings), params.scaled("query_free", Plan)
        self.decoding = (
            params.section("attack.generator", generator.Settings),
            params.scaled("generator", generator.Plan),
        )
        self.images, self.decoder, self.mmd = images, None, float("nan")

    def fit(self, auxiliary: Tensor) -> None:
        """Train substitute and decoder on auxiliary images (uint8, M, C, H, W) and what the attacked ones release."""
        (z,) = intercepted(self, self.images)
        substitute = self.substitute(auxiliary, z)
        del z
        layout = substitute.blueprint.layout(substitute.edge)
        self.decoder = Generator(
            "black_box", substitute, self.seed, lambda: layout.mirror(layout.z_channels), *self.decoding, flip=False
        )
        self.decoder.fit(auxiliary)

    def substitute(self, auxiliary: Tensor, z: Tensor) -> Target:
        """A target without defense whose features of auxiliary images are distributed like z (N, c, h, w).

        z is standardized in place: there is no room for two of it.
        """
        runtime, plan, blueprint = self.target.runtime, self.plan, self.target.blueprint
        deviation, mean = torch.std_mean(z, (0, 2, 3), keepdim=True)
        scale = torch.where(deviation > 0, 1 / deviation, 0.0)  # a constant channel tells nothing
        with runtime.seeded(self.seed, "query-free"):
            net = splitting.build(blueprint.cell.model, blueprint.model, blueprint.normalization, blueprint.shape)
            edge, cloud = splitting.split(net, blueprint.cell.cut)
            if edge[-1].out_channels != z.shape[1]:
                edge, cloud = bottleneck(edge, cloud, z.shape[1])
            discriminator = Discriminator(z.shape[1], self.settings.discriminator_width)
            discriminator(z[:1].cpu())  # its last layer takes its size from the first feature
        edge, discriminator = runtime.place(edge).train(), runtime.place(discriminator)
        betas = (self.settings.momentum, 0.999)
        optimizer = optimizers.Adam(edge.parameters(), plan.lr, betas)
        opposing = optimizers.Adam(discriminator.parameters(), self.settings.discriminator_lr, betas)
        draw, views, real = self.generator("draw"), self.generator("views"), z.sub_(mean).mul_(scale)

        def batch(images: Tensor) -> Tensor:
            return images[torch.randint(len(images), (plan.images,), device=images.device, generator=draw)]

        def step() -> Tensor:
            # of both networks: what is left of the last step is no part of a recorded one
            for one in (optimizer, opposing):
                one.zero_grad(set_to_none=True)
            x = augment(batch(auxiliary), flip=True, jitter=0.0, generator=views).float() / 255
            seen = batch(real)
            with runtime.autocast():
                made = (edge(x).float() - mean) * scale
            mmd = discrepancy(made, seen)
            (self.settings.mmd * mmd - (1 - self.settings.mmd) * discriminator(made).mean()).backward()
            optimizer.step()
            opposing.zero_grad(set_to_none=True)
            made = made.detach()
            hinge = F.relu(1 + discriminator(made)).mean() + F.relu(1 - discriminator(seen)).mean()
            hinge.backward()
            opposing.step()
            return mmd.detach()

        replay = Replay(step, runtime, optimizer, (draw, views))
        for done in progress(range(plan.steps), f"{self.target.cell.name} substitute", "step"):
            mmd = replay()
            optimizer.param_groups[0]["lr"] = plan.lr * (1 - (done + 1) / plan.steps)
        self.mmd = mmd.item()
        replay.renew()  # gives its memory back
        settings = self.decoding[0]
        fitted_on = auxiliary[: settings.batch_size * settings.statistics_batches].split(settings.batch_size)
        renew_statistics(edge, edge, (part.float() / 255 for part in fitted_on))
        # without defense: the attacker knows none, and what is released has been matched
        plain = replace(blueprint, defense=Defense(None))
        return Target(plain, edge, runtime.place(cloud), runtime, {}).freeze()

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What the substitute's decoder makes of intercepted z; returns x_hat (N, C, H, W) in [0, 1]."""
        return self.decoder.reconstruct(z, shape)

    def facts(self) -> dict[str, Any]:
        """Budget and size of the substitute, the discrepancy that is left, and its decoder's fit."""
        return {
            **self.decoder.facts(),
            "queries": 0,
            "intercepted": len(self.images),
            "substitute_steps": self.plan.steps,
            "substitute_lr": self.plan.lr,
            "substitute_parameters": count.parameters(self.decoder.target.edge),
            "mmd": self.mmd,
        }
