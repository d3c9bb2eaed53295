"""How long a scale will take: seconds of earlier builds where there are some, else counted work over a measured rate.

Work is the floating-point operations of the networks that a stage runs: of each the shapes that params.yaml gives,
times images, times optimizer steps. A training step counts as three passes (forward, and backward by weights and by
inputs), one that optimizes an image as two. What ends early (strong decoders, MLE, calibrated MINE) counts in full. Not
counted are losses and estimators of defenses, gradients of single images, second judges, the attackers with a prior or
without queries, data and starts of processes: all of it is an estimate, of the right order at best.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean
from typing import Any

import torch
from torch import nn

from splitprobe.attacks import generator, mle
from splitprobe.core import runtime as runtimes
from splitprobe.core.cells import Cell
from splitprobe.core.params import Params, typed
from splitprobe.core.recipe import ALONE, CELLS, Study
from splitprobe.datasets import sections
from splitprobe.information import settings as information
from splitprobe.information.critics import PaperCritic, SeparableCritic
from splitprobe.learning.schedule import Course, batches, enough
from splitprobe.models import count
from splitprobe.models.residual import ResidualDecoder
from splitprobe.models.split import Shape
from splitprobe.probes import knobs
from splitprobe.probes import knowledge as knowledges
from splitprobe.targets import judge_training, training
from splitprobe.targets.target import Blueprint

CLASSES = 10  # of a cloud's last layer: data that are not prepared yet do not say how many, and it matters little
FORWARD, IMAGE_STEP, STEP = 1, 2, 3  # passes
PAIRS = 64  # a batch by which a critic's work is counted, and twice as many
BENCH, BENCH_STEPS = 2e10, 3  # operations of a step, about, and steps by which a machine's rate is measured
RECORDED, ELSEWHERE, COUNTED, UNKNOWN = "recorded", "recorded at another scale", "counted", "not known"


@dataclass(frozen=True)
class Estimate:
    """Seconds of one stage, None where nothing is known, and ``source``: where they come from."""

    stage: str
    seconds: float | None
    source: str

    @property
    def kind(self) -> str:
        """The script that the stage runs."""
        return self.stage.partition("@")[0]


def flops(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Operations of a forward pass of one input of this shape (C, H, W), two for a multiply-accumulate."""
    device = next(net.parameters()).device
    return 2 * count.macs(net, torch.zeros(1, *shape, device=device))


def training_work(course: Course, images: int, validation: int, settings: training.Settings, forward: int) -> int:
    """Operations of a network's training: its steps, and after each epoch statistics and validation images.

    ``course`` has the epochs that the set gets; ``forward``: operations of a pass of one image.
    """
    batch = min(settings.batch_size, images)
    epoch = STEP * (images // batch) * batch + validation + min(images, batch * settings.statistics_batches)
    return course.epochs * epoch * forward


class Cells:
    """The work on the cells of one study, by stage; networks are built without memory for their weights."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._networks: dict[str, tuple[Any, ...]] = {}  # by what they are built of: many cells share theirs
        self._passes: dict[tuple, int] = {}  # operations of decoders

    def opened(self, script: str, key: str) -> tuple[Cell, Params, sections.Source]:
        """A stage's cell, its settings and its data."""
        facts = self.study.cell(script, key)
        cell, params = typed(Cell, facts, f"{CELLS}: {key}"), self.study.varied(facts)
        return cell, params, params.scaled(f"data.{cell.dataset}", sections.Source)

    @staticmethod
    def built(
        cell: Cell, params: Params, width: int
    ) -> tuple[Blueprint, nn.Sequential, nn.Sequential, tuple[int, ...]]:
        """A cell's blueprint, edge and cloud, and the shape of its z."""
        source = params.scaled(f"data.{cell.dataset}", sections.Source)
        blueprint = Blueprint.from_params(cell, Shape(source.channels, source.side, CLASSES, width), params)
        with torch.device("meta"):
            edge, cloud = blueprint.build()
            z = edge.eval()(torch.zeros(1, source.channels, source.side, source.side))
        return blueprint, edge, cloud, tuple(z.shape[1:])

    def network(self, cell: Cell, params: Params, source: sections.Source) -> tuple[Any, ...]:
        """A cell's blueprint and edge, the shape of its z, and the operations of edge and cloud for one image."""
        width = params.scaled(f"model.{cell.model}", training.Width).width
        unnamed = replace(cell, name="", variant="", ablation="", start="", title="")
        shape = Shape(source.channels, source.side, CLASSES, width)
        key = repr(Blueprint.from_params(unnamed, shape, params).plain())
        if key not in self._networks:
            blueprint, edge, cloud, z = self.built(cell, params, width)
            passes = flops(edge, (source.channels, source.side, source.side)), flops(cloud, z)
            self._networks[key] = (blueprint, edge, z, *passes)
        return self._networks[key]

    def train_target(self, cell: Cell, params: Params, source: sections.Source) -> float:
        """Trials of learning rates and the training; scoring alone where weights are reused."""
        *_, edge, cloud = self.network(cell, params, source)
        settings = params.section("training", training.Settings)
        scored = (source.test + source.validation) * (edge + cloud)
        if cell.reuses_weights:
            return scored
        plan = params.scaled(f"target.{cell.model}", training.Plan).on(source.train, settings.batch_size)
        plans = [plan, *([plan.trial()] * len(plan.lr) if len(plan.lr) > 1 else [])]
        sizes = (source.train, source.validation, settings, edge + cloud)
        return scored + sum(training_work(own.course(own.lr[0]), *sizes) for own in plans)

    def train_judge(self, dataset: str) -> float:
        """The training of a data set's judge, and its scores of all roles."""
        params = self.study.params
        settings, plan = params.section("judge", judge_training.Settings), params.scaled("judge", judge_training.Plan)
        shared, source = (
            params.section(*own)
            for own in (("training", training.Settings), (f"scales.data.{dataset}", sections.Source))
        )
        _, edge, cloud, z = self.built(judge_training.judge_cell(dataset, settings), params, plan.width)
        forward = flops(edge, (source.channels, source.side, source.side)) + flops(cloud, z)
        plan = plan.on(source.train, shared.batch_size)
        scored = (source.train + source.validation + source.test) * forward
        return scored + training_work(plan, source.train, source.validation, shared, forward)

    def decoders(self, cell: Cell, params: Params, source: sections.Source) -> dict[str, tuple[nn.Module, tuple]]:
        """The decoders that apply to a cell, each with the shape of what it reads."""
        blueprint, edge, z, *_ = self.network(cell, params, source)
        strong, layout = params.scaled("strong", generator.Strong), blueprint.layout(edge)
        names = params.section("attack.generator", generator.Settings).decoders
        with torch.device("meta"):
            made: dict[str, nn.Module | None] = {
                "black_box": layout.mirror(layout.z_channels),
                "gray_box": blueprint.gray_box_decoder(layout),
                "strong": ResidualDecoder(z, source.channels, source.side, strong.width, strong.blocks),
            }
        if blueprint.defense.stochastic:
            made |= {"repeated": made["black_box"], "strong_repeated": made["strong"]}
        return {name: (made[name], z) for name in names if made.get(name) is not None}

    def train_generator(self, cell: Cell, params: Params, source: sections.Source) -> float:
        """The fit of each decoder of z on auxiliary images, and its images of the test set."""
        return sum(
            self.fit(name, *own, cell, params, source) for name, own in self.decoders(cell, params, source).items()
        )

    def fit(
        self, name: str, net: nn.Module, z: tuple, cell: Cell, params: Params, source: sections.Source
    ) -> float:  # fmt: skip
        """One decoder: its steps, held-out images after each epoch, and the edge's features that it is given."""
        settings, plan = (
            params.section("attack.generator", generator.Settings),
            params.scaled("generator", generator.Plan),
        )
        *_, edge, _ = self.network(cell, params, source)
        forward = self.passes(net, z)
        held = max(1, round(source.auxiliary * settings.holdout))
        fitted = max(1, source.auxiliary - held)
        batch = min(settings.batch_size, fitted)
        an_epoch = fitted // batch
        if name.startswith("strong"):
            epochs = -(-params.scaled("strong", generator.Strong).steps // an_epoch)
            again = params.raw("training.flip") * epochs * an_epoch * batch * edge  # flipped images pass the edge anew
        else:
            epochs, again = plan.on(fitted, settings.batch_size).epochs, 0
        after = held + min(fitted, batch * settings.statistics_batches)
        images = epochs * (STEP * an_epoch * batch + after) + min(plan.images, source.test)
        return images * forward + again + source.auxiliary * edge

    def passes(self, net: nn.Module, z: tuple) -> int:
        """Operations of a decoder for one image."""
        key = (str(net), z)  # names all its layers with their sizes
        if key not in self._passes:
            self._passes[key] = flops(net, z)
        return self._passes[key]

    def run_mle(self, cell: Cell, params: Params, source: sections.Source) -> float:
        """Steps of the paper's variant, and of the others' trials, finalists and attack, as many as there may be."""
        *_, edge, _ = self.network(cell, params, source)
        settings, plan = params.section("attack.mle", mle.Settings), params.scaled("mle", mle.Plan)
        images = min(plan.images, source.test)
        steps = images * plan.steps
        for grid in (settings.tuned, settings.hybrid):
            trials = len(grid.lr) * len(grid.tv)
            steps += trials * plan.trial_images * min(plan.trial_steps, plan.most_steps)
            steps += min(plan.finalists, trials) * len(grid.decay) * plan.final_images * plan.most_steps
            steps += images * plan.most_steps
        return IMAGE_STEP * steps * edge

    def train_mine(self, cell: Cell, params: Params, source: sections.Source) -> float:
        """The critics' steps and held-out readings, and the features that they are given."""
        *_, z, edge, _ = self.network(cell, params, source)
        settings, plan = params.section("mine", information.Settings), params.scaled("mine", information.Plan)
        x, total = (source.channels, source.side, source.side), 0.0
        for own, budget, critic in (
            (settings.paper, plan.paper, None),
            (settings.calibrated, plan.calibrated, settings.critic),
        ):
            fitted, held = min(budget.fit_images, source.train), min(budget.held_out_images, source.test)
            stop = max(2, round(fitted * settings.stop_share)) if critic else 0
            fitted -= stop
            batch = min(own.batch_size, fitted)
            if critic:  # on real and on shuffled pairs
                epochs = sum(-(-steps // (fitted // batch)) for steps in (budget.steps, budget.null_steps))
            else:
                epochs = enough(budget.epochs, budget.least_steps, fitted, batch) + budget.null_epochs
            each, pair = critic_work(x, z, critic)
            # the calibrated critic reads all held-out pairs at once, the paper's in batches
            read = (held + stop) * each + (held**2 + stop**2 if critic else held * batch) * pair
            total += epochs * (STEP * (fitted // batch) * (batch * each + batch**2 * pair) + read)
        fit = max(budget.fit_images for budget in (plan.paper, plan.calibrated))
        return total + (min(fit, source.train) + source.test) * edge

    def measure_knowledge(self, cell: Cell, params: Params, source: sections.Source) -> float:
        """A fit of the decoder for each set of images; all have as many steps as the whole one."""
        settings, found = params.section("knowledge", knowledges.Settings), self.decoders(cell, params, source)
        one = self.fit(settings.decoder, *found[settings.decoder], cell, params, source)
        return (len(settings.shares) + 1) * one

    def sweep(self, cell: Cell, params: Params, source: sections.Source) -> float:
        """Training and attacks for each value."""
        stages = (self.train_target, self.train_generator, self.run_mle)
        settings = knobs.settings(cell, params)
        return sum(stage(cell, changed, source) for _, _, changed in settings for stage in stages)

    def work(self, script: str, key: str) -> float | None:
        """A stage's operations, of all its seeds; None for one whose work is not counted."""
        if script == "train_judge":
            return self.train_judge(key)
        if not hasattr(self, script) or script not in COUNTS:
            return None
        seeds = self.study.seeds(script, self.study.cell(script, key))
        seeds = seeds[:1] if script == "measure_knowledge" else seeds
        return len(seeds) * getattr(self, script)(*self.opened(script, key)) if seeds else 0.0


COUNTS = ("train_target", "train_judge", "train_generator", "run_mle", "train_mine", "measure_knowledge", "sweep")


@lru_cache
def critic_work(x: tuple, z: tuple, size: information.Separable | None) -> tuple[float, float]:
    """Operations of a critic's forward pass for each image of a batch, and for each pair of a batch's images.

    ``size``: of the calibrated critic; None is the paper's.
    """
    source = torch.Generator().manual_seed(0)
    like = tuple(torch.randn(2 * PAIRS, *shape, generator=source) for shape in (x, z))
    if size is None:
        critic: nn.Module = PaperCritic(x, z).to("meta")
        # joint and marginal pairs: the convolutions on x and z run once, the others twice
        with torch.device("meta"):
            wide, inner = torch.zeros(1, *x), torch.zeros(1, *z)
            first = flops_of(lambda: critic.on_x(wide)) + flops_of(lambda: critic.on_padded_z(inner, x[1:]))
            rest = flops_of(lambda: critic.rest(torch.zeros(1, 64, *x[1:])))
        return first + 2 * rest, 0.0
    critic = SeparableCritic([like], size.width, size.grid, 1.0).eval()
    small, large = (
        flops_of(lambda n=n: critic(like[0][:n], like[1][:n], source)) for n in (PAIRS, 2 * PAIRS)
    )  # fmt: skip
    pair = (large - 2 * small) / (2 * PAIRS**2)  # a n + b n^2, at n and at 2 n
    return small / PAIRS - pair * PAIRS, pair


def flops_of(run: Any) -> int:
    """Operations of a function's call."""
    with count.Flops() as counter, torch.no_grad():
        run()
    return counter.total


def measured_rate(study: Study, place: runtimes.Runtime) -> float:
    """Operations per second of this machine: some training steps of the study's first cell on random images.

    A machine that runs several stages at a time gives each of them less.
    """
    cells = Cells(study)
    cell, params, source = cells.opened("train_target", study.cells[0])
    *_, edge, cloud = cells.network(cell, params, source)
    width = params.scaled(f"model.{cell.model}", training.Width).width
    blueprint = Blueprint.from_params(cell, Shape(source.channels, source.side, CLASSES, width), params)
    settings, course = params.section("training", training.Settings), Course(1, 1e-4, "constant", 0, 0.0)
    fast = place.device.type != "cpu"
    size = settings.batch_size if fast else max(2, min(settings.batch_size, int(BENCH / (STEP * (edge + cloud)))))
    place = training.settled(blueprint, settings, course, place, size)
    trainer = training.Trainer(blueprint, settings, course, place, 0, size)
    images = torch.randint(0, 256, (size, source.channels, source.side, source.side), device=place.device)
    images, labels = images.to(torch.uint8), torch.arange(size, device=place.device) % CLASSES
    order = next(batches(size, size, place.generator(0, "benchmark")))
    trainer.net.train()

    def step() -> float:
        _, terms = trainer.step(images[order], labels[order])
        return terms["loss"].item()  # waits for the device

    step()
    begin = time.perf_counter()
    for _ in range(BENCH_STEPS):
        step()
    return BENCH_STEPS * STEP * size * (edge + cloud) / (time.perf_counter() - begin)


def estimates(
    study: Study, rate: float, recorded: Mapping[str, float], elsewhere: Mapping[str, float]
) -> Iterator[Estimate]:
    """Seconds of each stage that the study's scale runs; ``rate``: operations per second.

    ``recorded``: seconds of stages at this scale; ``elsewhere``: those of other scales, whose mean over a script's
    stages serves where its work is not counted.
    """
    cells = Cells(study)
    for script, key in study.instances():
        stage = script if key == ALONE else f"{script}@{key}"
        facts = study.cell(script, key)
        if facts and not study.seeds(script, facts):
            continue
        if stage in recorded:
            yield Estimate(stage, recorded[stage], RECORDED)
            continue
        work = cells.work(script, key)
        if work is not None:
            yield Estimate(stage, work / rate, COUNTED)
            continue
        alike = [seconds for name, seconds in elsewhere.items() if name.partition("@")[0] == script]
        yield Estimate(stage, fmean(alike) if alike else None, ELSEWHERE if alike else UNKNOWN)


def table(found: list[Estimate], scale: str, rate: float, asked: bool) -> str:
    """The estimates as text: a line for each kind of stage and source, and the sum."""
    lines = [f"Scale {scale}: seconds of its stages, one after another", ""]
    lines.append(f"{'stages':<24}{'number':>8}{'seconds':>12}  source")
    for kind, source in dict.fromkeys((one.kind, one.source) for one in found):
        own = [one.seconds for one in found if (one.kind, one.source) == (kind, source)]
        seconds = "-" if None in own else f"{sum(own):,.0f}"
        lines.append(f"{kind:<24}{len(own):>8}{seconds:>12}  {source}")
    total = sum(one.seconds or 0 for one in found)
    lines.append(f"{'whole plan':<24}{len(found):>8}{total:>12,.0f}  {total / 3600:.1f} hours")
    how = "as given" if asked else "measured here by training steps of one network, alone on the machine"
    lines += [
        "",
        f"recorded: by an earlier build here. counted: an estimate, of the networks' operations at {rate / 1e9:,.1f} "
        f"GFLOP/s ({how}),",
        "without losses and estimators of defenses, gradients of single images, data, and starts of processes; what",
        "may end early counts in full.",
        "Stages that run side by side take less in all, and each of them longer.",
    ]
    return "\n".join(lines)
