"""The one training loop: any network behind any defense, selected on validation images."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from splitprobe.core.artifacts import provenance, write_csv, write_json
from splitprobe.core.cells import Cell, Paths
from splitprobe.core.params import Params, ParamsError, bounded
from splitprobe.core.runtime import Runtime, derive, progress
from splitprobe.datasets.base import Dataset, open_dataset
from splitprobe.defenses.base import Batch, Defense, Site
from splitprobe.learning.augment import augment
from splitprobe.learning.estimator import Estimator, comparison
from splitprobe.learning.parts import joined
from splitprobe.learning.replay import Replay
from splitprobe.learning.schedule import Adam, Course, Rate, batches, renew_statistics
from splitprobe.models import count
from splitprobe.models.gpu_layers import on_gpu
from splitprobe.models.split import Shape
from splitprobe.targets.target import QUERY, Blueprint, Features, Target, load_target, with_defense

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
    estimator_again: int = bounded(1, 1000)
    estimator_ratio: float = bounded(1.0, 100.0)


@dataclass(frozen=True)
class Plan(Course):
    """The section ``scales.target.<model>``: how a network is trained, the same for every defense.

    Of several rates in ``lr`` each cell tries each for ``trial_epochs`` of its own, and takes the one with the best
    validation accuracy. The epoch whose weights are kept is chosen among those after ``select_after``. A defense's own
    estimator is compared with a fresh one of at least ``estimator_steps`` steps.
    """

    lr: tuple[float, ...] = bounded(1e-7, 1.0, items=(1, 20), distinct=True)
    trial_epochs: int = bounded(1, 100_000)
    select_after: int = bounded(0, 100_000)
    estimator_steps: int = bounded(1, 10_000_000)

    def check(self) -> None:
        """Raise ParamsError where no epoch could be chosen."""
        if self.select_after >= self.epochs:
            few = f"fewer than the {self.epochs} epochs are needed, so that one can be chosen"
            raise ParamsError(f"scales.target: select_after = {self.select_after}: {few}")

    def on(self, images: int, batch_size: int) -> Plan:
        """As for any schedule; the other numbers of epochs rise with that of the training."""
        raised = super().on(images, batch_size)
        trial = math.ceil(self.trial_epochs * raised.epochs / self.epochs)
        return replace(raised, trial_epochs=trial, select_after=self.select_after * raised.epochs // self.epochs)

    def course(self, lr: float) -> Course:
        """The training with one of the rates."""
        return Course(self.epochs, lr, self.schedule, self.least_steps, self.warmup)

    def trial(self) -> Plan:
        """The shorter training by which rates are compared."""
        after = self.select_after * self.trial_epochs // self.epochs
        return replace(self, epochs=self.trial_epochs, select_after=after)


class Diverged(ValueError):
    """A training whose loss was not finite before any epoch could be chosen."""


class Trainer:
    """Trains edge and cloud of one cell on ``size`` images: uint8 (N, C, H, W) on the device, labels (N,)."""

    def __init__(
        self, blueprint: Blueprint, settings: Settings, schedule: Course, runtime: Runtime, seed: int, size: int
    ) -> None:
        self.defense: Defense = blueprint.defense
        runtime = runtime.at("float32") if self.defense.full_precision else runtime
        self.settings, self.schedule, self.runtime, self.seed = settings, schedule, runtime, seed
        # one seed for every cell: two defenses that share layers start from the same weights
        with runtime.seeded(seed, "weights"):
            self.edge, self.cloud = (runtime.place(half) for half in blueprint.build())
        self.net = nn.ModuleList((self.edge, self.cloud))
        self.optimizer = settings.optimizer(self.net.parameters(), schedule.lr, settings.weight_decay)
        steps = schedule.epochs * max(1, size // (self.defense.batch_size or settings.batch_size))
        self.rate = Rate(self.optimizer, schedule, settings, schedule.warmup_steps(steps))
        self.best_epoch = 0
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
        else:  # Opacus takes gradients of the layers that it knows, one image at a time
            for half in (self.edge, self.cloud):
                on_gpu(half, runtime.device)
        self.layers = tuple(
            runtime.compiled(outputs_of(half), 0 if private else steps) for half in (self.edge, self.cloud)
        )
        static = private is None and self.defense.replayable
        self.replay = Replay(self._step, runtime, self.optimizer, (self.views, self.noise), static)
        self.scheduled: dict[str, float] = {}  # the values that this epoch's steps are made with

    def forward(self, x: Tensor, y: Tensor) -> Batch:
        """One forward pass in training mode."""
        of_edge, of_cloud = self.layers
        with self.runtime.autocast():
            edge = of_edge(x)
            cloud = of_cloud(self.defense.training_release(edge[-1], self.noise))
        return Batch(x, y, edge[-1], cloud[-1], tuple(edge[1:] + cloud))  # the edge's first is the normalized image

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, the task's first."""
        return {"task": self.defense.task_loss(batch.logits, batch.y), **self.defense.penalty(batch)}

    def step(self, images: Tensor, labels: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        """One optimizer step on uint8 images: the batch, and the loss, its terms and the defense's own readings.

        On a GPU the next step may overwrite what this one returned.
        """
        # a private batch that is too large for the memory comes in parts, and only the last one's step is made
        if not getattr(self.optimizer, "_is_last_step_skipped", False):
            self.rate.begin_step()
        return self.replay(images, labels)

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        """The part of a step that is the same each time, and runs on the device alone."""
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
            batch = None  # the last step's activations are not held beside the next one's
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

    def fit(
        self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], label: str, after: int = 0
    ) -> Iterator[dict]:
        """Train for all epochs, yielding one curve row each; ends with the weights of the best validation accuracy.

        Only epochs ``after`` this number, and in which the defense is in force, can be chosen.

        Stops at the first epoch whose loss is not finite, with a warning; raises Diverged if none can be chosen yet.
        """
        best, best_accuracy = None, -1.0
        bar = progress(range(1, self.schedule.epochs + 1), label)
        for epoch in bar:
            scheduled = self.defense.begin_epoch(epoch)
            if scheduled != self.scheduled:
                self.scheduled = scheduled
                self.replay.renew()
            row = {"epoch": epoch, **self.epoch(*train), **scheduled}
            if not math.isfinite(row["loss"]):
                log.warning("%s, epoch %d: the loss is %g, training stops here", label, epoch, row["loss"])
                if best is None:
                    raise Diverged(f"{label}: diverged before any epoch could be chosen: lower the defense's weights")
                break
            self.renew_statistics(train[0])
            loss, accuracy = self.validate(*validation)
            if row["dead_channels"] == batch_channels(self.edge):
                log.warning("%s, epoch %d: every channel of z is dead, nothing of the image is sent", label, epoch)
            self.rate.step(loss)
            if epoch > after and self.defense.in_force and accuracy > best_accuracy:
                best, best_accuracy = copy.deepcopy(self.kept.state_dict()), accuracy
                self.best_epoch = epoch
            row |= {"validation_loss": loss, "validation_accuracy": accuracy}
            bar.set_postfix({k: f"{v:.3g}" for k, v in row.items() if k != "epoch"})
            yield row
        self.replay.renew()  # gives its memory back
        self.kept.load_state_dict(best)

    def renew_statistics(self, images: Tensor) -> None:
        """Take BatchNorm's statistics anew from the first training images, not augmented; the same images each time."""
        size, noise = self.settings.batch_size, self.runtime.generator(self.seed, "statistics")
        parts = images[: size * self.settings.statistics_batches].split(size)

        def run(x: Tensor) -> Tensor:
            with self.runtime.autocast():
                return self.cloud(self.defense.release(self.edge(x), noise))

        renew_statistics(self.net, run, (part.float() / 255 for part in parts))

    def compare_estimator(self, images: Tensor, held_out: Tensor, least_steps: int) -> dict[str, Any]:
        """How the defense's own estimator compares with a fresh one of the edge as it is; empty where it has none.

        The fresh one learns from training images as the other did, for at least ``least_steps`` steps; both are judged
        by held-out ones (uint8, N, C, H, W). The penalty never sees an estimator before it has followed the edge's last
        step, so it does that first.
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
        steps = max(least_steps, settings.estimator_share * own.steps)
        fresh.learn(epoch, steps, settings.estimator_again)

        def error(one: Estimator) -> float:
            return one.mean_error(pairs(part.float() / 255 for part in held_out.split(settings.batch_size)))

        return comparison(*((one, error(one)) for one in (own, fresh)), settings.estimator_ratio)

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


def outputs_of(half: nn.Sequential) -> Callable[[Tensor], list[Tensor]]:
    """A function that gives the outputs of all layers of an edge or a cloud."""

    def run(x: Tensor) -> list[Tensor]:
        outputs = []
        for layer in half:
            x = layer(x)
            outputs.append(x)
        return outputs

    return run


def settled(blueprint: Blueprint, settings: Settings, schedule: Course, runtime: Runtime, size: int) -> Runtime:
    """The runtime with its precision decided, where it is open, by training steps of a copy of these networks.

    They see noise, in batches as a set of ``size`` images has, under the defense as its last epoch has it.
    """
    cell, shape, defense = blueprint.cell, blueprint.shape, blueprint.defense
    if defense.full_precision:
        return runtime.at("float32")
    batch = min(defense.batch_size or settings.batch_size, size)

    def build(place: Runtime) -> Callable[[], object]:
        place = replace(place, compile=None)  # that takes longer than what is measured here
        trainer = Trainer(copy.deepcopy(blueprint), settings, schedule, place, 0, size)
        trainer.defense.begin_epoch(schedule.epochs)
        trainer.net.train()
        noise = torch.randint(0, 256, (batch, shape.side, shape.side, shape.channels), dtype=torch.uint8)
        images, labels = place.images(noise), torch.arange(batch, device=place.device) % shape.classes
        return lambda: trainer.step(images, labels)

    names = f"{cell.model} {shape.width} wide cut at {cell.cut}, {cell.architecture}, {cell.defense}"
    sizes = f"{shape.channels}x{shape.side}x{shape.side}, {shape.classes} classes, batch {batch}"
    return runtime.settled(f"training of {names}, {cell.variant}, {cell.ablation}, {sizes}", build)


def batch_channels(edge: nn.Sequential) -> int:
    """Channels of z."""
    return edge[-1].out_channels


def accuracy(target: Target, images: Tensor, labels: Tensor, draws: int, seed: int) -> float:
    """Top-1 accuracy in [0, 1] on uint8 images, averaged over ``draws`` passes where edge or cloud is stochastic."""
    z, noise = Features.of(target, images), target.runtime.generator(seed, "accuracy")

    def one_pass() -> Tensor:
        sent = target.defense.releases(z.parts(QUERY), len(images), 1, noise)
        return (joined(map(target.logits, sent), len(images)).argmax(1) == labels).float().mean()

    with target.runtime.seeded(seed, "accuracy"):
        return torch.stack([one_pass() for _ in range(passes_needed(target.defense, draws))]).mean().item()


def passes_needed(defense: Defense, draws: int) -> int:
    """How many passes a mean needs: one where nothing is drawn."""
    return draws if defense.stochastic or defense.stochastic_cloud else 1


def try_rates(
    cell: Cell, shape: Shape, params: Params, plan: Plan, runtime: Runtime, paths: Paths, roles: dict[str, tuple]
) -> list[dict[str, Any]]:
    """A short training of the cell with each of the plan's rates: what the best validation accuracy was.

    All start from the same weights and see the same images, drawn apart from those of the training itself. Writes a
    curve of each. A trial that diverges has no accuracy; raises Diverged where all do.
    """
    settings, trial = params.section("training", Settings), plan.trial()
    seed, size = derive(params.seed, "trial"), len(roles["train"][0])
    tried = []
    for lr in plan.lr:
        trainer = None  # one at a time
        blueprint = Blueprint.from_params(cell, shape, params)
        trainer = Trainer(blueprint, settings, trial.course(lr), runtime, seed, size)
        history: list[dict] = []
        label = f"{cell.name} at learning rate {lr:g}"
        try:
            with runtime.seeded(seed, "layers"):
                for row in trainer.fit(roles["train"], roles["validation"], label, trial.select_after):
                    history.append(row)
            found = history[trainer.best_epoch - 1]["validation_accuracy"]
        except Diverged as error:
            log.warning("%s", error)
            found = math.nan
        log.info("%s: %.3f on validation images after %d epochs", label, found, trial.epochs)
        write_csv(paths.trial(cell.name, lr), history, list(history[0]) if history else CURVE)
        tried.append({"lr": lr, "epochs": len(history), "validation_accuracy": found})
    if all(math.isnan(one["validation_accuracy"]) for one in tried):
        raise Diverged(f"{cell.name}: diverged at each of the rates of scales.target.{cell.model}.lr: add lower ones")
    return tried


def best_rate(trials: list[dict[str, Any]]) -> float:
    """The rate of the trial with the highest validation accuracy; of equal ones the first."""
    finished = [trial for trial in trials if not math.isnan(trial["validation_accuracy"])]
    return max(finished, key=lambda trial: trial["validation_accuracy"])["lr"]


def train_target(cell: Cell, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """The stage ``train_target``: train a cell or, where it acts at inference only, adopt another cell's weights.

    Writes the checkpoint, the training curve (with those of trials of several rates) and target.json; returns the
    latter.
    """
    settings, plan = params.section("training", Settings), params.scaled(f"target.{cell.model}", Plan)
    width = params.scaled(f"model.{cell.model}", Width).width
    dataset, summary = open_dataset(paths, cell.dataset)
    roles = {role: tensors(dataset, role, runtime) for role in ("train", "validation", "test")}
    plan = plan.on(len(roles["train"][0]), settings.batch_size)
    shape = Shape(summary["channels"], summary["side"], len(summary["classes"]), width)
    blueprint = Blueprint.from_params(cell, shape, params)
    history, compared = [], {}
    if cell.reuses_weights:
        source = load_target(paths.started(cell.start), runtime)
        log.info("%s: weights of %s, nothing is trained", cell.name, source.cell.name)
        target = with_defense(source, blueprint)
        training = {**source.record["training"], "reused_from": source.cell.name}
    else:
        runtime = settled(blueprint, settings, plan.course(plan.lr[0]), runtime, len(roles["train"][0]))
        trials = try_rates(cell, shape, params, plan, runtime, paths, roles) if len(plan.lr) > 1 else []
        schedule = plan.course(best_rate(trials) if trials else plan.lr[0])
        trainer = Trainer(blueprint, settings, schedule, runtime, params.seed, len(roles["train"][0]))
        log.info("%s: %d epochs on %d images, %s", cell.name, schedule.epochs, len(roles["train"][0]), runtime.name)
        with runtime.seeded(params.seed, "layers"):  # nn.Dropout draws from torch's global generator
            history = list(trainer.fit(roles["train"], roles["validation"], cell.name, plan.select_after))
        compared = trainer.compare_estimator(roles["train"][0], roles["validation"][0], plan.estimator_steps)
        if compared.get("outrun"):
            log.warning("%s: %s", cell.name, compared["ratio_reason"])
        training = {
            **asdict(schedule), "select_after": plan.select_after,
            "candidates": list(plan.lr), "trial_epochs": plan.trial_epochs if trials else 0, "trials": trials,
            "batch_size": blueprint.defense.batch_size or settings.batch_size,
            "weight_decay": settings.weight_decay, "best_epoch": trainer.best_epoch,
            "dead_channels": history[trainer.best_epoch - 1]["dead_channels"],
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
