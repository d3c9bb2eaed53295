"""What the attacker's knowledge is worth: one decoder fitted on shares of the auxiliary images, and on foreign ones.

Below them all stands the attacker who has auxiliary images but no feature of any (see attacks.query_free).

Every fit may take as many optimizer steps as the one on the whole set and chooses its epoch on its own held-out part,
so that points differ by the pairs (x, z) that the attacker has, not by the length of training. A small set therefore
gets many short epochs, in smaller batches where it has fewer images than a batch. All are scored on the same test
images, each beside the floors of its own images: an attacker who knows few of them knows their mean image less well
too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from splitprobe.attacks import generator
from splitprobe.attacks.base import Attack, assess
from splitprobe.attacks.query_free import QueryFree
from splitprobe.core.artifacts import provenance, write_json
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError, bounded
from splitprobe.core.runtime import Runtime
from splitprobe.datasets.auxiliary import shared_names
from splitprobe.datasets.base import open_dataset
from splitprobe.targets import judge as judging
from splitprobe.targets.target import Target, load_target

log = logging.getLogger("splitprobe")
LEAST = 2  # images: one to learn from, one to choose the epoch on


@dataclass(frozen=True)
class Settings:
    """The section ``knowledge``."""

    decoder: str = bounded(choices=tuple(generator.TITLES))
    shares: tuple[float, ...] = bounded(1e-6, 1.0, items=(1, 100), distinct=True)
    other: str


def measure_knowledge(cell: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """The stage ``measure_knowledge``: fit and score the decoder on each set of images; writes knowledge/<cell>.json.

    Raises ParamsError for a decoder that the cell has not, or for images of another data set that do not fit.
    """
    settings, target = params.section("knowledge", Settings), load_target(paths.target(cell), runtime)
    judge = judging.load_judge(paths, target.cell.dataset, runtime)
    dataset, summary = open_dataset(paths, target.cell.dataset)
    whole, (test, labels) = runtime.images(dataset.role("auxiliary")[0]), dataset.role("test")
    test, labels = runtime.images(test), torch.as_tensor(labels, device=runtime.device)
    foreign, described = other_images(target, settings.other, whole, summary["classes"], paths)
    records = []

    def score(attack: Attack, auxiliary: Tensor) -> None:
        log.info("%s: %s knows %d of %d images, %s", cell, attack.name, len(auxiliary), len(whole), runtime.name)
        floors, results, _ = assess([attack], auxiliary, images, labels[: len(images)], judge)
        records.append({"auxiliary_images": len(auxiliary), "floors": floors, **results[attack.name]})

    for auxiliary in (*(few(whole, share) for share in settings.shares), foreign):
        attack, images = decoder(settings.decoder, target, params, test)
        keep_steps(attack, len(auxiliary), len(whole))
        score(attack, auxiliary)
    score(QueryFree(target, params, images), whole)
    *inside, outside, blind = records
    result = {
        "provenance": provenance(params.scale, params.seed, runtime.name, cell),
        "cell": cell,
        "decoder": settings.decoder,
        "images": len(images),
        "judge": judging.landmarks(judge, images, labels[: len(images)]),
        "shares": [{"share": share, **record} for share, record in zip(settings.shares, inside, strict=True)],
        "other": {**described, **outside},
        "query_free": blind,
    }
    write_json(paths.knowledge(cell), result)
    log.info("results in %s", paths.knowledge(cell))
    return result


def few(images: Tensor, share: float) -> Tensor:
    """The first ``share`` of the images, at least two; these hold all classes, and a larger share holds a smaller."""
    return images[: max(LEAST, round(share * len(images)))]


def decoder(name: str, target: Target, params: Params, test: Tensor) -> tuple[Any, Tensor]:
    """A fresh decoder of this name, and the test images to attack; raises ParamsError where the cell has none."""
    attacks, images = generator.build(target, params, test, {})
    known = {attack.name: attack for attack in attacks}
    if name not in known:
        raise ParamsError(f"knowledge.decoder = {name!r}: {target.cell.name} has only {', '.join(known)}")
    return known[name], images


def keep_steps(attack: Any, images: int, whole: int) -> None:
    """Plan a decoder's fit on so many images with the optimizer steps that it would take on the ``whole`` set.

    Within one epoch of the small set, that is; patience, which is counted in epochs, is stretched likewise. The strong
    decoder's bound and patience are counted in steps as they are.
    """
    if isinstance(attack.plan, generator.Strong):
        return
    size, settings = attack.settings.batch_size, attack.settings
    usual, now = (n - attack.held(n) for n in (whole, images))
    epochs = attack.plan.on(usual, size).epochs
    attack.plan = replace(attack.plan, epochs=1, least_steps=epochs * max(1, usual // size)).on(now, size)
    patience = max(1, round(settings.plateau_patience * attack.plan.epochs / epochs))
    attack.settings = replace(settings, plateau_patience=patience)


def other_images(
    target: Target, name: str, whole: Tensor, classes: list[str], paths: Paths
) -> tuple[Tensor, dict[str, Any]]:
    """Another data set's auxiliary images (uint8), at most as many as the target's ``whole``, and what they are.

    Gray ones are repeated to the target's channels. Raises ParamsError for the target's own data set or another shape.
    """
    if name == target.cell.dataset:
        raise ParamsError(f"knowledge.other = {name!r}: the target's own data set; name another one")
    dataset, summary = open_dataset(paths, name)
    images = target.runtime.images(dataset.role("auxiliary")[0])[: len(whole)]
    if images.shape[1] == 1:
        images = images.repeat(1, whole.shape[1], 1, 1)
    if images.shape[1:] != whole.shape[1:]:
        ours, theirs = ("x".join(map(str, t.shape[1:])) for t in (whole, images))
        raise ParamsError(f"knowledge.other = {name!r}: its images are {theirs}, those of {target.cell.name} {ours}")
    # where the auxiliary images come from a source of their own, its classes are theirs
    theirs = summary["classes"] if summary["auxiliary_source"] is None else summary["auxiliary_classes"] or ()
    shared = len(shared_names(tuple(classes), tuple(theirs)))
    return images, {"dataset": name, "title": summary["title"], "shared_classes": shared}
