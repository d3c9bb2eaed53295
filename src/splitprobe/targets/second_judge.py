"""A cell's second judge: the data set's judge, fine-tuned on what the cell's strong decoder makes of auxiliary images.

The judge never saw a reconstruction, so a blurred image may show its class to somebody who has looked at many of them
and not to the judge. A copy of it is fitted for a few steps to auxiliary images and to their reconstructions, as many
of each, with their true labels. It measures and attacks nothing. As it has seen more images than the judge, its shares
are read against its own accuracy on the originals. It exists where the auxiliary images have labels of the target's
classes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from splitprobe.core.params import bounded
from splitprobe.datasets.base import NO_CLASS
from splitprobe.learning import optimizers
from splitprobe.learning.parts import all_finite
from splitprobe.learning.schedule import batches
from splitprobe.targets.judge import recognized
from splitprobe.targets.target import Target

UNLABELLED = "the auxiliary images have a source of their own, which has no labels of the target's classes"
DIVERGED = "the decoder that it would be fitted to diverged: its images are not finite"


@dataclass(frozen=True)
class Settings:
    """The section ``scales.second_judge``.

    The steps of Adam, its rate, which falls to zero in equal steps, and the originals in a step, beside as many
    reconstructions.
    """

    steps: int = bounded(1, 1_000_000)
    lr: float = bounded(1e-7, 1.0)
    images: int = bounded(1, 65536)


@dataclass(frozen=True)
class SecondJudge:
    """The fine-tuned judge; where there is none, ``reason`` says why. ``facts`` are stated in the results."""

    judge: Target | None
    facts: Mapping[str, Any]
    reason: str = ""

    def share(self, x_hat: Tensor, labels: Tensor) -> dict[str, Any]:
        """The share of x_hat (N, C, H, W) that it gives their labels (N,), or the reason why it is absent."""
        return self._stated("recognized_adapted", x_hat, labels)

    def landmarks(self, x: Tensor, labels: Tensor) -> dict[str, Any]:
        """What its shares are read against, its accuracy on the originals x, and how it was made."""
        return {**self._stated("adapted_accuracy_on_originals", x, labels), **self.facts}

    def _stated(self, key: str, x: Tensor, labels: Tensor) -> dict[str, Any]:
        if self.judge is None:
            return {key: None, f"{key}_reason": self.reason}
        return {key: recognized(self.judge, x, labels)}

    def plain(self) -> dict[str, Any]:
        """Its weights and the rest as plain types, for a checkpoint."""
        halves = ("edge", "cloud") if self.judge else ()
        weights = {half: getattr(self.judge, half).state_dict() for half in halves}
        return {"weights": weights, "facts": dict(self.facts), "reason": self.reason}

    @classmethod
    def from_plain(cls, plain: Mapping, judge: Target) -> SecondJudge:
        """The one that a checkpoint holds, of the network of ``judge``; raises whatever does not fit is refused for."""
        weights, second = plain["weights"], None
        if weights:
            second = _copy(judge)
            for half in ("edge", "cloud"):
                getattr(second, half).load_state_dict(weights[half])
        return cls(second, dict(plain["facts"]), plain["reason"])


def known(labels: Tensor) -> Tensor:
    """Which images have a class, (N,)."""
    return labels != NO_CLASS


def adapt(judge: Target, x: Tensor, x_hat: Tensor, labels: Tensor, settings: Settings, seed: int) -> SecondJudge:
    """Fine-tune a copy of the judge on uint8 images x (N, C, H, W), their reconstructions in [0, 1] and labels (N,).

    Images without a class are left out. Where none has one, or where a reconstruction is not finite, there is no
    second judge.
    """
    usable = known(labels).nonzero()[:, 0]
    if not len(usable):
        return SecondJudge(None, {}, UNLABELLED)
    if not all_finite(x_hat):
        return SecondJudge(None, {}, DIVERGED)
    second, order, runtime = _copy(judge), judge.runtime.generator(seed, "second judge"), judge.runtime
    parameters = [p.requires_grad_() for half in (second.edge, second.cloud) for p in half.parameters()]
    optimizer = optimizers.Adam(parameters, settings.lr)
    made = 0
    while made < settings.steps:
        for drawn in batches(len(usable), settings.images, order):
            index = usable[drawn]
            both = torch.cat([x[index].float() / 255, x_hat[index]])
            # in evaluation mode: BatchNorm keeps the judge's statistics, which a batch of blurred images would move
            with runtime.autocast():
                logits = second.cloud(second.edge(both))
            loss = F.cross_entropy(logits.float(), labels[index].repeat(2))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            made += 1
            optimizer.param_groups[0]["lr"] = settings.lr * (1 - made / settings.steps)
            if made == settings.steps:
                break
    return SecondJudge(second.freeze(), {"adapted_steps": made, "adapted_images": len(usable)})


def _copy(judge: Target) -> Target:
    edge, cloud = (copy.deepcopy(half) for half in (judge.edge, judge.cloud))
    return Target(judge.blueprint, edge, cloud, judge.runtime, judge.record).freeze()
