"""The stage ``train_judge``: one classifier per data set, trained by the loop and with the images of the targets."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

from splitprobe.core.artifacts import provenance, write_json
from splitprobe.core.cells import Cell, Paths
from splitprobe.core.params import Params, bounded
from splitprobe.core.runtime import Runtime, derive
from splitprobe.datasets.base import open_dataset
from splitprobe.learning.schedule import Course
from splitprobe.models import MODELS, count
from splitprobe.models.split import Shape
from splitprobe.targets import training
from splitprobe.targets.judge import recognized
from splitprobe.targets.target import Blueprint, Target

log = logging.getLogger("splitprobe")


@dataclass(frozen=True)
class Settings:
    """The section ``judge``."""

    model: str = bounded(choices=tuple(MODELS))
    cut: int = bounded(1, 12)


@dataclass(frozen=True)
class Plan(Course):
    """The section ``scales.judge``: a schedule with its warm-up, and the channels of the network's first block."""

    width: int = bounded(8, 1024)


def judge_cell(dataset: str, settings: Settings) -> Cell:
    """A data set's judge as a cell: an unprotected network."""
    plain = dict.fromkeys(("architecture", "defense"), "unprotected") | dict.fromkeys(("variant", "ablation"), "none")
    start = f"prepared/{dataset}/summary.json"
    return Cell(f"judge/{dataset}", dataset, settings.model, settings.cut, **plain, start=start, title="")


def train_judge(dataset: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """Train the judge of a data set with plain cross-entropy, keep the epoch of the best validation accuracy.

    Writes judges/<dataset>.pt and .json; returns the latter.
    """
    settings, plan = params.section("judge", Settings), params.scaled("judge", Plan)
    shared = params.section("training", training.Settings)
    prepared, summary = open_dataset(paths, dataset)
    roles = {role: training.tensors(prepared, role, runtime) for role in ("train", "validation", "test")}
    images = len(roles["train"][0])
    plan = plan.on(images, shared.batch_size)
    cell = judge_cell(dataset, settings)
    shape = Shape(summary["channels"], summary["side"], len(summary["classes"]), plan.width)
    # a seed of its own: a target of the same architecture shares neither its first weights nor its order of images
    seed = derive(params.seed, "judge", dataset)
    runtime = training.settled(Blueprint.from_params(cell, shape, params), shared, plan, runtime, images)
    trainer = training.Trainer(Blueprint.from_params(cell, shape, params), shared, plan, runtime, seed, images)
    log.info("%s: %d epochs on %d images, %s", cell.name, plan.epochs, images, runtime.name)
    with runtime.seeded(seed, "layers"):  # nn.Dropout draws from torch's global generator
        history = list(trainer.fit(roles["train"], roles["validation"], cell.name))
    record = {"scale": params.scale, "seed": params.seed, "training": asdict(plan)}
    judge = Target(Blueprint.from_params(cell, shape, params), trainer.edge, trainer.cloud, runtime, record).freeze()
    right = {role: recognized(judge, images, labels) for role, (images, labels) in roles.items()}
    result = {
        "provenance": provenance(params.scale, params.seed, runtime.name, cell.name),
        "dataset": summary["title"],
        "model": settings.model,
        "parameters": count.parameters(trainer.net),
        "training": {**asdict(plan), "best_epoch": trainer.best_epoch, "epochs_run": len(history)},
        "accuracy": right["test"],
        "validation_accuracy": right["validation"],
        "train_accuracy": right["train"],
        "chance": 1 / shape.classes,
    }
    judge.save(paths.judge(dataset))
    write_json(paths.judge(dataset).with_suffix(".json"), result)
    log.info("%s: accuracy %.3f on test, %.3f on validation images", cell.name, right["test"], right["validation"])
    return result
