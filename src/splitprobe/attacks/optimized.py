"""All attacks that optimize an image, on one cell: those of ATTACKS but for the decoders, from which some begin."""

from __future__ import annotations

from functools import partial
from typing import Any

from splitprobe.attacks import ATTACKS
from splitprobe.attacks.base import DENOISER, Attack, Scene, run_family
from splitprobe.attacks.generator import load_decoders, load_second_judge
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.core.registry import lookup
from splitprobe.core.runtime import Runtime
from splitprobe.targets.prior import load_prior

DECODERS = "generator"  # the line of ATTACKS that the stage train_generator runs


def run_mle(cell: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Attack]:
    """The stage ``run_mle``: build each attack, giving it those before it, and run them; returns them by name.

    Raises FileNotFoundError or ValueError naming a file that is missing or damaged.
    """
    scene = Scene.open(cell, paths, runtime)
    second = load_second_judge(scene, paths)
    built: dict[str, Any] = dict(load_decoders(scene.target, params.seed, paths))
    built[DENOISER] = partial(load_prior, paths, scene.target.cell.dataset, runtime)
    attacks: list[Attack] = []
    for name in (name for name in ATTACKS if name != DECODERS):
        more, images = lookup(ATTACKS, name, "attack")(scene.target, params, scene.test, built)
        attacks += more
        built |= {attack.name: attack for attack in more}
    run_family(attacks, images, scene, params, paths, second=lambda: second)
    return {attack.name: attack for attack in attacks}
