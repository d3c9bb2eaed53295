"""Hybrid attack: MLE that starts from the strong decoder's image instead of gray. It is not in the paper.

It catches defenses that stall only one of two attacks: an optimization that cannot find its way from gray, or a decoder
that was too small. Settings and number of steps are chosen as those of the tuned MLE are, on auxiliary images that the
decoder was not fitted on, so that the start there is as good as on a test image. Where no step brings these nearer, the
number is 0 and the start is left as it is. Where releases are random, decoder and MLE both work on several releases
combined; ``hybrid_once`` is the same on a single one.
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

    def __init__(self, name: str, target: Target, params: Params, plan: Plan, truth: Tensor, decoder: Decoder) -> None:
        settings = params.section("attack.mle", Settings)
        super().__init__(target, params.seed, settings.hybrid, plan, truth, name)
        self.decoder, self.queries = decoder, decoder.queries
        if self.queries > 1:
            self.access = f"white-box, {self.queries} queries"

    def start(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The decoder's images (N, *shape) in [0, 1]."""
        # a copy, because the optimizer changes it in place
        return self.decoder.reconstruct(self.decoder.view(z), shape).clamp(0, 1).clone()

    def fit(self, auxiliary: Tensor) -> None:
        """Choose settings and number of steps on images that the decoder was not fitted on."""
        self.choose(self.decoder.holdout(auxiliary))

    def facts(self) -> dict[str, Any]:
        """What was chosen, and the decoder that gave the start."""
        return {**super().facts(), "queries": self.queries, "start": self.decoder.name}


def build(target: Target, params: Params, test: Tensor, built: Mapping[str, Attack]) -> tuple[list[Attack], Tensor]:
    """The hybrid attacks, and the test images that they attack (those of MLE). ``built`` holds earlier attacks by name.

    The strong decoder is always among them.
    """
    plan = params.scaled("mle", Plan)
    truth = test[: plan.images]
    decoders = [built[name] for name in STRONG if name in built]
    # the first has the most releases; where that is more than one, the other has one
    names = zip(("hybrid", "hybrid_once"), decoders, strict=False)
    return [Hybrid(name, target, params, plan, truth, decoder) for name, decoder in names], truth
