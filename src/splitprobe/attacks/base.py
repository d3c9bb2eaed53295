"""What every attack offers, and how attacks are scored.

All attacks get the same images, scores, floors and judge. The floors are scores of answers that use no feature.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from splitprobe.core.artifacts import provenance, write_csv, write_json, write_npz
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.core.runtime import Runtime
from splitprobe.datasets.base import open_dataset
from splitprobe.learning import measures
from splitprobe.learning.parts import joined
from splitprobe.targets import judge as judging
from splitprobe.targets.perceptual import perceptual
from splitprobe.targets.second_judge import SecondJudge
from splitprobe.targets.target import Features, Target, load_target

log = logging.getLogger("splitprobe")
KEPT = 64  # reconstructions stored for the figures
PART = 512  # images whose releases are observed and rebuilt at a time
# scores on the images that every attack is given
SHARED = ("mse", "psnr_db", "ssim", "recognized", "recognized_adapted", "identified", "perceptual")
Second = Callable[[], SecondJudge | None]  # gives the second judge, once the attacks are fitted
DENOISER = "denoiser"  # beside the attacks that others begin from: a function that loads the data set's prior
BLIND = ("gray", "mean_image")  # what anybody can answer; the third floor, an image's own mean color, needs x


class Attack:
    """Rebuilds x from released features z.

    ``access`` says what the adversary may use of the target. ``name`` is the attack's key in the result files.
    """

    access: ClassVar[str]
    family: ClassVar[str]  # the file that results and curves go to
    kind: ClassVar[str]  # what the family's members are called in its result
    queries: int = 1  # releases of one image that the adversary combines
    draws: int = 1  # times the test images are intercepted; scores are means over all

    def __init__(self, name: str, target: Target, seed: int) -> None:
        self.name, self.target, self.seed = name, target, seed
        self.curve: list[dict[str, float]] = []
        self.view: Callable[[Tensor], Tensor] = nn.Identity()  # what it looks at of a release

    def fit(self, auxiliary: Tensor) -> None:
        """Learn, or choose settings, on auxiliary images (uint8, N, C, H, W) and what the target releases of them."""

    @torch.no_grad()
    def observe(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """What the adversary works on for features z (B, c, h, w): the view of ``queries`` fresh releases, combined."""
        return self.view(self.target.defense.combined_release(z, self.queries, generator))

    @torch.no_grad()
    def observed(self, features: Features, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the same of a whole set of images, in parts of PART."""
        releases = self.target.defense.releases
        yield from map(self.view, releases(features.parts(PART), len(features), self.queries, generator))

    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The images x_hat (N, C, H, W) in [0, 1] from observed z (N, c, h, w); ``shape`` is (C, H, W)."""
        raise NotImplementedError

    def rebuild(self, images: Tensor, draws: int) -> Tensor:
        """The images x_hat (draws * N, C, H, W), draw by draw, from what it intercepts of uint8 images (N, C, H, W)."""
        shape = tuple(images.shape[1:])
        answers = (self.reconstruct(z, shape) for z in itertools.islice(intercepted(self, images), draws))
        return joined(answers, draws * len(images))

    def facts(self) -> dict[str, Any]:
        """What the result file states beside the scores, by name: budget, settings, size."""
        return {}

    def shuffled(self, images: Tensor, part: slice = slice(None)) -> Tensor:
        """A part of the images in an order of this attack's own, the same at every call.

        A held-out tail of them is then a fair sample of the classes.
        """
        order = torch.randperm(len(images), device=images.device, generator=self.generator("split"))
        return images[order[part]]

    def generator(self, *purpose: str) -> torch.Generator:
        """A random generator of this attack's own, for the purpose that the words name."""
        return self.target.runtime.generator(self.seed, "attack", self.name, *purpose)


def intercepted(attack: Attack, images: Tensor) -> Iterator[Tensor]:
    """Yield what the attack observes of uint8 images (N, C, H, W), once for each of its draws.

    Attacks with the same number of queries observe the same releases.
    """
    features, noise = interception(attack, images)
    for _ in range(attack.draws):
        yield joined(attack.observed(features, noise), len(images))


def interception(attack: Attack, images: Tensor) -> tuple[Features, torch.Generator]:
    """The features of uint8 images (N, C, H, W) that are attacked, and the noise of what is released of them."""
    # the generator's key holds no attack's name: attacks then differ by method and not by luck
    return Features.of(attack.target, images), attack.target.runtime.generator(attack.seed, "intercepted")


def assess(
    attacks: list[Attack],
    auxiliary: Tensor,
    images: Tensor,
    labels: Tensor,
    judge: Target,
    shared: int = 0,
    second: Second = lambda: None,
) -> tuple[dict, dict, dict]:
    """Fit all attacks, then score each on the test images (uint8, N, C, H, W) with labels (N,).

    Returns the floors by name, the results by attack, and images and reconstructions for the figures (uint8, NHWC).
    ``failed`` marks an attack whose mean squared error is no better than that of a blind answer, gray or the mean
    image. Scores on the first ``shared`` images alone, those that every attack is given, follow under ``shared_``.
    """
    for attack in attacks:
        attack.fit(auxiliary)
    other, blind = second(), measures.blind(images, auxiliary)
    floors = {name: scored(images, labels, judge, answer, other) for name, answer in blind.items()}
    blind_mse = min(floors[name]["mse"] for name in BLIND)
    results, pictures = {}, {"x": _to_pictures(images)}
    for attack in attacks:
        x_hat = attack.rebuild(images, attack.draws)
        scores = scored(images, labels, judge, x_hat, other)
        # "not <" and not ">=": the NaN of a diverged attack counts as failed
        failed = not scores["mse"] < blind_mse
        facts = {"access": attack.access, "draws": attack.draws, **attack.facts()}
        results[attack.name] = {**facts, **scores, "failed": failed}
        if shared:
            some = x_hat.unflatten(0, (-1, len(images)))[:, :shared].flatten(0, 1)
            on_shared = scored(images[:shared], labels[:shared], judge, some, other)
            kept = (key for key in on_shared if key.removesuffix("_reason") in SHARED)
            results[attack.name] |= {f"shared_{key}": on_shared[key] for key in kept}
        # of several draws, the figures show the first
        pictures[attack.name] = _to_pictures(x_hat[: len(images)])
        verdict = " (no better than a blind answer: failed)" if failed else ""
        log.info(
            "  %s, %s: %.2f dB, SSIM %.3f%s", attack.name, attack.access, scores["psnr_db"], scores["ssim"], verdict
        )
    floor_texts = (f"{name.replace('_', ' ')} {floor['psnr_db']:.2f} dB" for name, floor in floors.items())
    log.info("  floors: %s", ", ".join(floor_texts))
    return floors, results, pictures


def scored(
    images: Tensor, labels: Tensor, judge: Target, x_hat: Tensor, second: SecondJudge | None = None
) -> dict[str, Any]:
    """All scores of x_hat (draws * N, C, H, W), draw by draw, against N uint8 images with labels (N,).

    Beside the distances from the images: the share that each judge recognizes, the share nearest to its own original,
    and the distance in the first judge's features.
    """
    draws = len(x_hat) // len(images)
    of_all = labels.repeat(draws)
    return {
        **measures.scores(images.repeat(draws, 1, 1, 1), x_hat),
        "recognized": judging.recognized(judge, x_hat, of_all),
        **(second.share(x_hat, of_all) if second else {}),
        "identified": measures.identified(images, x_hat),
        "perceptual": perceptual(judge, images, x_hat),
    }


def _to_pictures(images: Tensor) -> np.ndarray:
    """The first images (N, C, H, W), uint8 or floats in [0, 1], as uint8 (n, H, W, C) for the figures."""
    kept = images[:KEPT]
    kept = kept if kept.dtype == torch.uint8 else (kept * 255).round().to(torch.uint8)
    return kept.permute(0, 2, 3, 1).cpu().numpy()


@dataclass(frozen=True)
class Scene:
    """What all attacks on one cell share.

    The target; auxiliary images (uint8, N, C, H, W) and test images, each with their labels, on its device; the judge
    of the data set.
    """

    target: Target
    auxiliary: Tensor
    auxiliary_labels: Tensor
    test: Tensor
    labels: Tensor
    judge: Target

    @classmethod
    def open(cls, cell: str, paths: Paths, runtime: Runtime) -> Scene:
        """Load it; raises FileNotFoundError, ValueError or DataError naming what is missing."""
        target = load_target(paths.target(cell), runtime)
        dataset, _ = open_dataset(paths, target.cell.dataset)
        roles = (dataset.role(name) for name in ("auxiliary", "test"))
        pairs = ((runtime.images(x), torch.as_tensor(y, device=runtime.device)) for x, y in roles)
        (auxiliary, auxiliary_labels), (test, labels) = pairs
        return cls(
            target,
            auxiliary,
            auxiliary_labels,
            test,
            labels,
            judging.load_judge(paths, target.cell.dataset, runtime),
        )


def run_family(
    attacks: list[Attack],
    images: Tensor,
    scene: Scene,
    params: Params,
    paths: Paths,
    shared: int = 0,
    second: Second = lambda: None,
) -> dict[str, Any]:
    """Run all attacks of a family on one cell; ``images`` are the first of the scene's test images.

    ``shared`` of them, where that is not all, are scored on their own too, as :func:`assess` says; ``second`` gives the
    same second judge at each call.

    Writes <family>.json, reconstructions (<family>.npz) and the curves; returns what is in the first.
    """
    family, target, labels = attacks[0].family, attacks[0].target, scene.labels[: len(images)]
    cell, runtime = target.cell.name, target.runtime
    log.info("%s: %s attack on %d test images, %s", cell, family, len(images), runtime.name)
    floors, results, pictures = assess(attacks, scene.auxiliary, images, labels, scene.judge, shared, second)
    landmarks, other = judging.landmarks(scene.judge, images, labels), second()
    result = {
        "provenance": provenance(params.scale, params.seed, runtime.name, cell),
        "cell": cell,
        "images": len(images),
        **({"shared_images": min(shared, len(images))} if shared else {}),
        "judge": {**landmarks, **(other.landmarks(images, labels) if other else {})},
        "floors": floors,
        attacks[0].kind: results,
    }
    rows = _join_curves([attack.curve for attack in attacks])
    write_npz(paths.result(cell, f"{family}.npz"), **pictures)
    write_csv(paths.curve(cell, family), rows, list(dict.fromkeys(column for row in rows for column in row)))
    write_json(paths.result(cell, f"{family}.json"), result)
    log.info("results in %s", paths.result(cell, f"{family}.json"))
    return result


def _join_curves(curves: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """One table from the curves of several attacks, joined on their first column (epoch or step)."""
    rows: dict[float, dict[str, float]] = {}
    for row in (row for curve in curves for row in curve):
        # attacks of one family may note different epochs or steps
        rows.setdefault(next(iter(row.values())), {}).update(row)
    return [rows[position] for position in sorted(rows)]
