"""What the stages of a scale need of a device's memory, counted on networks without weights (torch's meta device).

The steps and passes of a stage are run on tensors that have shapes and no content, and the bytes of all tensors that
exist at a time are added up. ``held`` is what must be resident: images, weights, gradients, the optimizer's state, what
is saved of a batch for the backward pass, z where it is kept, and a part of a set in a pass without gradients. ``peak``
counts what exists only for a moment too. Not counted are what kernels take for themselves, fragmentation, and the
device's own context (about 0.5 GiB of CUDA). All is float32, which is the most.

Where a defense's loss asks for content (``CONTENT``), its step is counted without that loss; DP-SGD's with the
gradients of single images, of a Poisson batch four deviations above its mean. Starts of stages and files are not
counted, nor are query-free attackers, whose z of the attacked images must be there.
"""

from __future__ import annotations

import copy
import functools
import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from splitprobe.attacks import generator, mle, prior
from splitprobe.attacks.base import PART
from splitprobe.core.cells import Cell
from splitprobe.core.params import Params
from splitprobe.core.recipe import Study
from splitprobe.core.runtime import SHARE, Runtime
from splitprobe.datasets import sections
from splitprobe.defenses.base import Defense
from splitprobe.information import bound, pairs
from splitprobe.information import settings as information
from splitprobe.information.critics import CHUNK, PaperCritic, SeparableCritic, log_mean_exp
from splitprobe.learning import measures, optimizers
from splitprobe.learning.schedule import Course
from splitprobe.models.denoiser import Denoiser
from splitprobe.models.split import Shape
from splitprobe.probes.workload import CLASSES, Cells
from splitprobe.targets import judge_training, perceptual, second_judge, training
from splitprobe.targets.prior import Plan as PriorPlan
from splitprobe.targets.target import QUERY, Blueprint, Target

META = torch.device("meta")
GIB = 2**30
VALIDATED = 512  # images in a pass of Trainer.validate
CONTENT = (NotImplementedError, RuntimeError)  # what torch raises where a shape depends on values
STAGES = ("train_target", "train_generator", "run_mle", "train_mine")
KEEPING = ("train_generator", "train_mine")  # those that keep z where there is room


@dataclass(frozen=True)
class Need:
    """Bytes of a phase or a stage: what must be resident, and the most that exists at a time."""

    held: int
    peak: int

    def beside(self, resident: int) -> Need:
        """The same with so many bytes more that lie there all the time."""
        return Need(self.held + resident, self.peak + resident)


def largest(needs: Iterable[Need]) -> Need:
    """What phases need that follow each other."""
    held, peak = zip(*((need.held, need.peak) for need in needs), strict=True)
    return Need(max(held), max(peak))


class Live(TorchDispatchMode):
    """Adds up the bytes of all tensors that exist, as operators make them and Python lets them go.

    ``now`` and ``peak`` are without the tensors ``apart``.
    """

    def __init__(self, apart: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.sizes: dict[int, int] = {}
        self._seen: dict[int, Any] = {tensor.untyped_storage()._cdata: None for tensor in apart}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import torch._dynamo to keep it out of here

    def add(self, *tensors: Tensor) -> None:
        """Count tensors that are there, each memory once."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self._seen:
                continue
            self._seen[key] = weakref.ref(storage, partial(self._gone, key))
            self.sizes[key] = size
            self.now += size
            self.peak = max(self.peak, self.now)

    def _gone(self, key: int, _: object) -> None:
        self.now -= self.sizes.pop(key)
        del self._seen[key]

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.add(*tensors_of(out))
        return out


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors in what an operator returns."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)


def size(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors."""
    return sum(tensor.nbytes for tensor in tensors)


def weights(*nets: nn.Module) -> list[Tensor]:
    """Parameters and buffers of networks."""
    return [tensor for net in nets for tensor in (*net.parameters(), *net.buffers())]


def passed(run: Callable[[], object], nets: Iterable[nn.Module]) -> Need:
    """A pass without gradients, without the weights of its networks."""
    with Live(weights(*nets)) as live, torch.no_grad():
        run()
    return Need(live.peak, live.peak)


def trained(step: Callable[[], object], nets: list[nn.Module], optimizers: list[torch.optim.Optimizer]) -> Need:
    """A training step, after another one, with weights, gradients and the optimizers' state.

    What must be resident is what the step saves for its backward pass, beside these.
    """
    step()
    states = [value for one in optimizers for state in one.state.values() for value in tensors_of([*state.values()])]
    lasting = weights(*nets) + states
    gradients = [p.grad for one in optimizers for group in one.param_groups for p in group["params"]]
    gradients = [gradient for gradient in gradients if gradient is not None]
    live, saved, most, of_gradients = Live(lasting), set(), 0, size(gradients)
    live.add(*gradients)
    del gradients

    def pack(tensor: Tensor) -> Tensor:
        nonlocal most
        live.add(tensor)
        saved.add(tensor.untyped_storage()._cdata)
        most = max(most, sum(live.sizes[key] for key in saved & live.sizes.keys()))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), live:
        step()
    fixed = size(lasting)
    return Need(fixed + of_gradients + most, fixed + max(live.peak, of_gradients + most))


class Shapes(Runtime):
    """A runtime whose tensors have no content; there is nothing to draw."""

    def generator(self, seed: int, *names: object) -> torch.Generator:
        """Any generator: draws on the meta device use none."""
        return torch.Generator()


PLACE = Shapes(META, "float32", True, "shapes", memory=0)


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor without content, images and maps in the memory layout that stages give them."""
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device=META).to(memory_format=layout)


class Stages:
    """The needs of one cell's stages."""

    def __init__(self, cell: Cell, params: Params, source: sections.Source, width: int) -> None:
        self.cell, self.params, self.source = cell, params, source
        self.settings = params.section("training", training.Settings)
        self.x_shape = (source.channels, source.side, source.side)
        self.image = math.prod(self.x_shape)  # bytes as uint8
        self.blueprint = Blueprint.from_params(cell, Shape(source.channels, source.side, CLASSES, width), params)
        with META:
            edge, cloud = (PLACE.place(half) for half in self.blueprint.build())
        self.target = Target(self.blueprint, edge, cloud, PLACE, {}).freeze()
        self.z = self.target.one()
        self.networks = size(weights(edge, cloud))

    @property
    def has_prior(self) -> bool:
        """Whether the cell is attacked with a denoiser too."""
        rows = self.params.section("attack.prior", prior.Settings).rows.split()
        return self.cell.name.partition("/")[2] in rows

    def keeps(self, stage: str) -> int:
        """Bytes of z that a stage keeps where there is room."""
        source = self.source
        if stage == "train_generator":
            return source.auxiliary * self.z.nbytes
        plan = self.params.scaled("mine", information.Plan)
        return (min(source.train, max(plan.paper.fit_images, plan.calibrated.fit_images)) + source.test) * self.z.nbytes

    def released(self, images: int) -> Tensor:
        """What is sent of so many images."""
        return self.target.defense.combined_release(empty(images, *self.z.shape[1:]), 1, torch.Generator())

    def observed(self, images: int, then: Callable[[Tensor], object], *nets: nn.Module) -> Need:
        """A pass of one part of a set: the edge, the release, and what follows it in some networks."""
        x = empty(images, *self.x_shape, dtype=torch.uint8)

        def run() -> object:
            z = self.target.features(x)
            sent = self.target.defense.combined_release(z, 1, torch.Generator())
            return then(sent), z

        return passed(run, [self.target.edge, *nets])

    def train_target(self) -> Need:
        """Images, a training step, the weights of the best epoch, and passes over validation and test images."""
        source = self.source
        base = (source.train + source.validation + source.test) * self.image
        passes = [self.observed(QUERY, self.target.logits, self.target.cloud)]
        if self.cell.reuses_weights:
            return largest(one.beside(self.networks) for one in passes).beside(base)
        step, nets = self.step()
        x = empty(VALIDATED, *self.x_shape, dtype=torch.uint8)
        halves = [self.target.edge, self.target.cloud]
        validation = passed(lambda: self.target.cloud(self.target.edge(x.float() / 255)), halves)
        # weights, gradients and three moments stay while images are passed
        lasting = (5 if self.settings.amsgrad else 4) * size(p for net in nets for p in net.parameters())
        return largest([step, *(one.beside(lasting) for one in (validation, *passes))]).beside(base + self.networks)

    def step(self) -> tuple[Need, list[nn.Module]]:
        """A step of the training, and the networks that it trains."""
        batch = self.settings.batch_size
        defense = copy.copy(self.blueprint.defense)
        defense.make_private = lambda *_: None  # no accounting: the gradients of single images are added below
        blueprint, course = replace(self.blueprint, defense=defense), Course(2, 1e-4, "constant", 0, 0.0)

        def counted(images: int, plain: bool) -> tuple[Need, list[nn.Module]]:
            x, y = empty(images, *self.x_shape, dtype=torch.uint8), empty(images, dtype=torch.long)
            with META:
                own = training.Trainer(blueprint, self.settings, course, PLACE, 0, images)
            if plain:
                own.defense = Defense(None)
            own.net.train()
            networks = [(own.net, own.optimizer), *beside(own.defense)]
            nets = [net for net, _ in networks]
            step = trained(lambda: own.step(x, y), nets, [optimizer for _, optimizer in networks])
            return step, nets

        if defense.batch_size is not None:
            drawn = min(defense.settings.physical_batch_size, math.ceil(batch + 4 * batch**0.5))
            step, nets = counted(drawn, plain=True)
            return step.beside(drawn * size(nets[0].parameters())), nets
        try:
            return counted(batch, plain=False)
        except CONTENT:
            return counted(batch, plain=True)

    @functools.cached_property
    def decoders(self) -> tuple[list[generator.Generator], int]:
        """The decoders of the cell, and the number of images that they attack."""
        test = empty(self.source.test, *self.x_shape, dtype=torch.uint8)
        with META:
            attacks, attacked = generator.build(self.target, self.params, test, {})
        return attacks, len(attacked)

    def attacked_like(self) -> str:
        """A text that is the same for cells of which attacks and estimators need the same."""
        defense, edge, cloud = type(self.blueprint.defense), self.target.edge, self.target.cloud
        hooks = [getattr(defense, name).__qualname__ for name in ("release", "combined_release", "mismatch")]
        gray_box = self.blueprint.gray_box_decoder(self.blueprint.layout(edge))
        sent = self.blueprint.defense.stochastic, defense.masks
        return repr((self.cell.dataset, self.cell.cut, edge, cloud, hooks, gray_box, sent, self.has_prior))

    @functools.cached_property
    def judge(self) -> Target:
        """The judge of the data set."""
        settings, plan = (
            self.params.section("judge", judge_training.Settings),
            self.params.scaled("judge", judge_training.Plan),
        )
        cell = judge_training.judge_cell(self.cell.dataset, settings)
        with META:
            blueprint, edge, cloud, _ = Cells.built(cell, self.params, plan.width)
        return Target(blueprint, PLACE.place(edge), PLACE.place(cloud), PLACE, {}).freeze()

    def scoring(self, judge: Target, images: int, draws: int) -> Need:
        """Scores of so many reconstructions: these, the images that they are compared with, and a pass of the judge."""
        some = min(QUERY, images)
        seen = empty(some * (1 + draws), *self.x_shape)
        judged = passed(lambda: [*perceptual.distances(judge, seen, some)], [judge.edge, judge.cloud])
        a, b = (empty(min(measures.CHUNK, images), *self.x_shape, dtype=torch.double) for _ in range(2))
        similar = passed(lambda: measures._ssim_map(a, b, 2), [])
        compared = 10 * images * self.image  # distinct images as float64, and as bytes
        phases = [judged.beside(seen.nbytes), similar.beside(2 * a.nbytes), Need(compared, compared)]
        return largest(phases).beside((4 + 1) * draws * images * self.image)

    def second_judge(self, judge: Target) -> Need | None:
        """Its steps on images and reconstructions; None where auxiliary images have no labels."""
        if self.source.auxiliary_source is not None:
            return None
        settings = self.params.scaled("second_judge", second_judge.Settings)
        edge, cloud = (copy.deepcopy(half).requires_grad_(True) for half in (judge.edge, judge.cloud))
        optimizer = optimizers.Adam([*edge.parameters(), *cloud.parameters()], settings.lr)
        x, y = empty(2 * settings.images, *self.x_shape), empty(2 * settings.images, dtype=torch.long)

        def step() -> None:
            loss = F.cross_entropy(cloud(edge(x)).float(), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        reconstructed = min(self.source.auxiliary, settings.steps * settings.images)
        return trained(step, [edge, cloud], [optimizer]).beside(x.nbytes + 4 * reconstructed * self.image)

    def train_generator(self) -> tuple[Need, Need]:
        """Images, the networks, the fit of each decoder, and the scores; with z streamed, and with z kept."""
        source, judge = self.source, self.judge
        attacks, attacked = self.decoders
        base = (source.auxiliary + source.test) * self.image + self.networks + size(weights(judge.edge, judge.cloud))
        base += sum(size(weights(attack.decoder)) for attack in attacks)
        phases, other = [], [self.second_judge(judge)]
        for attack in attacks:
            held, own = attack.held(source.auxiliary), size(weights(attack.decoder))
            batch = min(attack.settings.batch_size, source.auxiliary - held)
            seen, x = attack.view(self.released(batch)), empty(batch, *self.x_shape, dtype=torch.uint8)
            step = trained(partial(attack.step, seen, x), [attack.decoder], [attack.optimizer])
            reduced = Need(step.held - own, step.peak - own).beside(seen.nbytes + x.nbytes)  # its weights are in `base`

            def decode(sent: Tensor, attack: Any = attack) -> tuple[Tensor, ...]:
                seen = attack.view(sent)
                return seen, attack.reconstruct(seen, self.x_shape)

            passes = self.observed(min(PART, source.auxiliary), decode, attack.decoder, self.target.cloud)
            moments = (4 if attack.settings.amsgrad else 3) * size(attack.decoder.parameters())  # and gradients
            if attack.flip:  # z of flipped images is computed at each step in any case
                reduced = largest([reduced, self.observed(batch, attack.view)])
            fit = largest([reduced, passes.beside(moments + 5 * held * self.image)])
            phases.append(fit.beside(own))  # the best weights
            other.append(passes.beside(4 * attack.draws * attacked * self.image))
            attack.optimizer.state.clear()
        draws = max(attack.draws for attack in attacks)
        other = [one for one in (*other, self.scoring(judge, attacked, draws)) if one]
        kept = [phase.beside(self.keeps("train_generator")) for phase in phases]
        return tuple(largest([*own, *other]).beside(base) for own in (phases, kept))

    def run_mle(self) -> Need:
        """Images, networks, strong decoders and prior, and a step on the largest batch of trials or images."""
        source, judge, params = self.source, self.judge, self.params
        test = empty(source.test, *self.x_shape, dtype=torch.uint8)
        with META:
            (_, tuned), attacked = mle.build(self.target, params, test, {})
        decoders = [attack.decoder for attack in self.decoders[0] if attack.name in generator.STRONG]
        settings, plan = params.section("attack.mle", mle.Settings), params.scaled("mle", mle.Plan)
        batches = [len(attacked)]
        for grid in (settings.tuned, settings.hybrid):
            trials = len(grid.lr) * len(grid.tv)
            batches += [trials * plan.trial_images, min(plan.finalists, trials) * len(grid.decay) * plan.final_images]
        extra = []
        if self.has_prior:
            own = params.section("attack.prior", prior.Settings)
            batches.append(len(own.weight) * max(plan.final_images, own.images))
            known = params.scaled("prior", PriorPlan)
            with META:
                extra = [PLACE.place(Denoiser(source.channels, source.side, known.width)).requires_grad_(False)]
        count = max(batches)
        x, z = empty(count, *self.x_shape).requires_grad_(), self.released(count)
        optimizer = tuned.optimizer([x], tuned.trials[:1])
        tuned.weigh(tuned.trials[:1], count, META)
        step = trained(tuned.stepper([x], z, optimizer), [self.target.edge], [optimizer])
        phases = [step.beside(x.nbytes + z.nbytes)]
        for net in extra:
            noisy, sigma = empty(count, *self.x_shape), empty(count)
            phases.append(passed(partial(net, noisy, sigma), [net]).beside(noisy.nbytes * 4 + z.nbytes))
        phases.append(self.scoring(judge, len(attacked), 1))
        # the second judge is another of the same size; the edge's weights are counted with its step
        nets = [judge.edge, judge.cloud, judge.edge, judge.cloud, self.target.cloud, *decoders, *extra]
        return largest(phases).beside((source.auxiliary + source.test) * self.image + size(weights(*nets)))

    def train_mine(self) -> tuple[Need, Need]:
        """Images, networks, a step of each critic, and passes over whole sets; with z streamed, and with z kept."""
        source, params = self.source, self.params
        settings, plan = params.section("mine", information.Settings), params.scaled("mine", information.Plan)
        shapes = params.section("information", information.Information)
        fit = min(source.train, max(plan.paper.fit_images, plan.calibrated.fit_images))
        strong = next(attack for attack in self.decoders[0] if attack.name == "strong")
        base = (fit + source.test) * self.image + self.networks + size(weights(strong.decoder))
        part = min(pairs.PART, max(fit, source.test))
        x, z = empty(part, *self.x_shape), empty(part, *self.z.shape[1:])
        with META:
            paper = PLACE.place(PaperCritic(self.x_shape, tuple(self.z.shape[1:])))
            size_of = settings.critic
            separable = PLACE.place(SeparableCritic([(x[:2], z[:2])], size_of.width, size_of.grid, 1.0))
        phases = []
        for critic, own in ((paper, settings.paper), (separable, settings.calibrated)):
            some_x, some_z = x[: own.batch_size].clone(), z[: own.batch_size].clone()
            optimizer = torch.optim.AdamW(critic.parameters(), own.lr, own.betas)

            def step(critic: nn.Module = critic, x: Tensor = some_x, z: Tensor = some_z, by: Any = optimizer) -> None:
                value = critic_value(critic, x, z)
                by.zero_grad(set_to_none=True)
                value.backward()
                by.step()

            batch = some_x.nbytes + 2 * some_z.nbytes
            phases.append(trained(step, [critic], [optimizer]).beside(batch))
        phases.append(self.observed(part, lambda z: separable.embed(x, z), separable).beside(x.nbytes))
        phases.append(self.observed(part, lambda z: z.transpose(0, 1).flatten(1)))  # levels of each channel
        # all held-out pairs: the outputs of both towers, twice while they are joined, and a block of their scores
        held = min(plan.calibrated.held_out_images, source.test)
        towers = 2 * held * size(separable.embed(x[:1], z[:1])[:1])
        phases.append(Need(2 * towers + 4 * 4 * held * min(CHUNK, held), 2 * towers + 5 * 4 * held * min(CHUNK, held)))
        # distances: features and images, centered, and their squares
        chosen = min(shapes.dependence_images, source.test)
        dependence = chosen * (self.z.nbytes + max(2 * self.z.nbytes, 3 * 4 * self.image))
        # the decoder's error: images and reconstructions in float64, a block at a time
        projected = 4 * source.test * self.image + 3 * 8 * min(bound.CHUNK, source.test) * self.image
        phases += [Need(dependence, dependence), Need(projected, projected)]
        decoded = self.observed(
            min(PART, source.test), lambda sent: strong.reconstruct(strong.view(sent), self.x_shape), strong.decoder
        )
        phases.append(decoded.beside(4 * source.test * self.image))
        streamed = largest(phases).beside(base)
        return streamed, streamed.beside(self.keeps("train_mine"))


def beside(defense: Defense) -> list[tuple[nn.Module, torch.optim.Optimizer]]:
    """Networks that a defense trains itself, with their optimizers."""
    if defense.estimator:
        return [(defense.estimator.net, defense.estimator.optimizer)]
    adversary = getattr(defense, "adversary", None)
    return [(adversary, defense.optimizer)] if adversary is not None else []


def critic_value(critic: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """A critic's bound on a batch, without what looks at values."""
    if isinstance(critic, PaperCritic):
        from_x, from_z = critic.on_x(x), critic.on_padded_z(z, tuple(x.shape[2:]))
        joint, marginal = critic.score(from_x, from_z), critic.score(from_x, from_z.flip(0))
        return log_mean_exp(marginal) - joint.mean()
    scores = critic.scores(*critic.embed(x, z))
    return torch.logsumexp(scores.masked_fill(torch.eye(len(x), dtype=torch.bool, device=META), -math.inf), 1).mean()


def prior_need(params: Params, source: sections.Source) -> Need:
    """A data set's denoiser: auxiliary images, a step, and the mean of the weights."""
    plan, shape = params.scaled("prior", PriorPlan), (source.channels, source.side, source.side)
    with META:
        net = PLACE.place(Denoiser(source.channels, source.side, plan.width))
    x, sigma = empty(plan.batch_size, *shape), empty(plan.batch_size)
    optimizer = optimizers.Adam(net.parameters(), plan.lr)

    def step() -> None:
        loss = net.relative_error(x, sigma, torch.randn_like(x)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return trained(step, [net], [optimizer]).beside(x.nbytes + size(weights(net)) + source.auxiliary * math.prod(shape))


@dataclass(frozen=True)
class Line:
    """A cell's needs by stage: with z streamed, and with z kept; ``z``: bytes of one image's."""

    cell: str
    z: int
    needs: dict[str, tuple[Need, Need]]
    kept: dict[str, int]

    def chosen(self, stage: str, memory: float) -> tuple[Need, bool]:
        """What a stage needs as it chooses on a device with so much memory, and whether it then keeps z."""
        keep = self.kept.get(stage, 0) <= SHARE * memory
        return self.needs[stage][keep], keep


def lines(study: Study) -> Iterator[Line]:
    """Each cell that the study's scale runs, and each data set's judge and prior under ``train_target``."""
    cells, known = Cells(study), {}
    for key in study.cells:
        cell, params, source = cells.opened("train_target", key)
        if not study.seeds("train_target", study.cell("train_target", key)):
            continue
        width = params.scaled(f"model.{cell.model}", training.Width).width
        stages = Stages(cell, params, source, width)
        # cells whose networks and losses are alike train alike, and those of which the same is sent are attacked alike
        nameless = replace(cell, name="", variant="", ablation="", start="", title="")
        trained_like = repr((stages.blueprint.plain() | {"cell": nameless}, cell.reuses_weights))
        if trained_like not in known:
            known[trained_like] = stages.train_target()
        attacked_like = stages.attacked_like()
        if attacked_like not in known:
            known[attacked_like] = stages.run_mle(), stages.train_generator(), stages.train_mine()
        target, (attacked, *both) = known[trained_like], known[attacked_like]
        needs = {"train_target": (target, target), "run_mle": (attacked, attacked)}
        needs |= dict(zip(KEEPING, both, strict=True))
        yield Line(key, stages.z.nbytes, needs, {stage: stages.keeps(stage) for stage in KEEPING})
    for dataset in study.variables["datasets"]:
        params = study.params
        source = params.section(f"scales.data.{dataset}", sections.Source)
        settings, plan = params.section("judge", judge_training.Settings), params.scaled("judge", judge_training.Plan)
        judge = Stages(judge_training.judge_cell(dataset, settings), params, source, plan.width).train_target()
        yield Line(f"judge/{dataset}", 0, {"train_target": (judge, judge)}, {})
        denoiser = prior_need(params, source)
        yield Line(f"prior/{dataset}", 0, {"train_target": (denoiser, denoiser)}, {})


def table(found: Iterable[Line], scale: str, memory: float) -> str:
    """The needs as Markdown: a row for each cell, GiB at the peak, and whether all fit a device of ``memory`` bytes."""
    limit = f"{memory / GIB:g} GiB"
    heads = ("train_target", "train_generator, z kept", "z streamed", "run_mle", "train_mine, z kept", "z streamed")
    text = [
        f"# Memory that scale {scale} needs",
        "",
        f"`splitprobe plan --memory '{limit}' --scale {scale}` prints this table. GiB of the device at a stage's peak, "
        "counted from shapes in float32; in brackets what must be resident of it (weights, gradients, the optimizer's "
        "state, what a batch's backward pass needs, images, z where it is kept). A stage keeps z where that takes at "
        f"most {SHARE:.0%} of the memory, and otherwise computes it for each batch; bold: what it does with {limit}. "
        "Not counted: what kernels take for themselves, fragmentation, the device's own context.",
        "",
        f"| cell | z of an image, KiB | {' | '.join(heads)} | largest | within {limit} |",
        "|---|" + "---:|" * (len(heads) + 2) + "---|",
    ]
    outside = []
    for line in found:
        row = [line.cell, f"{line.z / 1024:g}" if line.z else ""]
        for stage in STAGES:
            if stage not in line.needs:
                row += [""] * (2 if stage in KEEPING else 1)
                continue
            streamed, kept = line.needs[stage]
            if stage not in line.kept:
                row.append(f"**{shown(streamed)}**")
                continue
            _, keep = line.chosen(stage, memory)
            row += [
                f"**{shown(kept)}**" if keep else shown(kept),
                shown(streamed) if keep else f"**{shown(streamed)}**",
            ]
        most = max(line.chosen(stage, memory)[0].peak for stage in line.needs)
        if most > memory:
            outside.append(line.cell)
        text.append(f"| {' | '.join(row)} | {most / GIB:.2f} | {'no' if most > memory else 'yes'} |")
    said = f"Not within {limit}: {', '.join(outside)}." if outside else f"All are within {limit}."
    return "\n".join([*text, "", said])


def shown(need: Need) -> str:
    """Peak, and in brackets what must be resident, in GiB."""
    return f"{need.peak / GIB:.2f} ({need.held / GIB:.2f})"
