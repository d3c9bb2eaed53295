"""Hybrid attack: MLE that starts from the strong decoder's image instead of gray. It is not in the paper.

It catches defenses that stall only one of two attacks: an optimization that cannot find its way from gray, or a decoder
that was too small. Steps are those of the tuned MLE. Learning rate and total variation are chosen on auxiliary images
that the decoder was not fitted on, so that the start there is as good as on a test image.

A feature may be met better and the image get worse. Where no trial brings the auxiliary images nearer, the start is
left as it is. Where releases are random, decoder and MLE both work on several releases combined.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from splitprobe.attacks.base import Attack
from splitprobe.attacks.generator import STRONG, Decoder
from splitprobe.attacks.mle import Plan, Settings, TunedMle
from splitprobe.core.params import Params
from splitprobe.targets.target import Target


class Hybrid(TunedMle):
    """The tuned MLE, started from what a fitted decoder makes of the same feature."""

    def __init__(self, target: Target, params: Params, plan: Plan, truth: Tensor, decoder: Decoder) -> None:
        settings = params.section("attack.mle", Settings)
        super().__init__(target, params.seed, settings.hybrid, plan, truth, "hybrid")
        self.decoder, self.queries = decoder, decoder.queries
        if self.queries > 1:
            self.access = f"white-box, {self.queries} queries"

    def start(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The decoder's images (N, *shape) in [0, 1]."""
        # a copy, because the optimizer changes it in place
        return self.decoder.reconstruct(z, shape).clamp(0, 1).clone()

    def fit(self, auxiliary: Tensor) -> None:
        """Choose learning rate and total variation weight on images that the decoder was not fitted on."""
        self.choose(self.decoder.holdout(auxiliary)[: self.plan.trial_images])

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Optimize from the decoder's images, or return them unchanged where no trial brought an improvement."""
        if self.improves:
            return super().reconstruct(z, shape)
        x = self.start(z, shape)
        self.start_psnr_db = self._psnr(x)
        return x

    def facts(self) -> dict[str, Any]:
        """Budget, chosen settings, the decoder that gave the start, and whether it was optimized further."""
        hybrid_facts = {"queries": self.queries, "start": self.decoder.name, "descended": self.improves}
        return {**super().facts(), **hybrid_facts}


def build(target: Target, params: Params, test: Tensor, built: Mapping[str, Attack]) -> tuple[list[Attack], Tensor]:
    """The hybrid attack, and the test images that it attacks (those of MLE). ``built`` holds earlier attacks by name.

    The strong decoder is always among them.
    """
    plan = params.scaled("mle", Plan)
    truth = test[: plan.images]
    decoder = next(built[name] for name in STRONG if name in built)
    return [Hybrid(target, params, plan, truth, decoder)], truth
