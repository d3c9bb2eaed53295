"""What attack seconds buy: the gain of each attack over the mean image, at a few budgets.

    python tests/benchmarks/attacks.py [--scale demo] [--cells cnn/unprotected ...] [--budgets 0.5 1 2]

Needs the cells' targets, their judge and data, which `dvc repro run_mle@cnn/unprotected` and the like build; some
minutes at scale demo. Budgets are factors of the scale's own steps. Each line has the processor seconds of fitting and
attacking, PSNR on the images that every attack is given, dB above the mean auxiliary image, and seconds for each of
these; behind them the price of a dB more than at the budget before. A hybrid starts from the strong decoder of the same
budget, whose seconds count. Nothing is asserted or written.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from splitprobe.attacks import generator, hybrid, mle
from splitprobe.attacks.base import Attack, Scene, intercepted
from splitprobe.attacks.mle import decibels
from splitprobe.attacks.query_free import QueryFree
from splitprobe.core import runtime
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params

ROOT = Path(__file__).parents[2]
Build = Callable[[Scene, Params, torch.Tensor, Mapping[str, Attack]], Attack]


def named(module: object, name: str) -> Build:
    """One of the attacks that a module builds."""

    def build(scene: Scene, params: Params, images: torch.Tensor, built: Mapping[str, Attack]) -> Attack:
        return next(attack for attack in module.build(scene.target, params, images, built)[0] if attack.name == name)

    return build


# key of the steps, and how it is built
ATTACKS: dict[str, tuple[str, Build]] = {
    "query-free": ("scales.query_free.steps", lambda scene, params, x, built: QueryFree(scene.target, params, x)),
    "black-box": ("scales.generator.least_steps", named(generator, "black_box")),
    "strong": ("scales.strong.steps", named(generator, "strong")),
    "MLE, paper": ("scales.mle.steps", named(mle, "paper")),
    "MLE, tuned": ("scales.mle.most_steps", named(mle, "tuned")),
    "hybrid": ("scales.mle.most_steps", named(hybrid, "hybrid")),
}


def run(attack: Attack, scene: Scene, images: torch.Tensor, shared: int) -> tuple[float, float]:
    """Processor seconds of fitting and of attacking the images, and mean PSNR in dB on the first ``shared``."""
    begin = time.process_time()
    attack.fit(scene.auxiliary)
    answers = [attack.reconstruct(z, tuple(images.shape[1:])) for z in intercepted(attack, images)]
    taken = time.process_time() - begin
    return taken, torch.stack([decibels(images[:shared], x[:shared]).mean() for x in answers]).mean().item()


def show(scene: Scene, params: Params, budgets: list[float]) -> None:
    """A line for each attack at each budget."""
    shared, several = params.raw("scales.mle.images"), params.raw("scales.generator.images")
    floor = decibels(scene.test[:shared], scene.auxiliary.float().mean(0, keepdim=True) / 255).mean().item()
    print(f"\n{scene.target.cell.name}: the mean image has {floor:.2f} dB")
    columns = {"budget": 8, "steps": 8, "seconds": 9, "dB": 8, "gain": 8, "s per dB": 10, "s per dB more": 15}
    print("attack      " + "".join(f"{name:>{width}}" for name, width in columns.items()))
    decoders: dict[float, tuple[Attack, float]] = {}
    for name, (key, build) in ATTACKS.items():
        last = (0.0, floor)
        for budget in budgets:
            steps = max(1, round(budget * params.raw(key)))
            own = params.changed(key, steps)
            if key == "scales.generator.least_steps":  # they begin above the epochs, which would hide them
                own = own.changed("scales.generator.epochs", 1)
            images = scene.test[: shared if name.startswith(("MLE", "hybrid")) else several]
            decoder, spent = decoders.get(budget, (None, 0.0))
            attack = build(scene, own, images, {"strong": decoder} if decoder else {})
            seconds, psnr_db = run(attack, scene, images, shared)
            if name == "strong":
                decoders[budget] = attack, seconds
            seconds += spent if name == "hybrid" else 0.0
            prices = [(seconds, psnr_db - floor), (seconds - last[0], psnr_db - last[1])]
            whole, more = (f"{s / db:.1f}" if math.isfinite(db) and db > 0.01 else "-" for s, db in prices)
            taken = attack.facts()["steps"] if name != "query-free" else steps
            line = f"{name:<12}{budget:>8g}{taken:>8}{seconds:>9.1f}{psnr_db:>8.2f}{psnr_db - floor:>+8.2f}"
            print(f"{line}{whole:>10}{more:>15}", flush=True)
            last = seconds, psnr_db


def main() -> None:
    """Run all attacks on some cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=("tiny", "demo"), default="demo")
    parser.add_argument("--cells", nargs="+", default=["cnn/unprotected", "cnn/nopeek", "cnn/siftfunnel"])
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the clone whose data are used")
    options = parser.parse_args()
    params = Params.load(ROOT / "params.yaml", options.scale).seeded(1, "seed")
    place = runtime.start(params.section("runtime", runtime.Settings))
    print(f"scale {params.scale}, {place.name}")
    for cell in options.cells:
        show(Scene.open(cell, Paths(params.scale, options.root, 1), place), params, options.budgets)


if __name__ == "__main__":
    main()
