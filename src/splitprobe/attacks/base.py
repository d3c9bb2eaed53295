"""The contract of an attack, and how every attack is assessed: same images, same scores, same floors, same judge."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from splitprobe import judge as judging
from splitprobe import measures
from splitprobe.artifacts import note_seconds, provenance, write_csv, write_json, write_npz
from splitprobe.attacks import ATTACKS
from splitprobe.cells import Paths
from splitprobe.datasets.prepare import open_dataset
from splitprobe.params import Params
from splitprobe.registry import lookup
from splitprobe.runtime import Runtime
from splitprobe.target import Target, load_target

log = logging.getLogger("splitprobe")
KEPT = 64  # reconstructions stored for the figures
BLIND = ("gray", "mean_image")  # what anybody can answer; an image's own mean color is an oracle's


class Attack:
    """Rebuilds x from released features z. ``access`` says what the adversary may use of the target."""

    access: ClassVar[str]
    family: ClassVar[str]  # the file that results and curves go to
    kind: ClassVar[str]  # what the family's members are called in its result
    queries: int = 1  # releases of one image that the adversary combines
    draws: int = 1  # times the test images are intercepted; scores are means over all

    def __init__(self, name: str, target: Target, seed: int) -> None:
        self.name, self.target, self.seed = name, target, seed
        self.curve: list[dict[str, float]] = []

    def fit(self, auxiliary: Tensor) -> None:
        """Learn, or choose settings, on auxiliary images (uint8, N, C, H, W) and what the target releases of them."""

    def observe(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """What the adversary works on for features z (N, c, h, w): ``queries`` fresh releases as one."""
        return self.target.defense.combined_release(z, self.queries, generator)

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """x_hat (N, C, H, W) in [0, 1] from observed z (N, c, h, w); ``shape`` is (C, H, W)."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """What the result states beside the scores: budget, settings, size."""
        return {}

    def shuffled(self, images: Tensor) -> Tensor:
        """The images in this attack's own order, so that a held-out tail of them is a fair sample of the classes."""
        order = torch.randperm(len(images), device=images.device, generator=self.generator("split"))
        return images[order]

    def generator(self, *purpose: str) -> torch.Generator:
        """A generator of this attack's own, by purpose."""
        return self.target.runtime.generator(self.seed, "attack", self.name, *purpose)


def intercepted(attack: Attack, images: Tensor) -> Iterator[Tensor]:
    """What the attack observes of uint8 images (N, C, H, W), draw by draw.

    The same for every attack with as many queries.
    """
    z, noise = attack.target.features(images), attack.target.runtime.generator(attack.seed, "intercepted")
    for _ in range(attack.draws):
        yield attack.observe(z, noise)


def assess(
    attacks: list[Attack], auxiliary: Tensor, images: Tensor, labels: Tensor, judge: Target
) -> tuple[dict, dict, dict]:
    """Fit each attack and score it on the test images (uint8): floors, results by attack, reconstructions (uint8 NHWC).

    ``failed`` marks an attack whose mean squared error is no better than a blind answer's: gray or the mean image.
    """
    blind = measures.blind(images, auxiliary)
    floors = {name: scored(images, labels, judge, answer) for name, answer in blind.items()}
    bar = min(floors[name]["mse"] for name in BLIND)
    results, pictures = {}, {"x": _picture(images)}
    for attack in attacks:
        attack.fit(auxiliary)
        x_hat = torch.cat([attack.reconstruct(z, tuple(images.shape[1:])) for z in intercepted(attack, images)])
        scores = scored(images, labels, judge, x_hat)
        failed = not scores["mse"] < bar
        told = {"access": attack.access, "draws": attack.draws, **attack.facts()}
        results[attack.name] = {**told, **scores, "failed": failed}
        pictures[attack.name] = _picture(x_hat[: len(images)])
        verdict = " (no better than a blind answer: failed)" if failed else ""
        log.info(
            "  %s, %s: %.2f dB, SSIM %.3f%s", attack.name, attack.access, scores["psnr_db"], scores["ssim"], verdict
        )
    named = (f"{name.replace('_', ' ')} {floor['psnr_db']:.2f} dB" for name, floor in floors.items())
    log.info("  floors: %s", ", ".join(named))
    return floors, results, pictures


def scored(images: Tensor, labels: Tensor, judge: Target, x_hat: Tensor) -> dict[str, float]:
    """All scores of x_hat (draws * N, C, H, W), draw by draw, against N images (uint8) with labels (N,).

    Its distance from the images, the share that the judge recognizes, the share nearest to its own original.
    """
    draws = len(x_hat) // len(images)
    return {
        **measures.scores(images.repeat(draws, 1, 1, 1), x_hat),
        "recognized": judging.recognized(judge, x_hat, labels.repeat(draws)),
        "identified": measures.identified(images, x_hat),
    }


def _picture(images: Tensor) -> np.ndarray:
    kept = images[:KEPT]
    kept = kept if kept.dtype == torch.uint8 else (kept * 255).round().to(torch.uint8)
    return kept.permute(0, 2, 3, 1).cpu().numpy()


def run_attacks(cell: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Attack]:
    """All of ATTACKS on one cell, a part of the stage ``probe_target``, family by family; the attacks by name."""
    target = load_target(paths.target(cell), runtime)
    dataset, _ = open_dataset(paths, target.cell.dataset)
    (auxiliary, _), (test, labels) = (dataset.role(role) for role in ("auxiliary", "test"))
    auxiliary, test = runtime.images(auxiliary), runtime.images(test)
    labels = torch.as_tensor(labels, device=runtime.device)
    judge = judging.load_judge(paths, target.cell.dataset, runtime)
    built: dict[str, Attack] = {}
    families: dict[str, tuple[list[Attack], Tensor]] = {}
    for name in ATTACKS:
        attacks, images = lookup(ATTACKS, name, "attack")(target, params, test, built)
        built |= {attack.name: attack for attack in attacks}
        families.setdefault(attacks[0].family, ([], images))[0].extend(attacks)
    for attacks, images in families.values():
        run_family(attacks, auxiliary, images, labels[: len(images)], judge, params, paths)
    return built


def run_family(
    attacks: list[Attack],
    auxiliary: Tensor,
    images: Tensor,
    labels: Tensor,
    judge: Target,
    params: Params,
    paths: Paths,
) -> dict[str, Any]:
    """All attacks of a family on one cell and some of its test images.

    Writes <family>.json, reconstructions (<family>.npz) and the curves; returns the former.
    """
    begin, family, target = time.perf_counter(), attacks[0].family, attacks[0].target
    cell, runtime = target.cell.name, target.runtime
    log.info("%s: %s attack on %d test images, %s", cell, family, len(images), runtime.name)
    floors, results, pictures = assess(attacks, auxiliary, images, labels, judge)
    result = {
        "provenance": provenance(params.scale, params.seed, runtime.name, cell),
        "cell": cell,
        "images": len(images),
        "judge": judging.bearings(judge, images.float() / 255, labels),
        "floors": floors,
        attacks[0].kind: results,
    }
    rows = _joined([attack.curve for attack in attacks])
    write_npz(paths.result(cell, f"{family}.npz"), **pictures)
    write_csv(paths.curve(cell, family), rows, list(dict.fromkeys(column for row in rows for column in row)))
    write_json(paths.result(cell, f"{family}.json"), result)
    note_seconds(paths.seconds(cell, family), begin)
    log.info("results in %s", paths.result(cell, f"{family}.json"))
    return result


def _joined(curves: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """One table out of the attacks' curves, joined on their first column (epoch or step)."""
    rows: dict[float, dict[str, float]] = {}
    for row in (row for curve in curves for row in curve):
        rows.setdefault(next(iter(row.values())), {}).update(row)
    return [rows[position] for position in sorted(rows)]
