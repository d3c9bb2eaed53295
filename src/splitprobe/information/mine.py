"""MINE, the neural estimate of I(x; z) in nats: the paper's form, and one calibrated on data with a known answer.

Both maximize the Donsker-Varadhan bound E[T] - log E[exp T] (the paper's equations 10 and 11) over a critic T. They are
fitted on the images that the target was trained on and read on held-out images. What counts is mean and spread over the
last epochs, never the best epoch. For a deterministic edge on continuous data I is infinite; the estimate says what its
critic can see of it, up to its cap. Differs from the authors: they print the best epoch on auxiliary images (kept as
``best_epoch_nats``) and halve the learning rate while the estimate improves.

InfoNCE (van den Oord et al. 2018; Poole et al. 2019) is computed from the scores of the calibrated critic, without
training of its own. It is a lower bound for any critic. The critic that is best for Donsker-Varadhan, the log ratio of
the densities, is best for InfoNCE too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR, LRScheduler

from splitprobe.core.params import bounded
from splitprobe.core.runtime import Runtime, progress
from splitprobe.information.critics import PaperCritic, SeparableCritic, log_mean_exp, off_diagonal, paper_cap
from splitprobe.learning import optimizers
from splitprobe.learning.schedule import enough

Release = Callable[[Tensor, torch.Generator], Tensor]
LIKE = 2048  # fit images whose statistics standardize x and z


@dataclass(frozen=True)
class Optimizer:
    """Settings of AdamW for one of the two estimators, and its batch size."""

    lr: float = bounded(1e-7, 1.0)
    betas: tuple[float, ...] = bounded(0.0, 0.99999, items=(2, 2))
    weight_decay: float = bounded(0.0, 10.0)
    batch_size: int = bounded(2, 4096)


@dataclass(frozen=True)
class Separable:
    """The calibrated critic's size: channels of its hidden layer, and the most cells a side of the common grid."""

    width: int = bounded(1, 1024)
    grid: int = bounded(1, 64)


@dataclass(frozen=True)
class Settings:
    """The section ``mine``; ``average`` is the number of last epochs that are averaged."""

    average: int = bounded(1, 1000)
    paper: Optimizer
    calibrated: Optimizer
    critic: Separable


@dataclass(frozen=True)
class Budget:
    """Epochs and images of one estimator, all images where a set has fewer.

    A small set gets more epochs, so that there are at least ``least_steps``.
    """

    epochs: int = bounded(1, 10000)
    least_steps: int = bounded(0, 100_000_000)
    fit_images: int = bounded(2, 10_000_000)
    held_out_images: int = bounded(2, 1_000_000)


@dataclass(frozen=True)
class Plan:
    """The section ``scales.mine``."""

    paper: Budget
    calibrated: Budget


@dataclass(frozen=True)
class Pairs:
    """x (N, C, H, W), uint8 or float, and z (N, c, h, w) before release, on the device.

    ``release`` is drawn anew each time a batch is taken. ``normalize`` is the edge's first step, on x in [0, 1] (uint8
    is divided by 255, float is taken as it is).
    """

    x: Tensor
    z: Tensor
    release: Release
    normalize: Callable[[Tensor], Tensor]

    def first(self, n: int) -> Pairs:
        """The first n pairs."""
        return Pairs(self.x[:n], self.z[:n], self.release, self.normalize)

    @torch.no_grad()
    def take(self, part: Tensor | slice, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Normalized float32 x and freshly released z of the pairs that ``part`` selects."""
        x = self.x[part]
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        return self.normalize(x), self.release(self.z[part], noise)


def bound(joint: Tensor, log_marginal: Tensor, share: float) -> Tensor:
    """The Donsker-Varadhan value in nats, from T on joint pairs (B,) and the log-mean-exp of T on marginal ones.

    ``share`` is the weight of joint pairs in the product of the marginals. When each of n images is paired with each of
    n z, it is 1/n, and the value cannot pass log n whatever T is (by Jensen): that is what n samples can certify. With
    a share of 0 (the paper's equation 11), a T without limits has no cap at all once it tells joint pairs from all
    others.
    """
    if share:
        with_joint = log_mean_exp(joint) + math.log(share)
        log_marginal = torch.logaddexp(with_joint, log_marginal + math.log1p(-share))
    return joint.float().mean() - log_marginal


def infonce(joint: Tensor, by_x: Tensor, by_z: Tensor) -> Tensor:
    """The InfoNCE value in nats: the mean of its form over z_j and its form over x_j, which are both lower bounds.

    The first is E[T(x_i, z_i) - log 1/n sum_j exp T(x_i, z_j)]. Takes T on the n joint pairs, and the log-sum-exp over
    the marginal pairs of each x and of each z, as the critic's ``sums`` gives them. In expectation over n independent
    pairs the value is at most I(x; z) for any T; in each sample it is at most log n. By Jensen it is never below
    :func:`bound` of the same scores with a share of 1/n.
    """
    joint, log_count = joint.float(), math.log(len(joint))
    return torch.stack([(joint - torch.logaddexp(joint, others)).mean() for others in (by_x, by_z)]).mean() + log_count


class Mine:
    """A critic, its optimizer, and the generators of its training; ``name`` keeps the estimators' draws apart."""

    def __init__(self, critic: nn.Module, settings: Optimizer, runtime: Runtime, seed: int, name: str) -> None:
        self.critic, self.settings, self.runtime, self.seed, self.name = critic, settings, runtime, seed, name
        self.optimizer = optimizers.AdamW(
            critic.parameters(), settings.lr, settings.betas, weight_decay=settings.weight_decay
        )

    def generator(self, purpose: str) -> torch.Generator:
        """A random generator of this estimator's own, by purpose."""
        return self.runtime.generator(self.seed, "mine", self.name, purpose)

    def value(self, x: Tensor, z: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """The bound in nats on a batch of x and released z from a set of n images."""
        with self.runtime.autocast():
            joint, log_marginal = self.critic(x, z, generator)
        return bound(joint, log_marginal, 1 / n if self.critic.counts_joint else 0)

    def epoch(self, fit: Pairs, order: torch.Generator, noise: torch.Generator, decay: LRScheduler) -> float:
        """Train for one pass over the fit pairs; returns the mean of the batches' bounds, each before its own step."""
        self.critic.train()
        batch_size = self.batch(fit)
        index = torch.randperm(len(fit.x), device=order.device, generator=order)
        values = []
        # full batches only: what a batch can certify depends on its size
        for part in index[: len(index) - len(index) % batch_size].split(batch_size):
            value = self.value(*fit.take(part, noise), len(fit.x), order)
            self.optimizer.zero_grad(set_to_none=True)
            (-value).backward()  # the bound is maximized
            self.optimizer.step()
            decay.step()
            values.append(value.detach())
        return torch.stack(values).mean().item()

    def batch(self, pairs: Pairs) -> int:
        """The batch size: that of the settings, or the number of pairs where they are fewer."""
        return min(self.settings.batch_size, len(pairs.x))

    def readings(self, x: Tensor, z: Tensor, order: torch.Generator) -> dict[str, Tensor]:
        """The bound on a held-out batch of x and released z and, where the critic scores all pairs, InfoNCE too."""
        if not self.critic.counts_joint:
            return {"nats": self.value(x, z, len(x), order)}
        with self.runtime.autocast():
            sums = self.critic.sums(x, z)
        return {"nats": bound(sums[0], off_diagonal(sums[1]), 1 / len(x)), "infonce_nats": infonce(*sums)}

    @torch.no_grad()
    def held_out(self, pairs: Pairs, size: int) -> dict[str, float]:
        """Readings on held-out pairs, averaged over full batches of ``size``.

        The noise and the marginal pairs are the same in every epoch.
        """
        self.critic.eval()
        # generators of the same key in every epoch, hence the same noise and pairs
        noise, order = self.generator("held-out noise"), self.generator("held-out pairs")
        starts = range(0, len(pairs.x) - size + 1, size)
        batches = [self.readings(*pairs.take(slice(start, start + size), noise), order) for start in starts]
        return {name: torch.stack([batch[name] for batch in batches]).mean().item() for name in batches[0]}

    def run(self, fit: Pairs, held: Pairs, budget: Budget, held_out_batch: int, label: str) -> list[dict[str, float]]:
        """Train for all epochs; a row for each, with fit and held-out nats, and InfoNCE where the critic gives it."""
        epochs = enough(budget.epochs, budget.least_steps, len(fit.x), self.batch(fit))
        order, noise, rows = self.generator("order"), self.generator("noise"), []
        steps = epochs * (len(fit.x) // self.batch(fit))
        # the authors halve the rate while the estimate improves; here it falls to zero, so that the last epochs agree
        decay = LinearLR(self.optimizer, 1, 0, steps)
        bar = progress(range(1, epochs + 1), label)
        for epoch in bar:
            fit_nats = self.epoch(fit, order, noise, decay)
            rows.append({"epoch": epoch, "fit_nats": fit_nats, **self.held_out(held, held_out_batch)})
            bar.set_postfix(loss=f"{-fit_nats:.3f}", held_out_nats=f"{rows[-1]['nats']:.3f}")
        return rows


def averaged(rows: list[dict[str, float]], average: int, column: str) -> dict[str, Any]:
    """Mean and standard deviation of a column over the last ``average`` epochs; the deviation of one epoch is NaN."""
    last = torch.tensor([row[column] for row in rows[-average:]], dtype=torch.float64)
    return {"mi_nats": last.mean().item(), "mi_nats_std": last.std().item() if len(last) > 1 else math.nan}


def summary(rows: list[dict[str, float]], average: int, **facts: object) -> dict[str, Any]:
    """What the result states of a training, by name, with ``facts`` added.

    Mean and deviation over the last epochs on held-out images, their mean on fit images, and the best epoch.
    """
    last = rows[-average:]
    return {
        **averaged(rows, average, "nats"),
        "fit_nats": sum(row["fit_nats"] for row in last) / len(last),
        "best_epoch_nats": max(row["nats"] for row in rows),
        "epochs": len(rows),
        "averaged_epochs": len(last),
        **facts,
    }


def estimate_paper(
    fit: Pairs, held: Pairs, settings: Settings, budget: Budget, runtime: Runtime, seed: int, label: str
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The paper's estimator on normalized x: its summary, with the cap, and its training curve.

    Raises ValueError for a feature larger than the image.
    """
    fit, held, optimizer = fit.first(budget.fit_images), held.first(budget.held_out_images), settings.paper
    with runtime.seeded(seed, "mine paper"):
        critic = runtime.place(PaperCritic(tuple(fit.x.shape[1:]), tuple(fit.z.shape[1:])))
    mine = Mine(critic, optimizer, runtime, seed, "paper")
    rows = mine.run(fit, held, budget, mine.batch(held), f"{label} paper")
    facts = {"batch_size": mine.batch(fit), "fit_images": len(fit.x), "held_out_images": len(held.x)}
    return summary(rows, settings.average, cap_nats=paper_cap(mine.batch(held)), **facts), rows


def estimate_calibrated(
    fit: Pairs, held: Pairs, settings: Settings, budget: Budget, runtime: Runtime, seed: int, label: str
) -> tuple[dict[str, dict[str, Any]], list[dict[str, float]]]:
    """The summaries ``calibrated`` and ``infonce`` of one critic, and its training curve with both values.

    All held-out pairs together give one value of each kind. It cannot pass log n for n held-out images. Raises
    ValueError for fewer than 2 held-out images.
    """
    fit, held, optimizer = fit.first(budget.fit_images), held.first(budget.held_out_images), settings.calibrated
    like = fit.take(slice(LIKE), runtime.generator(seed, "mine statistics"))
    limit = math.log(max(len(fit.x), 2))  # a larger T gains nothing on the fit images
    with runtime.seeded(seed, "mine calibrated"):
        critic = runtime.place(SeparableCritic(like, settings.critic.width, settings.critic.grid, limit))
    mine = Mine(critic, optimizer, runtime, seed, "calibrated")
    # one batch of all held-out pairs, because the cap is the log of its size
    rows = mine.run(fit, held, budget, len(held.x), f"{label} calibrated")
    facts = {"cap_nats": math.log(len(held.x)), "batch_size": mine.batch(fit)}
    facts |= {"fit_images": len(fit.x), "held_out_images": len(held.x)}
    calibrated = summary(rows, settings.average, **facts)
    values = averaged(rows, settings.average, "infonce_nats")
    shared = {key: calibrated[key] for key in ("epochs", "averaged_epochs", *facts)}
    return {"calibrated": calibrated, "infonce": values | shared}, rows
