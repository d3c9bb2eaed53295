"""MINE, the neural estimate of I(x; z) in nats: the paper's form, and one calibrated on data with a known answer.

Both maximize the Donsker-Varadhan bound E[T] - log E[exp T] (the paper's equations 10 and 11) over a critic T. They are
fitted on the images that the target was trained on and read on held-out images. What counts is mean and spread over the
last epochs, never the best epoch. For a deterministic edge on continuous data I is infinite; the estimate says what its
critic can see of it, up to its cap. Differs from the authors: they print the best epoch on auxiliary images (kept as
``best_epoch_nats``) and halve the learning rate while the estimate improves.

The calibrated one is fitted until the bound stops rising on a part of the fit images that it does not learn from. The
images that it is read on decide nothing. The paper's has a fixed number of epochs.

Null: every estimate is made once more with each image beside the feature of another, in fitting and in reading. There
is nothing to find then, and what the estimator says all the same is ``null_nats``. ``null_nats_std`` is what chance
does to the difference of estimate and null, were x and z independent: either value's standard error over held-out
images, of T on their own pair less T on another one.

InfoNCE (van den Oord et al. 2018; Poole et al. 2019) is computed from the scores of the calibrated critic, without
training of its own. It is a lower bound for any critic. The critic that is best for Donsker-Varadhan, the log ratio of
the densities, is best for InfoNCE too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from splitprobe.core.runtime import Runtime, progress
from splitprobe.information.critics import PaperCritic, SeparableCritic, log_mean_exp, off_diagonal, paper_cap
from splitprobe.information.pairs import Pairs, partners
from splitprobe.information.settings import Budget, Converging, Optimizer, Settings
from splitprobe.learning import optimizers
from splitprobe.learning.schedule import Rate, UntilConverged, enough
from splitprobe.models import count

LIKE = 2048  # fit images whose statistics standardize x and z


class Falling(Rate):
    """A learning rate that falls to zero in equal parts, one for each step."""

    def __init__(self, optimizer: torch.optim.Optimizer, epochs: int, steps: int) -> None:
        self.epochs, self.batch = epochs, LinearLR(optimizer, 1, 0, epochs * steps).step

    def step(self, held_out_loss: float) -> None:
        """End an epoch, which changes nothing."""


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


def chance(own: Tensor, other: Tensor) -> Tensor:
    """Standard error of a bound of independent x and z, from T of n images beside their own z and beside another."""
    return (own - other).float().std() / math.sqrt(len(own))


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

    def step(self, x: Tensor, z: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """One optimizer step on a batch from a set of n images; returns the bound before it."""
        value = self.value(x, z, n, generator)
        self.optimizer.zero_grad(set_to_none=True)
        (-value).backward()  # the bound is maximized
        self.optimizer.step()
        return value.detach()

    def settle(self, fit: Pairs) -> None:
        """Decide the precision, where it is open, by steps of a copy on some of the fit pairs."""

        def build(place: Runtime) -> Callable[[], Tensor]:
            one = Mine(copy.deepcopy(self.critic), self.settings, place, self.seed, self.name)
            draws = one.generator("precision")
            x, z = fit.take(slice(self.batch(fit)), draws)
            return lambda: one.step(x, z, len(fit.x), draws)

        shapes = f"{tuple(fit.x.shape[1:])} and {tuple(fit.z.shape[1:])}"
        work = f"{type(self.critic).__name__} of {count.parameters(self.critic)} parameters on {shapes}"
        self.runtime = self.runtime.settled(f"{work}, batch {self.batch(fit)}", build)

    def epoch(self, fit: Pairs, order: torch.Generator, noise: torch.Generator, rate: Rate) -> float:
        """Train for one pass over the fit pairs; returns the mean of the batches' bounds, each before its own step."""
        self.critic.train()
        batch_size = self.batch(fit)
        index = torch.randperm(len(fit.x), device=order.device, generator=order)
        values = []
        # full batches only: what a batch can certify depends on its size
        for part in index[: len(index) - len(index) % batch_size].split(batch_size):
            values.append(self.step(*fit.take(part, noise), len(fit.x), order))
            rate.batch()
        return torch.stack(values).mean().item()

    def embedded(self, pairs: Pairs, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """What the calibrated critic's towers make of all pairs, whose x and z are let go part by part."""
        found = []
        for x, z in pairs.parts(noise):
            with self.runtime.autocast():  # not around the parts: z is computed as anywhere else
                found.append(self.critic.embed(x, z))
        from_x, from_z = zip(*found, strict=True)
        return torch.cat(from_x), torch.cat(from_z)

    def batch(self, pairs: Pairs) -> int:
        """The batch size: that of the settings, or the number of pairs where they are fewer."""
        return min(self.settings.batch_size, len(pairs.x))

    def readings(self, pairs: Pairs, noise: torch.Generator, order: torch.Generator) -> dict[str, Tensor]:
        """The bound on held-out pairs as one batch, what chance does to it, and InfoNCE where there is one.

        InfoNCE needs the critic's scores of all pairs. Chance does the same to it: what it takes off depends on no
        partner.
        """
        if not self.critic.counts_joint:
            x, z = pairs.take(slice(None), noise)
            with self.runtime.autocast():
                joint, marginal = self.critic.both(x, z, order)
                return {"nats": bound(joint, log_mean_exp(marginal), 0), "chance": chance(joint, marginal)}
        a, b = self.embedded(pairs, noise)
        sums, other = self.critic.sums(a, b), self.critic.aligned(a, b[partners(len(b), order)])
        nats = bound(sums[0], off_diagonal(sums[1]), 1 / len(a))
        return {"nats": nats, "infonce_nats": infonce(*sums), "chance": chance(sums[0], other)}

    @torch.no_grad()
    def held_out(self, pairs: Pairs, size: int) -> dict[str, float]:
        """Readings on held-out pairs, averaged over full batches of ``size``; ``chance`` is that of the average.

        The noise and the marginal pairs are the same in every epoch.
        """
        self.critic.eval()
        # generators of the same key in every epoch, hence the same noise and pairs
        noise, order = self.generator("held-out noise"), self.generator("held-out pairs")
        starts = range(0, len(pairs.x) - size + 1, size)
        batches = [self.readings(pairs.between(start, start + size), noise, order) for start in starts]
        read = {name: torch.stack([batch[name] for batch in batches]).mean().item() for name in batches[0]}
        # of as many independent batches
        return read | {"chance": read["chance"] / math.sqrt(len(batches))}

    @torch.no_grad()
    def stopping(self, pairs: Pairs, n: int) -> float:
        """The bound that n fit images are trained for, on pairs that are not among them, with the same noise each time.

        Its cap is log n, however few these pairs are: a bound that ends at their own cap would look converged there.
        """
        self.critic.eval()
        joint, by_x, _ = self.critic.sums(*self.embedded(pairs, self.generator("stopping noise")))
        return bound(joint, off_diagonal(by_x), 1 / n).item()

    def run(
        self, fit: Pairs, held: Pairs, rate: Rate, held_out_batch: int, label: str, stop: Pairs | None = None
    ) -> list[dict[str, float]]:
        """Train for all epochs of the rate, which looks at the bound on ``stop``, where that is given.

        Returns a row for each: fit and held-out nats, what chance does to these, and InfoNCE where the critic gives it.
        """
        self.settle(fit)
        order, noise, rows = self.generator("order"), self.generator("noise"), []
        bar = progress(range(1, rate.epochs + 1), label)
        for epoch in bar:
            fit_nats = self.epoch(fit, order, noise, rate)
            rate.step(math.nan if stop is None else -self.stopping(stop, len(fit.x)))
            rows.append({"epoch": epoch, "fit_nats": fit_nats, **self.held_out(held, held_out_batch)})
            bar.set_postfix(loss=f"{-fit_nats:.3f}", held_out_nats=f"{rows[-1]['nats']:.3f}")
            if rate.done:
                break
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


def beside_null(
    rows: list[dict[str, float]], null_rows: list[dict[str, float]], average: int, column: str
) -> dict[str, float]:
    """What the estimator says of shuffled pairs, and what chance does to an estimate less that."""
    deviation = math.hypot(rows[-1]["chance"], null_rows[-1]["chance"])
    return {"null_nats": averaged(null_rows, average, column)["mi_nats"], "null_nats_std": deviation}


def estimate_paper(
    fit: Pairs, held: Pairs, settings: Settings, budget: Budget, runtime: Runtime, seed: int, label: str
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The paper's estimator on normalized x: its summary, with cap and null, and its training curve.

    Raises ValueError for a feature larger than the image.
    """
    fit, held = fit.first(budget.fit_images), held.first(budget.held_out_images)
    batch_size = min(settings.paper.batch_size, len(fit.x))
    epochs = enough(budget.epochs, budget.least_steps, len(fit.x), batch_size)

    def trained(fit: Pairs, held: Pairs, epochs: int, name: str) -> tuple[Mine, list[dict[str, float]]]:
        with runtime.seeded(seed, "mine paper"):
            critic = runtime.place(PaperCritic(tuple(fit.x.shape[1:]), tuple(fit.z[:1].shape[1:])))
        mine = Mine(critic, settings.paper, runtime, seed, name)
        # the authors halve the rate while the estimate improves; here it falls to zero, so that the last epochs agree
        rate = Falling(mine.optimizer, epochs, len(fit.x) // batch_size)
        return mine, mine.run(fit, held, rate, mine.batch(held), f"{label} {name}")

    mine, rows = trained(fit, held, epochs, "paper")
    shuffle = runtime.generator(seed, "mine shuffle")
    apart = (pairs.shuffled(shuffle) for pairs in (fit, held))
    _, null_rows = trained(*apart, min(epochs, budget.null_epochs), "paper null")
    facts = {"batch_size": batch_size, "fit_images": len(fit.x), "held_out_images": len(held.x)}
    facts |= beside_null(rows, null_rows, settings.average, "nats") | {"null_epochs": len(null_rows)}
    return summary(rows, settings.average, cap_nats=paper_cap(mine.batch(held)), **facts), rows


def estimate_calibrated(
    fit: Pairs, held: Pairs, settings: Settings, budget: Converging, runtime: Runtime, seed: int, label: str
) -> tuple[dict[str, dict[str, Any]], list[dict[str, float]]]:
    """The summaries ``calibrated`` and ``infonce`` of one critic, and its training curve with both values.

    All held-out pairs together give one value of each kind. It cannot pass log n for n held-out images. The last of the
    fit images, the share ``stop_share``, decide when training ends; ``still_rising`` says that the budget ended it.
    Raises ValueError for fewer than 2 held-out images.
    """
    fit, held = fit.first(budget.fit_images), held.first(budget.held_out_images)
    fit, stop = fit.split(max(2, round(len(fit.x) * settings.stop_share)))
    limit = math.log(max(len(fit.x), 2))  # a larger T gains nothing on the fit images

    def trained(
        fit: Pairs, stop: Pairs, held: Pairs, budget: Converging, name: str
    ) -> tuple[UntilConverged, list[dict[str, float]]]:
        like = fit.first(LIKE).parts(runtime.generator(seed, "mine statistics"))
        with runtime.seeded(seed, "mine calibrated"):
            critic = runtime.place(SeparableCritic(like, settings.critic.width, settings.critic.grid, limit))
        mine = Mine(critic, settings.calibrated, runtime, seed, name)
        rate = budget.rate(mine.optimizer, len(fit.x), mine.batch(fit))
        # one batch of all held-out pairs, because the cap is the log of its size
        return rate, mine.run(fit, held, rate, len(held.x), f"{label} {name}", stop)

    rate, rows = trained(fit, stop, held, budget, "calibrated")
    # each part by itself: an image and its own feature must not be on two sides of the split
    shuffle = runtime.generator(seed, "mine shuffle")
    apart = (pairs.shuffled(shuffle) for pairs in (fit, stop, held))
    null = replace(budget, steps=min(budget.steps, budget.null_steps))
    _, null_rows = trained(*apart, null, "calibrated null")
    batch_size = min(settings.calibrated.batch_size, len(fit.x))
    an_epoch = len(fit.x) // batch_size
    facts = {"cap_nats": math.log(len(held.x)), "batch_size": batch_size, "fit_images": len(fit.x)}
    facts |= {"stop_images": len(stop.x), "held_out_images": len(held.x), "steps": len(rows) * an_epoch}
    facts |= {"most_steps": rate.epochs * an_epoch, "still_rising": rate.still_falling}
    facts |= {"null_steps": len(null_rows) * an_epoch}
    nulls = (beside_null(rows, null_rows, settings.average, column) for column in ("nats", "infonce_nats"))
    calibrated = summary(rows, settings.average, **facts, **next(nulls))
    values = averaged(rows, settings.average, "infonce_nats")
    shared = {key: calibrated[key] for key in ("epochs", "averaged_epochs", *facts)}
    return {"calibrated": calibrated, "infonce": values | shared | next(nulls)}, rows
