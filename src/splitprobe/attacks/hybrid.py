"""Hybrid attack: MLE that starts from the strong decoder's image instead of gray.

Not the paper's. It catches defenses that stall only one of the two: an optimization that cannot find its way from gray,
or a decoder that was too small. Steps are those of the tuned MLE; learning rate and total variation are chosen on
auxiliary images that the decoder was not fitted on, so that the start is as good as a test image's. A feature may be
met better and the image worse: where no trial brings those images nearer, the start stays as it is. Where releases are
random, both parts work on several as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from splitprobe.attacks.base import Attack
from splitprobe.attacks.generator import Generator
from splitprobe.attacks.mle import Plan, Settings, TunedMle
from splitprobe.params import Params, ParamsError
from splitprobe.target import Target

STARTS = ("strong_repeated", "strong")  # the first of them that was fitted


class Hybrid(TunedMle):
    """Adam from what a decoder makes of the same feature."""

    def __init__(self, target: Target, params: Params, plan: Plan, truth: Tensor, decoder: Generator) -> None:
        settings = params.section("attack.mle", Settings)
        super().__init__(target, params.seed, settings.hybrid, plan, truth, "hybrid")
        self.decoder, self.queries = decoder, decoder.queries
        if self.queries > 1:
            self.access = f"white-box, {self.queries} queries"

    def start(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The decoder's output."""
        return self.decoder.reconstruct(z, shape).clamp(0, 1).clone()

    def fit(self, auxiliary: Tensor) -> None:
        """Choose learning rate and weight on images that the decoder has not seen."""
        self.choose(self.decoder.holdout[: self.plan.trial_images])

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Descend from the decoder's image, or leave it where no trial improved on one."""
        if self.improves:
            return super().reconstruct(z, shape)
        x = self.start(z, shape)
        self.start_psnr_db = self._psnr(x)
        return x

    def facts(self) -> dict[str, Any]:
        """Budget, choice and start."""
        own = {"queries": self.queries, "start": self.decoder.name, "descended": self.improves}
        return {**super().facts(), **own}


def build(target: Target, params: Params, test: Tensor, built: Mapping[str, Attack]) -> tuple[list[Attack], Tensor]:
    """The attack, and the test images to attack (MLE's); ``built``: the attacks before it, by name.

    Raises ParamsError where the strong decoder is not among them.
    """
    plan = params.scaled("mle", Plan)
    truth = test[: plan.images]
    decoder = next((built[name] for name in STARTS if name in built), None)
    if decoder is None:
        raise ParamsError("attack.generator.decoders: the hybrid attack starts from `strong`; list it there")
    return [Hybrid(target, params, plan, truth, decoder)], truth
