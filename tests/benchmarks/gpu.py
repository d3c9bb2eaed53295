"""What a GPU makes of the training and attack steps of scale `paper`, as ratios measured in one run.

    python tests/benchmarks/gpu.py [--device cuda] [--scale paper] [--precision auto] [--sections networks ...]

Sections: `networks` (each family's step against its bare compiled form), `forms` (what our forms of layers and the
compiler bring), `defenses` (each one's step against the unprotected one), `decoders`, `mle`, `mine`, `repeatable` (what
repeatable kernels cost, and how far two runs without them end apart), `distances` (losses against their dense explicit
forms), and `kernels` (what takes the time of SiftFunnel's step). A step is said to be replayed where it was recorded as
a CUDA graph; `waits` are the times that Python waited for the GPU in one step that was not. It takes about 3 minutes on
an H100, most of it torch.compile's; `--no-compile` leaves that out.
`--device cpu --scale tiny` shows that it runs. Nothing is asserted, or written but for what `--precision auto` notes in
`data/machine.json` below the current folder.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from splitprobe.attacks import generator
from splitprobe.attacks.mle import Plan, Tuned, TunedMle
from splitprobe.core import runtime
from splitprobe.core.recipe import Study
from splitprobe.information import settings as information
from splitprobe.information.critics import PaperCritic, SeparableCritic
from splitprobe.information.mine import Mine
from splitprobe.learning import losses, optimizers
from splitprobe.learning.replay import WARM_UP
from splitprobe.learning.schedule import Course
from splitprobe.models import gpu_layers
from splitprobe.models.split import Shape
from splitprobe.probes.workload import CLASSES, Cells
from splitprobe.targets import training
from splitprobe.targets.target import Blueprint, Target

ROOT = Path(__file__).parents[2]
NETWORKS = ("cnn/unprotected", "resnet18/unprotected", "vgg16/unprotected")
PLAIN, FUNNEL = "cnn/unprotected", "cnn/siftfunnel"
SPREAD_STEPS = 50  # of a training, after which two runs are compared
KERNELS = 20  # that are printed


class Bench:
    """The scale's cells on one device, a batch of noise, and a clock that waits for the device."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.study = Study(ROOT, options.scale)
        self.cells, self.params = Cells(self.study), self.study.params
        asked = self.params.section("runtime", runtime.Settings)
        self.place = runtime.start(replace(asked, device=options.device, precision=options.precision))
        self.gpu, self.compiled = self.place.device.type == "cuda", options.compile
        # of a GPU, several calls are in flight as in a training; the processor is only to show that all runs
        self.rounds, self.calls, self.warm = (5, 10, WARM_UP + 5) if self.gpu else (1, 1, 1)
        self.settings = self.params.section("training", training.Settings)
        *_, source = self.cells.opened("train_target", PLAIN)
        self.size, self.side, self.channels = self.settings.batch_size, source.side, source.channels
        noise = torch.randint(0, 256, (self.size, self.side, self.side, self.channels), dtype=torch.uint8)
        self.images = self.place.images(noise)
        self.labels = torch.arange(self.size, device=self.place.device) % CLASSES
        self.began = time.perf_counter()

    def milliseconds(self, call: Callable[[], object]) -> float:
        """The median time of a call."""
        for _ in range(self.warm):
            call()
        times = []
        for _ in range(self.rounds):
            self.wait()
            begin = time.perf_counter()
            for _ in range(self.calls):
                call()
            self.wait()
            times.append(1000 * (time.perf_counter() - begin) / self.calls)
        return statistics.median(times)

    def wait(self) -> None:
        """Wait for the device."""
        if self.gpu:
            torch.cuda.synchronize()

    def waits(self, step: Callable[[], object]) -> str:
        """How often Python waits for the GPU in a call."""
        if not self.gpu:
            return "-"
        step()
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
        torch.cuda.set_sync_debug_mode("default")
        return str(sum("synchroniz" in str(warning.message) for warning in caught))

    def title(self, text: str) -> None:
        """Begin a section."""
        print(f"\n{text}  [{time.perf_counter() - self.began:.0f} s]", flush=True)

    def row(self, name: str, ours: float, bare: float, against: str, note: str = "") -> None:
        """One line of the report."""
        print(f"  {name:<34}{ours:9.3f} ms {ours / bare:7.2f}x of {against} ({bare:.3f} ms) {note}", flush=True)

    def blueprint(self, name: str) -> Blueprint:
        """A cell's networks and defense at this scale."""
        cell, params, source = self.cells.opened("train_target", name)
        width = params.scaled(f"model.{cell.model}", training.Width).width
        return Blueprint.from_params(cell, Shape(source.channels, source.side, CLASSES, width), params)

    def trainer(self, name: str, place: runtime.Runtime | None = None) -> training.Trainer:
        """A cell's training, in its last epoch; the set is said to be large, which DP-SGD's batches need."""
        blueprint, course, size = self.blueprint(name), Course(2, 1e-4, "constant", 0, 0.0), 40_000
        place = place or training.settled(blueprint, self.settings, course, self.place, size)
        one = training.Trainer(blueprint, self.settings, course, place, 1, size)
        for epoch in (1, 2):  # clusters are found between two epochs
            one.defense.begin_epoch(epoch)
            one.net.train()
            one.step(self.images, self.labels)
        return one

    def target(self, name: str) -> Target:
        """A cell's network, not trained."""
        plan = self.blueprint(name)
        edge, cloud = (self.place.place(half) for half in plan.build())
        return Target(plan, edge, cloud, self.place, {}).freeze()

    def bare(self, net: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor], place: runtime.Runtime) -> Callable:
        """The least that a training step of a network does: forward, backward, Adam; compiled where that is asked."""
        optimizer = optimizers.Adam(net.parameters(), 1e-4)
        run = torch.compile(net) if self.compiled else net

        def step() -> None:
            with place.autocast():
                out = run(x)
            optimizer.zero_grad(set_to_none=True)
            loss(out.float()).backward()
            optimizer.step()

        return step

    @property
    def form(self) -> str:
        """What bare steps are called."""
        return "the bare compiled step" if self.compiled else "the bare step"


def run_as(replay: object) -> str:
    """Whether steps are replayed."""
    return "replayed" if getattr(replay, "graph", None) is not None else "not replayed"


def distances(bench: Bench) -> None:
    """Losses against forms that follow their formulas."""
    x = bench.images.float() / 255
    z = torch.rand(bench.size, 4096, device=x.device)

    def explicit(points: Tensor) -> Tensor:
        flat = points.flatten(1)
        return ((flat[:, None] - flat[None]).square().sum(2) + losses.EPSILON).sqrt()

    def correlation(form: Callable[[Tensor], Tensor]) -> Tensor:
        a, b = (losses._centered(form(points)) for points in (x, z))
        return (a * b).mean() / (a.square().mean() * b.square().mean()).sqrt()

    fast = bench.milliseconds(lambda: losses.distance_correlation(x, z))
    bench.row("distance correlation", fast, bench.milliseconds(lambda: correlation(explicit)), "its B x B x D form")
    settings = bench.params.section("mine", information.Settings).critic
    maps = torch.rand(bench.size, 12, bench.side // 4, bench.side // 4, device=x.device)
    critic = bench.place.place(SeparableCritic([(x, maps)], settings.width, settings.grid, 5.0))
    a, b = critic.embed(x, maps)

    def pairs() -> Tensor:
        inner = (a[:, None, :-1] * b[None, :, :-1]).flatten(2).sum(2) * critic.scale
        raw = inner + a[:, -1].mean((1, 2))[:, None] + b[:, -1].mean((1, 2))[None, :]
        return critic.limit * torch.tanh(raw / critic.limit)

    with torch.no_grad():
        fast = bench.milliseconds(lambda: critic.scores(a, b))
        bench.row("scores of all pairs of MINE", fast, bench.milliseconds(pairs), "their B x B x D form")


def networks(bench: Bench) -> None:
    """Each family's training step."""
    x = bench.images.float() / 255
    for name in NETWORKS:
        one = bench.trainer(name)
        ours = bench.milliseconds(lambda one=one: one.step(bench.images, bench.labels))
        net = nn.Sequential(*one.edge, *one.cloud)
        bare = bench.bare(net, x, lambda out: F.cross_entropy(out, bench.labels), one.runtime)
        bench.row(name, ours, bench.milliseconds(bare), bench.form, f"{one.runtime.precision}, {run_as(one.replay)}")


def defenses(bench: Bench) -> None:
    """Each defense's training step on the CNN."""
    plain = bench.trainer(PLAIN)
    base = bench.milliseconds(lambda: plain.step(bench.images, bench.labels))
    names = [name for name in bench.study.cells if name.startswith("cnn/")]
    for name in [*names, "variants_cnn/infoscissors_encoder", "variants_cnn/dropout_trained"]:
        if bench.blueprint(name).cell.reuses_weights:
            continue
        one = bench.trainer(name)
        size = one.defense.settings.physical_batch_size if name == "cnn/dpsgd" else bench.size
        images, labels = bench.images[:size], bench.labels[:size]
        ours = bench.milliseconds(lambda one=one, x=images, y=labels: one.step(x, y)) * bench.size / len(images)
        waits = bench.waits(lambda one=one, x=images, y=labels: one._step(x, y))
        note = f"{one.runtime.precision}, {run_as(one.replay)}, waits {waits}"
        bench.row(name, ours, base, "the unprotected step", note)


def decoders(bench: Bench) -> None:
    """Steps of the decoders of two cells."""
    x = bench.images.float() / 255
    for name in (PLAIN, FUNNEL):
        target = bench.target(name)
        for attack in generator.build(target, bench.params, bench.images, {})[0]:
            attack.settle(bench.images)
            attack.decoder.train()
            z = attack.observe(target.features(bench.images), attack.generator("release"))
            ours = bench.milliseconds(lambda attack=attack, z=z: attack.step(z, bench.images))
            note = f"{attack.runtime.precision}, {run_as(attack.replay)}"
            bare = bench.bare(attack.decoder, z, lambda out: F.mse_loss(out, x), attack.runtime)
            bench.row(f"{name} {attack.name}", ours, bench.milliseconds(bare), bench.form, note)


def mle(bench: Bench) -> None:
    """An iteration of the tuned MLE, in the number of images that the scale attacks at once."""
    plan = bench.params.scaled("mle", Plan)
    for name in (PLAIN, FUNNEL):
        target, images = bench.target(name), bench.images[: plan.images]
        attack = TunedMle(target, 1, Tuned((0.05,), (0.01,), (1.0,), 0.05), plan, images)
        z = target.features(images)
        x = attack.start(z, tuple(images.shape[1:])).requires_grad_()
        step = attack.stepper([x], z, attack.optimizer([x], attack.trials))
        pixels, edge = x.detach().clone().requires_grad_(), target.edge
        run = torch.compile(edge) if bench.compiled else edge

        def bare(run: nn.Module = run, pixels: Tensor = pixels, z: Tensor = z) -> None:
            torch.autograd.grad((run(pixels) - z).square().sum(), pixels)

        against = f"the edge's {'compiled ' if bench.compiled else ''}passes"
        bench.row(f"{name} MLE, {len(images)} images", bench.milliseconds(step), bench.milliseconds(bare), against)


def mine(bench: Bench) -> None:
    """Steps of both estimators on SiftFunnel's feature."""
    settings, target = bench.params.section("mine", information.Settings), bench.target(FUNNEL)
    x, z = target.edge[0](bench.images.float() / 255), target.features(bench.images)
    shapes = tuple(x.shape[1:]), tuple(z.shape[1:])
    critics = {
        "paper": (PaperCritic(*shapes), settings.paper),
        "calibrated": (SeparableCritic([(x.cpu(), z.cpu())], settings.critic.width, settings.critic.grid, 9.0),
                       settings.calibrated),
    }  # fmt: skip
    for name, (critic, own) in critics.items():
        estimator = Mine(bench.place.place(critic), own, bench.place, 1, name)
        estimator.settle(SimpleNamespace(x=x, z=z, take=lambda part, _: (x[part], z[part])))
        order = estimator.generator("order")
        ours = bench.milliseconds(lambda one=estimator, order=order: one.step(x, z, 40_000, order))
        waits = bench.waits(lambda one=estimator, order=order: one.step(x, z, 40_000, order))

        def bare(one: Mine = estimator, order: torch.Generator = order) -> None:
            one.optimizer.zero_grad(set_to_none=True)
            with one.runtime.autocast():
                joint, marginal = one.critic(x, z, order)
            (marginal - joint.mean()).backward()
            one.optimizer.step()

        note = f"{estimator.runtime.precision}, waits {waits}"
        bench.row(f"MINE {name}", ours, bench.milliseconds(bare), "forward, backward and AdamW", note)


def repeatable(bench: Bench) -> None:
    """Steps with repeatable kernels and without."""
    for name in (PLAIN, FUNNEL):
        times, ends = {}, {True: [], False: []}
        for asked in (True, False):
            runtime.repeat(asked, bench.place.device)
            for _ in range(2):
                with bench.place.seeded(1, "layers"):  # dropout's draws
                    one = bench.trainer(name)
                    for _ in range(SPREAD_STEPS if bench.gpu else 2):
                        loss = one.step(bench.images, bench.labels)[1]["loss"].item()
                ends[asked].append((loss, torch.cat([p.detach().flatten() for p in one.net.parameters()])))
            times[asked] = bench.milliseconds(lambda one=one: one.step(bench.images, bench.labels))
        runtime.repeat(True, bench.place.device)
        apart = {asked: abs(a[0] - b[0]) for asked, (a, b) in ends.items()}
        weights = {asked: ((a[1] - b[1]).norm() / a[1].norm()).item() for asked, (a, b) in ends.items()}
        note = ", ".join(
            f"{kind}: losses {apart[asked]:.1e} apart, weights {weights[asked]:.1e}"
            for asked, kind in ((True, "repeatable"), (False, "not"))
        )
        bench.row(f"{name} repeatable", times[True], times[False], "the fastest kernels' step", f"two runs {note}")


def forms(bench: Bench) -> None:
    """Steps without our forms of layers, with them, and compiled; then small convolutions one by one."""
    ours = training.on_gpu
    for name in (PLAIN, FUNNEL):
        one = bench.trainer(name)
        step = bench.milliseconds(lambda one=one: one.step(bench.images, bench.labels))
        training.on_gpu = lambda half, device: None
        one = bench.trainer(name)
        training.on_gpu = ours
        other = bench.milliseconds(lambda one=one: one.step(bench.images, bench.labels))
        bench.row(name, step, other, "the step with torch's layers", one.runtime.precision)
        if bench.compiled:
            begin = time.perf_counter()
            one = bench.trainer(name, replace(one.runtime, compile=1))
            fast = bench.milliseconds(lambda one=one: one.step(bench.images, bench.labels))
            took = f"{run_as(one.replay)}, {time.perf_counter() - begin:.0f} s to compile and time"
            bench.row(f"{name} compiled", fast, step, "the step that is not", took)
    plan = bench.blueprint(FUNNEL)
    shapes: dict[tuple, nn.Conv2d] = {}
    edge, cloud = (bench.place.place(half) for half in plan.build())

    def note(layer: nn.Conv2d, x: tuple[Tensor]) -> None:
        shapes.setdefault((*x[0].shape, layer.out_channels, layer.kernel_size[0]), layer)

    small = [layer for half in (edge, cloud) for layer in half.modules() if gpu_layers.small(layer)]
    hooks = [layer.register_forward_pre_hook(note) for layer in small]
    with torch.no_grad():
        cloud(edge(bench.images.float() / 255))
    for hook in hooks:
        hook.remove()
    for (*shape, channels, kernel), layer in shapes.items():
        x = torch.rand(shape, device=bench.place.device).to(memory_format=torch.channels_last).requires_grad_()
        times = []
        for form, repeatable in ((nn.Conv2d, True), (nn.Conv2d, False), (gpu_layers.SmallConv2d, True)):
            runtime.repeat(repeatable, bench.place.device)
            layer.__class__ = form

            def passes(x: Tensor = x, layer: nn.Conv2d = layer) -> None:
                with bench.place.at("bfloat16").autocast():
                    out = layer(x)
                torch.autograd.grad(out, (x, layer.weight), out)

            times.append(bench.milliseconds(passes))
        name = f"{kernel}x{kernel} {shape[1]} to {channels}, {shape[2]}x{shape[3]}"
        bench.row(name, times[2], times[0], "cuDNN's, repeatable", f"cuDNN's fastest {times[1]:.3f} ms")
    runtime.repeat(True, bench.place.device)


def kernels(bench: Bench) -> None:
    """What takes the time of a SiftFunnel step that is not recorded: the largest kernels, or operations on a CPU."""
    name, kind = ("device_time", ProfilerActivity.CUDA) if bench.gpu else ("cpu_time", ProfilerActivity.CPU)
    place = replace(bench.trainer(FUNNEL).runtime, graphs=False)
    one, steps = bench.trainer(FUNNEL, place), 3
    with profile(activities=[kind]) as seen:
        for _ in range(steps):
            one.step(bench.images, bench.labels)
        bench.wait()
    found = sorted(seen.key_averages(), key=lambda row: -getattr(row, f"self_{name}_total"))
    for row in found[:KERNELS]:
        took = getattr(row, f"self_{name}_total") / 1000 / steps
        print(f"  {took:9.3f} ms a step, {row.count // steps:4d} calls: {row.key[:80]}", flush=True)


SECTIONS = {f.__name__: f for f in (networks, forms, defenses, decoders, mle, mine, repeatable, distances, kernels)}


def main() -> None:
    """Run the chosen sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None, help="on a GPU: yes")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    options.compile = options.device == "cuda" if options.compile is None else options.compile
    bench = Bench(options)
    print(f"{bench.place.name}; scale {options.scale}, batch {bench.size}, {bench.channels}x{bench.side}x{bench.side}")
    for name in options.sections:
        bench.title(name)
        SECTIONS[name](bench)
    bench.title("done")


if __name__ == "__main__":
    sys.exit(main())
