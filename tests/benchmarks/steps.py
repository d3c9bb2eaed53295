"""Training and attack steps against their bare forms, distance correlation against its explicit form, precisions.

    python tests/benchmarks/steps.py

Prints ratios measured in this one run; each line names what it is compared with. Nothing is asserted.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from splitprobe.attacks import ATTACKS, generator
from splitprobe.attacks.mle import Plan, Tuned, TunedMle
from splitprobe.core import runtime
from splitprobe.core.cells import Cell
from splitprobe.core.params import Params
from splitprobe.core.registry import lookup
from splitprobe.defenses import DEFENSES
from splitprobe.learning import losses
from splitprobe.learning.schedule import Course
from splitprobe.models.split import Shape
from splitprobe.targets.target import Blueprint, Target
from splitprobe.targets.training import Settings, Trainer

SHAPE = Shape(channels=3, side=32, classes=10, width=32)
BATCH, ROUNDS = 128, 15


def ratio(ours: Callable[[], object], bare: Callable[[], object]) -> tuple[float, float]:
    """Median times of two calls, run in turns so that both meet the same machine; ratio and the bare milliseconds."""
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(ROUNDS):
        for name, call in (("ours", ours), ("bare", bare)):
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    ours_median, bare_median = (statistics.median(times[name][2:]) for name in ("ours", "bare"))
    return ours_median / bare_median, bare_median * 1000


def show(name: str, measured: tuple[float, float], against: str) -> None:
    """One line of the report."""
    print(f"{name:<38}{measured[0]:6.2f}x   of {against} ({measured[1]:.1f} ms)", flush=True)


def blueprint(params: Params, defense: str, variant: str = "none") -> Blueprint:
    """The CNN of width 32 behind a defense."""
    place = {"dataset": "objects", "model": "cnn", "cut": 2, "start": "fresh", "title": ""}
    how = {"architecture": "unprotected", "defense": defense, "variant": variant, "ablation": "none"}
    cell = Cell(name=f"cnn/{defense}", **place, **how)
    return Blueprint.from_params(cell, SHAPE, params.varied(f"variants.{variant}"))


def trainer(params: Params, place: runtime.Runtime, defense: str, variant: str = "none") -> Trainer:
    """Ready to step; the set is said to be large, which DP-SGD's batches need."""
    settings = params.section("training", Settings)
    one = Trainer(blueprint(params, defense, variant), settings, Course(2, 1e-4, "constant", 0, 0.0), place, 1, 10_000)
    one.net.train()
    return one


def training_steps(params: Params, place: runtime.Runtime, images: torch.Tensor, labels: torch.Tensor) -> None:
    """The loop's own cost, then each defense's step against the unprotected one."""
    plain, x = trainer(params, place, "unprotected"), images.float() / 255

    def bare() -> None:
        with place.autocast():
            logits = plain.cloud(plain.edge(x))
        loss = F.cross_entropy(logits.float(), labels)
        plain.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        plain.optimizer.step()

    show("unprotected training step", ratio(lambda: plain.step(images, labels), bare), "forward, backward, Adam")
    cells = [(name, "none") for name in DEFENSES if name != "unprotected"]
    for name, variant in [*cells, ("dpsgd", "groupnorm"), ("bido", "bido_cka"), ("ae", "ae_adversarial")]:
        one = trainer(params, place, name, variant)
        measured = ratio(lambda one=one: one.step(images, labels), lambda: plain.step(images, labels))
        show(f"{name if variant == 'none' else variant} training step", measured, "the unprotected step")


def attack_steps(params: Params, place: runtime.Runtime, images: torch.Tensor) -> None:
    """A generator step and an MLE iteration against their bare forms."""
    for defense in ("unprotected", "siftfunnel"):
        plan = blueprint(params, defense)
        edge, cloud = (place.place(half) for half in plan.build())
        target = Target(plan, edge, cloud, place, {}).freeze()
        x, z = images.float() / 255, target.features(images)
        attack: generator.Generator = lookup(ATTACKS, "generator", "attack")(target, params, images, {})[0][0]
        noise = attack.generator("release")

        def bare(attack: generator.Generator = attack, z: torch.Tensor = z, x: torch.Tensor = x) -> None:
            with place.autocast():
                x_hat = attack.decoder(z)
            loss = F.mse_loss(x_hat.float(), x)
            attack.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            attack.optimizer.step()

        def step(attack: generator.Generator = attack, z: torch.Tensor = z, noise: torch.Generator = noise) -> None:
            index = torch.arange(len(z))
            attack.step(attack.observe(z[index], noise), images[index])

        show(f"{defense} generator step", ratio(step, bare), "the bare step")
        mle = TunedMle(target, 1, Tuned((0.05,), (0.01,), (1.0,), 0.05), Plan(64, 1, 1, 1, 1, 1, 1), images[:64])
        pixels = mle.start(z[:64], (3, 32, 32)).requires_grad_()
        optimizer = mle.optimizer([pixels], mle.trials)

        iterate = mle.stepper([pixels], z[:64], optimizer)

        def forward_backward(target: Target = target, z: torch.Tensor = z, pixels: torch.Tensor = pixels) -> None:
            torch.autograd.grad((target.edge(pixels) - z[:64]).square().sum(), pixels)

        show(f"{defense} MLE iteration", ratio(iterate, forward_backward), "edge forward and backward")


def explicit_distances(points: torch.Tensor) -> torch.Tensor:
    """The B x B x D form."""
    flat = points.flatten(1)
    return ((flat[:, None] - flat[None]).square().sum(2) + 1e-10).sqrt()


def distance_correlation() -> None:
    """Time and memory at B = 128, D = 12,288."""
    x, z = torch.rand(128, 12288), torch.rand(128, 4096)

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before = peak()
    losses.distance_correlation(x, z)
    grown = peak() - before
    begin = time.perf_counter()
    explicit_distances(x)
    slow = time.perf_counter() - begin
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        losses.pairwise_distances(x)
        times.append(time.perf_counter() - begin)
    fast = statistics.median(times)
    print(f"distances at B=128, D=12,288: {slow / fast:.0f}x faster than the B x B x D form ({slow * 1000:.0f} ms)")
    print(f"distance correlation: {grown:.0f} MB more peak memory, the B x B x D form {peak() - before:.0f} MB")


def precisions(params: Params, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Images a second of an unprotected training step in each precision and memory format."""
    rates = {}
    for precision in ("float32", "bfloat16"):
        for channels_last in (False, True):
            place = runtime.Runtime(torch.device("cpu"), precision, channels_last, "")
            settings = params.section("training", Settings)
            one = Trainer(
                blueprint(params, "unprotected"), settings, Course(1, 1e-4, "constant", 0, 0.0), place, 1, BATCH
            )
            resident = place.images(images.permute(0, 2, 3, 1).contiguous().numpy())
            times = []
            for _ in range(4):
                begin = time.perf_counter()
                one.step(resident, labels)
                times.append(time.perf_counter() - begin)
            rates[precision, channels_last] = len(images) / min(times)
    for (precision, channels_last), rate in rates.items():
        layout = "channels last" if channels_last else "contiguous"
        relative = rate / rates["float32", False]
        print(f"{precision}, {layout}: {relative:.2f}x of float32 contiguous ({rate:.0f} images/s)")


def main() -> None:
    """Run every benchmark of this file."""
    params = Params.load(Path(__file__).parents[2] / "params.yaml")
    place = runtime.start(params.section("runtime", runtime.Settings))
    print(f"{place.name}; batch {BATCH}, 32x32, width 32\n")
    source = torch.Generator().manual_seed(0)
    images = place.images(torch.randint(0, 256, (BATCH, 32, 32, 3), generator=source, dtype=torch.uint8).numpy())
    labels = torch.arange(BATCH) % 10
    distance_correlation()
    training_steps(params, place, images, labels)
    attack_steps(params, place, images)
    precisions(params, images, labels)


if __name__ == "__main__":
    sys.exit(main())
