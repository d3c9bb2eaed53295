"""The one training loop: any network behind any defense, selected on validation images."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from splitprobe.core.artifacts import provenance, write_csv, write_json
from splitprobe.core.cells import Cell, Paths
from splitprobe.core.params import Params, bounded
from splitprobe.core.runtime import Runtime, progress
from splitprobe.datasets.base import Dataset, open_dataset
from splitprobe.defenses.base import Batch, Defense, Site
from splitprobe.learning.augment import augment
from splitprobe.learning.estimator import comparison
from splitprobe.learning.schedule import Adam, Rate, Schedule, batches, renew_statistics
from splitprobe.models import count
from splitprobe.models.split import Shape
from splitprobe.targets.target import Blueprint, Target, load_target, with_defense

log = logging.getLogger("splitprobe")
CURVE = ("epoch", "loss", "task", "dead_channels", "validation_loss", "validation_accuracy")


@dataclass(frozen=True)
class Width:
    """The section ``scales.model.<model>``: channels of the first block."""

    width: int = bounded(8, 1024)


@dataclass(frozen=True)
class Settings(Adam):
    """The section ``training``: shared by all defenses, so that rows differ by their method alone."""

    weight_decay: float = bounded(0.0, 1.0)
    flip: bool
    jitter: float = bounded(0.0, 0.5)
    draws: int = bounded(1, 1000)
    estimator_share: float = bounded(0.0, 10.0)
    estimator_steps: int = bounded(1, 10_000_000)
    estimator_again: int = bounded(1, 1000)
    estimator_ratio: float = bounded(1.0, 100.0)


class Trainer:
    """Trains edge and cloud of one cell on ``size`` images: uint8 (N, C, H, W) on the device, labels (N,)."""

    def __init__(
        self, blueprint: Blueprint, settings: Settings, schedule: Schedule, runtime: Runtime, seed: int, size: int
    ) -> None:
        self.settings, self.schedule, self.runtime, self.seed = settings, schedule, runtime, seed
        self.defense: Defense = blueprint.defense
        # one seed for every cell: two defenses that share layers start from the same weights
        with runtime.seeded(seed, "weights"):
            self.edge, self.cloud = (runtime.place(half) for half in blueprint.build())
        self.net = nn.ModuleList((self.edge, self.cloud))
        self.optimizer = settings.optimizer(self.net.parameters(), schedule.lr, settings.weight_decay)
        self.rate, self.best_epoch = Rate(self.optimizer, schedule, settings), 0
        uses = ("order", "view", "noise")
        self.order, self.views, self.noise = (runtime.generator(seed, "training", use) for use in uses)
        x_shape = torch.Size((blueprint.shape.channels, blueprint.shape.side, blueprint.shape.side))
        with torch.no_grad():
            z_shape = self.edge.eval()(torch.zeros(1, *x_shape, device=runtime.device)).shape[1:]
        shapes = (blueprint.layout(self.edge), self.edge[0], x_shape, z_shape)
        site = Site(*shapes, size, schedule.epochs, runtime, seed)
        self.defense.prepare(site)
        # a defense's estimator is kept with the weights of its epoch: it is compared on the edge that it followed
        estimator = self.defense.estimator
        self.kept = nn.ModuleList((self.net, *([estimator.net] if estimator else [])))
        self.draw = lambda: batches(size, settings.batch_size, self.order)
        private = self.defense.make_private(self.net, self.optimizer, site)
        if private is not None:
            self.optimizer, self.draw = private

    def forward(self, x: Tensor, y: Tensor) -> Batch:
        """One forward pass in training mode."""
        activations = []
        with self.runtime.autocast():
            z = x
            for layer in self.edge:
                z = layer(z)
                activations.append(z)
            hidden = self.defense.training_release(z, self.noise)
            for layer in self.cloud:
                hidden = layer(hidden)
                activations.append(hidden)
        return Batch(x, y, z, hidden, tuple(activations[1:]))  # the first is the normalized image

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, the task's first."""
        return {"task": self.defense.task_loss(batch.logits, batch.y), **self.defense.penalty(batch)}

    def step(self, images: Tensor, labels: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        """One optimizer step on uint8 images: the batch, and the loss, its terms and the defense's own readings."""
        x = augment(images.float() / 255, self.settings.flip, self.settings.jitter, self.views)
        batch = self.forward(x, labels)
        readings = self.defense.inner_step(batch)
        terms = self.terms(batch)
        loss = sum(terms.values())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return batch, {"loss": loss, **terms, **readings}

    def epoch(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """One pass over the training images: the mean of each step's values, the defense's readings at the end, and
        the channels of z that stayed zero.
        """
        self.net.train()
        sums: dict[str, Tensor] = {}
        alive: Tensor | None = None
        batch, count = None, 0
        for index in self.draw():
            batch, terms = self.step(images[index], labels[index])
            with torch.no_grad():
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0) + value.detach()
                active = (batch.z != 0).any(0).flatten(1).any(1)
                alive = active if alive is None else alive | active
            count += 1
        if batch is None:
            raise ValueError("an epoch without a single image: the private batches are too small for this data set")
        means = {name: (total / count).item() for name, total in sums.items()}
        watched = {name: value.item() for name, value in self.defense.watch(batch).items()}
        return {**means, **watched, "dead_channels": (~alive).sum().item()}

    def fit(self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], label: str) -> Iterator[dict]:
        """Train for all epochs, yielding one curve row each; ends with the weights of the best validation accuracy.

        Only epochs in which the defense is in force can be chosen.

        Stops at the first epoch whose loss is not finite, with a warning; raises ValueError if none can be chosen yet.
        """
        best, best_accuracy = None, -1.0
        bar = progress(range(1, self.schedule.epochs + 1), label)
        for epoch in bar:
            scheduled = self.defense.begin_epoch(epoch)
            row = {"epoch": epoch, **self.epoch(*train), **scheduled}
            if not math.isfinite(row["loss"]):
                log.warning("%s, epoch %d: the loss is %g, training stops here", label, epoch, row["loss"])
                if best is None:
                    raise ValueError(f"{label}: diverged before any epoch could be chosen: lower the defense's weights")
                break
            self.renew_statistics(train[0])
            loss, accuracy = self.validate(*validation)
            if row["dead_channels"] == batch_channels(self.edge):
                log.warning("%s, epoch %d: every channel of z is dead, nothing of the image is sent", label, epoch)
            self.rate.step(loss)
            if self.defense.in_force and accuracy > best_accuracy:
                best, best_accuracy = copy.deepcopy(self.kept.state_dict()), accuracy
                self.best_epoch = epoch
            row |= {"validation_loss": loss, "validation_accuracy": accuracy}
            bar.set_postfix({k: f"{v:.3g}" for k, v in row.items() if k != "epoch"})
            yield row
        self.kept.load_state_dict(best)

    def renew_statistics(self, images: Tensor) -> None:
        """Take BatchNorm's statistics anew from the first training images, not augmented; the same images each time."""
        size, noise = self.settings.batch_size, self.runtime.generator(self.seed, "statistics")
        parts = images[: size * self.settings.statistics_batches].split(size)

        def run(x: Tensor) -> Tensor:
            with self.runtime.autocast():
                return self.cloud(self.defense.release(self.edge(x), noise))

        renew_statistics(self.net, run, (part.float() / 255 for part in parts))

    def compare_estimator(self, images: Tensor, held_out: Tensor) -> dict[str, Any]:
        """How the defense's own estimator compares with a fresh one of the edge as it is; empty where it has none.

        The fresh one learns from training images as the other did; both are judged by held-out ones (uint8, N, C, H,
        W). The penalty never sees an estimator before it has followed the edge's last step, so it does that first.
        """
        own, settings = self.defense.estimator, self.settings
        if own is None:
            return {}
        self.net.eval()
        order, views = (self.runtime.generator(self.seed, "fresh estimator", use) for use in ("order", "view"))

        def pairs(parts: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
            for x in parts:
                with torch.no_grad(), self.runtime.autocast():
                    z = self.edge(x)
                yield x, z

        def epoch() -> Iterator[tuple[Tensor, Tensor]]:
            index = batches(len(images), settings.batch_size, order)
            return pairs(augment(images[i].float() / 255, settings.flip, settings.jitter, views) for i in index)

        with self.runtime.seeded(self.seed, "fresh estimator"):
            fresh = own.fresh()
        own.follow(*next(epoch()))
        steps = max(settings.estimator_steps, settings.estimator_share * own.steps)
        fresh.learn(epoch, steps, settings.estimator_again)
        held = [part.float() / 255 for part in held_out.split(settings.batch_size)]
        return comparison(*((one, one.mean_error(pairs(held))) for one in (own, fresh)), settings.estimator_ratio)

    @torch.no_grad()
    def validate(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Task loss and accuracy in evaluation mode, on one draw of the release; the noise is the same every epoch."""
        self.net.eval()
        noise = self.runtime.generator(self.seed, "validation")
        loss = correct = 0.0
        with self.runtime.seeded(self.seed, "validation"):  # a cloud may draw too, from torch's global generator
            for part, y in zip(images.split(512), labels.split(512), strict=True):
                with self.runtime.autocast():
                    logits = self.cloud(self.defense.release(self.edge(part.float() / 255), noise)).float()
                loss += self.defense.task_loss(logits, y).item() * len(y)
                correct += (logits.argmax(1) == y).sum().item()
        return loss / len(labels), correct / len(labels)


def batch_channels(edge: nn.Sequential) -> int:
    """Channels of z."""
    return edge[-1].out_channels


def accuracy(target: Target, images: Tensor, labels: Tensor, draws: int, seed: int) -> float:
    """Top-1 accuracy in [0, 1] on uint8 images, averaged over ``draws`` passes where edge or cloud is stochastic."""
    z, release = target.features(images), target.defense.release
    noise = target.runtime.generator(seed, "accuracy")
    with target.runtime.seeded(seed, "accuracy"):
        passes = [target.logits(release(z, noise)) for _ in range(passes_needed(target.defense, draws))]
    return torch.stack([(logits.argmax(1) == labels).float().mean() for logits in passes]).mean().item()


def passes_needed(defense: Defense, draws: int) -> int:
    """How many passes a mean needs: one where nothing is drawn."""
    return draws if defense.stochastic or defense.stochastic_cloud else 1


def train_target(cell: Cell, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """The stage ``train_target``: train a cell or, where it acts at inference only, adopt another cell's weights.

    Writes the checkpoint, the training curve and target.json; returns the latter.
    """
    settings, schedule = params.section("training", Settings), params.scaled(f"target.{cell.model}", Schedule)
    width = params.scaled(f"model.{cell.model}", Width).width
    dataset, summary = open_dataset(paths, cell.dataset)
    roles = {role: tensors(dataset, role, runtime) for role in ("train", "validation", "test")}
    schedule = schedule.on(len(roles["train"][0]), settings.batch_size)
    shape = Shape(summary["channels"], summary["side"], len(summary["classes"]), width)
    blueprint = Blueprint.from_params(cell, shape, params)
    history, compared = [], {}
    if cell.reuses_weights:
        source = load_target(paths.started(cell.start), runtime)
        log.info("%s: weights of %s, nothing is trained", cell.name, source.cell.name)
        target = with_defense(source, blueprint)
        training = {**source.record["training"], "reused_from": source.cell.name}
    else:
        trainer = Trainer(blueprint, settings, schedule, runtime, params.seed, len(roles["train"][0]))
        log.info("%s: %d epochs on %d images, %s", cell.name, schedule.epochs, len(roles["train"][0]), runtime.name)
        with runtime.seeded(params.seed, "layers"):  # nn.Dropout draws from torch's global generator
            history = list(trainer.fit(roles["train"], roles["validation"], cell.name))
        compared = trainer.compare_estimator(roles["train"][0], roles["validation"][0])
        if compared.get("outrun"):
            log.warning("%s: %s", cell.name, compared["ratio_reason"])
        training = {
            **asdict(schedule), "batch_size": blueprint.defense.batch_size or settings.batch_size,
            "weight_decay": settings.weight_decay, "best_epoch": trainer.best_epoch,
            "diverged_epoch": None if len(history) == schedule.epochs else len(history) + 1, "reused_from": None,
        }  # fmt: skip
        target = Target(blueprint, trainer.edge, trainer.cloud, runtime, {}).freeze()
    target.record = {"scale": params.scale, "seed": params.seed, "training": training}
    result = {
        "provenance": provenance(params.scale, params.seed, runtime.name, cell.name),
        "cell": asdict(cell),
        "title": cell.title or target.defense.title,
        "settings": target.defense.plain(),
        "facts": target.defense.facts(),
        "estimator": compared,
        "dataset": {
            **{k: summary[k] for k in ("title", "source", "side", "channels")},
            "classes": len(summary["classes"]),
            **summary["counts"],
        },
        "training": training,
        "accuracy": accuracy(target, *roles["test"], settings.draws, params.seed),
        "validation_accuracy": accuracy(target, *roles["validation"], settings.draws, params.seed),
        "draws": passes_needed(target.defense, settings.draws),
        **size(target, roles["test"][0][:1]),
    }
    target.save(paths.target(cell.name))
    columns = list(history[0]) if history else CURVE
    write_csv(paths.curve(cell.name, "target"), history, columns)
    write_json(paths.result(cell.name, "target.json"), result)
    log.info("%s: accuracy %.3f; more in %s", cell.name, result["accuracy"], paths.result(cell.name, "target.json"))
    return result


def tensors(dataset: Dataset, role: str, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """One role's images, uint8 (N, C, H, W), and labels (N,), resident on the device."""
    images, labels = dataset.role(role)
    return runtime.images(images), torch.as_tensor(labels, device=runtime.device)


@torch.no_grad()
def size(target: Target, image: Tensor) -> dict[str, Any]:
    """What the target costs without a clock: parameters, multiply-accumulates, bytes of z as float32, its layers."""
    x = image.float() / 255
    z = target.features(image)
    return {
        "edge_parameters": count.parameters(target.edge),
        "edge_parameters_paper": count.parameters_per_call(target.edge, x),
        "cloud_parameters": count.parameters(target.cloud),
        "edge_macs": count.macs(target.edge, x),
        "cloud_macs": count.macs(target.cloud, z),
        "z_shape": list(z.shape[1:]),
        "z_bytes": z[0].numel() * 4,
        "blocks": [
            {"half": name, **row}
            for name, half, start in (("edge", target.edge, x), ("cloud", target.cloud, z))
            for row in count.describe(half, start)
        ],
    }
