"""What several releases of the same image are worth, where a defense is random: attacks on more and more of them.

A noise that is drawn anew averages out, so that with more releases the attacks come to what they get of the feature
itself. Each is given the combined release that the defense's ``combined_release`` makes of so many. The decoders are
the saved ones, fitted on one release and on ``attack.generator.queries``: of these the one fitted on the most releases
that are no more than those it is given. With more than it was fitted on it is a lower bound on a decoder of its own: it
sees a cleaner feature than it has learned to read. The tuned MLE chooses its settings at each number anew. All are
scored on the images that MLE attacks.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import Any

from splitprobe.attacks import mle
from splitprobe.attacks.base import Scene, assess
from splitprobe.attacks.generator import Decoder, load_decoders
from splitprobe.core.artifacts import provenance, write_json
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError, bounded
from splitprobe.core.runtime import Runtime
from splitprobe.targets import judge as judging

log = logging.getLogger("splitprobe")
DECODER, MLE = "strong", "tuned"  # the attacks' names in the result


@dataclass(frozen=True)
class Settings:
    """The section ``releases``."""

    queries: tuple[int, ...] = bounded(1, 1_000_000, items=(1, 100), distinct=True)


def read_by(decoder: Decoder, queries: int) -> Decoder:
    """A saved decoder as an attack that combines another number of releases than it was fitted on."""
    attack = copy.copy(decoder)
    attack.name, attack.access, attack.queries = DECODER, f"strong black-box, {queries} queries", queries
    return attack


def measure_releases(cell: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """The stage ``measure_releases``: score both attacks on each number of releases; writes releases/<cell>.json.

    Raises ParamsError for a cell whose releases are always the same, FileNotFoundError or DamagedFile naming what is
    missing.
    """
    queries = sorted(params.section("releases", Settings).queries)
    scene = Scene.open(cell, paths, runtime)
    if not scene.target.defense.stochastic:
        raise ParamsError(f"stages/cells.yaml: `released` lists {cell}, whose releases of an image are all the same")
    decoders = load_decoders(scene.target, params.seed, paths).values()
    settings, plan = params.section("attack.mle", mle.Settings), params.scaled("mle", mle.Plan)
    images, labels = scene.test[: plan.images], scene.labels[: plan.images]
    points = []
    for number in queries:
        log.info("%s: %d releases of %d images, %s", cell, number, len(images), runtime.name)
        # there is always one that was fitted on a single release
        fitting = max((each for each in decoders if each.queries <= number), key=lambda each: each.queries)
        tuned = mle.TunedMle(scene.target, params.seed, settings.tuned, plan, images, MLE)
        tuned.queries = number
        attacks = [read_by(fitting, number), tuned]
        floors, results, _ = assess(attacks, scene.auxiliary, images, labels, scene.judge)
        points.append({"queries": number, "fitted_on": fitting.queries, **results})
    result = {
        "provenance": provenance(params.scale, params.seed, runtime.name, cell),
        "cell": cell,
        "network": scene.target.record["training"].get("reused_from") or cell,
        "images": len(images),
        "judge": judging.landmarks(scene.judge, images, labels),
        "floors": floors,
        "points": points,
    }
    write_json(paths.releases(cell), result)
    log.info("results in %s", paths.releases(cell))
    return result
