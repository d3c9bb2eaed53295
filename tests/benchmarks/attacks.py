"""What attack seconds buy: PSNR of the strong decoder and of the hybrid on one cell, at several budgets.

    python tests/benchmarks/attacks.py [--cell cnn/unprotected] [--steps 20 40 80 160]

Needs the cell's target, its judge and its data, which `dvc repro run_mle@cnn/unprotected` builds; about a minute at
scale demo. Prints seconds of this process, and for each budget the seconds per dB gained over the one before it; the
hybrid starts from the decoder of the largest budget. Nothing is asserted or written.
"""

import argparse
import time
from pathlib import Path

import torch

from splitprobe.attacks import generator, hybrid
from splitprobe.attacks.base import Attack, Scene, intercepted
from splitprobe.attacks.mle import decibels
from splitprobe.core import runtime
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params

ROOT = Path(__file__).parents[2]


def measured(attack: Attack, scene: Scene, images: torch.Tensor) -> tuple[float, float]:
    """Seconds of fitting and of attacking, and the mean PSNR in dB on the test images."""
    begin = time.process_time()
    attack.fit(scene.auxiliary)
    answers = [attack.reconstruct(z, tuple(images.shape[1:])) for z in intercepted(attack, images)]
    taken = time.process_time() - begin
    return taken, torch.stack([decibels(images, x_hat).mean() for x_hat in answers]).mean().item()


def show(name: str, budgets: list[int], runs: list[tuple[float, float, Attack]]) -> None:
    """A line for each budget."""
    print(f"\n{name:<10}{'most steps':>12}{'taken':>8}{'seconds':>9}{'dB':>8}{'more dB':>9}{'s per dB':>10}  improving")
    last: tuple[float, float] | None = None
    for budget, (seconds, psnr_db, attack) in zip(budgets, runs, strict=True):
        gained = "" if last is None else f"{psnr_db - last[1]:+.2f}"
        price = "" if last is None or psnr_db <= last[1] else f"{(seconds - last[0]) / (psnr_db - last[1]):.1f}"
        facts = attack.facts()
        line = f"{'':<10}{budget:>12}{facts['steps']:>8}{seconds:>9.1f}{psnr_db:>8.2f}{gained:>9}{price:>10}"
        print(f"{line}  {'yes' if facts['still_improving'] else 'no'}")
        last = seconds, psnr_db


def main() -> None:
    """Run both attacks at every budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", default="cnn/unprotected")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 40, 80, 160])
    parser.add_argument("--root", type=Path, default=ROOT, help="the clone whose data are used")
    options = parser.parse_args()
    params = Params.load(ROOT / "params.yaml").seeded(1, "seed")
    place = runtime.start(params.section("runtime", runtime.Settings))
    scene = Scene.open(options.cell, Paths(params.scale, options.root, 1), place)
    print(f"{options.cell}, scale {params.scale}, {place.name}")
    runs: dict[str, list[tuple[float, float, Attack]]] = {"strong": [], "hybrid": []}
    for steps in options.steps:
        attacks, images = generator.build(scene.target, params.changed("scales.strong.steps", steps), scene.test, {})
        decoder = next(attack for attack in attacks if attack.name == "strong")
        runs["strong"].append((*measured(decoder, scene, images), decoder))
    for steps in options.steps:
        budget = params.changed("scales.mle.most_steps", steps)
        (attack, *_), images = hybrid.build(scene.target, budget, scene.test, {"strong": decoder})
        runs["hybrid"].append((*measured(attack, scene, images), attack))
    for name, own in runs.items():
        show(name, options.steps, own)


if __name__ == "__main__":
    main()
