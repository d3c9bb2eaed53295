"""Prior attack: the hybrid attack with a generative prior beside the total variation. It is not in the paper.

The prior is a denoiser D of the auxiliary images at all noise levels (targets/prior.py). The optimization minimizes

    |f(x) - z|^2 / |z|^2 + tv TV(x) + weight |x - D(x + sigma n, sigma)|^2 / pixels,

where D is held fixed within a step and sigma falls in equal ratios from ``high`` to ``low`` over the steps. This is
regularization by denoising (RED, Romano et al. 2017) with a falling noise level, as RED-diff has it (Mardani et al.
2023, whose gradient under their weight sigma is the same, weight (x - D)). Differs from them: it starts from the strong
decoder's image, keeps the total variation, and at a step all images share the noise n, so that what an image becomes
does not depend on those beside it.

Weight and number of steps are chosen as the hybrid attack's last trials are, on auxiliary images that neither the
decoder nor, as far as there are any, the prior was fitted on; rate, decay and weight of the total variation are what
the hybrid attack has chosen. A weight of 0 is the hybrid attack: where it is chosen, the prior did not help.

It is chosen by PSNR alone: to choose by the perceptual score an attacker would need the judge. Posterior sampling (DPS,
Chung et al. 2023) in 30 steps was tried on SiftFunnel's row at scale demo, where it gained at most 0.1 dB on the
decoder's image from which it started: a sample is farther from x than what maximizes the posterior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from splitprobe.attacks.base import DENOISER
from splitprobe.attacks.hybrid import Hybrid
from splitprobe.attacks.mle import Plan, Trial
from splitprobe.core.params import Params, ParamsError, bounded
from splitprobe.targets.prior import Prior
from splitprobe.targets.target import Target


@dataclass(frozen=True)
class Settings:
    """The section ``attack.prior``.

    ``rows`` are the rows that are attacked, the part of a cell's name behind the slash, separated by spaces.
    ``weight`` are values to choose from, on at least ``images`` auxiliary images. ``high`` and ``low`` are the first
    and the last noise level.
    """

    rows: str
    weight: tuple[float, ...] = bounded(0.0, 1e9, items=(1, 100), distinct=True)
    images: int = bounded(1, 10000)
    high: float = bounded(1e-4, 100.0)
    low: float = bounded(1e-4, 100.0)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ParamsError(f"attack.prior.low = {self.low:g}: must be at most attack.prior.high = {self.high:g}")

    def within(self, high: float, low: float) -> None:
        """Raise ParamsError for noise levels that a prior trained from ``high`` to ``low`` does not know."""
        for key, value in (("high", self.high), ("low", self.low)):
            if not low <= value <= high:
                raise ParamsError(
                    f"attack.prior.{key} = {value:g}: the denoiser is trained from scales.prior.low = {low:g} to "
                    f"scales.prior.high = {high:g}"
                )


@dataclass(frozen=True)
class PriorTrial(Trial):
    """A trial, and the weight of the prior."""

    weight: float = 0.0


class PriorMle(Hybrid):
    """The hybrid attack with the denoiser's term; ``hybrid`` is that attack on the same target, fitted before."""

    replayable = False  # the noise level is another one in each step

    def __init__(
        self,
        target: Target,
        params: Params,
        settings: Settings,
        plan: Plan,
        truth: Tensor,
        hybrid: Hybrid,
        prior: Prior,
    ) -> None:
        plan = replace(plan, final_images=max(plan.final_images, settings.images))
        super().__init__("prior", target, params, plan, truth, hybrid.decoder)
        self.own, self.hybrid, self.prior = settings, hybrid, prior
        settings.within(prior.high, prior.low)
        self.prior_weights: Tensor | float = 0.0
        self.taken, self.unseen = 0, 0

    def start(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The decoder's images (N, *shape) in [0, 1]; noise and noise levels begin anew."""
        self.taken, self.noise = 0, self.generator("noise")
        return super().start(z, shape)

    @property
    def sigma(self) -> float:
        """The noise level of the next step."""
        fall = self.own.low / self.own.high
        return self.own.high * fall ** min(1.0, self.taken / max(1, self.plan.most_steps - 1))

    def after(self, optimizer: torch.optim.Optimizer) -> None:
        """Lower the learning rates and the noise level."""
        super().after(optimizer)
        self.taken += 1

    def weigh(self, trials: list[Trial], images: int, device: torch.device) -> None:
        """Take the weights of several trials, each with so many images in a batch."""
        super().weigh(trials, images, device)
        self.prior_weights = torch.tensor([t.weight for t in trials], device=device).repeat_interleave(images)

    def penalty(self, x: Tensor) -> Tensor:
        """The weighted total variation and mean squared change by the denoiser of images x (N, C, H, W), as (N,)."""
        with torch.no_grad():
            noise = torch.randn(1, *x.shape[1:], device=x.device, generator=self.noise)
            clean = self.prior.denoiser(x + self.sigma * noise, x.new_full((len(x),), self.sigma))
        return super().penalty(x) + self.prior_weights * (x - clean).square().mean((1, 2, 3))

    def fit(self, auxiliary: Tensor) -> None:
        """Choose weight and number of steps on images that decoder and prior were not fitted on, those first."""
        self.trials = [PriorTrial(**asdict(self.hybrid.chosen), weight=weight) for weight in self.own.weight]
        index = self.decoder.holdout(torch.arange(len(auxiliary), device=auxiliary.device)).tolist()
        # a stable sort: those that the prior has not seen come first
        index.sort(key=lambda i: i not in self.prior.held_out)
        self.unseen = sum(i in self.prior.held_out for i in index[: self.plan.final_images])
        self.decide(auxiliary[index], self.trials)

    def facts(self) -> dict[str, Any]:
        """What was chosen, the noise levels, and how many of the last trials' images the prior has not seen."""
        own = {"high": self.own.high, "low": self.own.low, "final_images_unseen_by_prior": self.unseen}
        # all go on to the most steps
        own |= {"finalists": len(self.trials), "trial_images": 0, "trial_steps": 0}
        return {**super().facts(), **own}


def build(target: Target, params: Params, test: Tensor, built: Mapping[str, Any]) -> tuple[list[PriorMle], Tensor]:
    """The attack, where ``attack.prior.rows`` names the target's row, and the test images that it attacks (MLE's).

    ``built`` holds earlier attacks by name, the hybrid one among them, and under DENOISER what loads the prior.
    """
    settings, plan = params.section("attack.prior", Settings), params.scaled("mle", Plan)
    truth = test[: plan.images]
    if target.cell.name.partition("/")[2] not in settings.rows.split():
        return [], truth
    return [PriorMle(target, params, settings, plan, truth, built["hybrid"], built[DENOISER]())], truth
