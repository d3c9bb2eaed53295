"""Generator attack: a decoder G fitted on auxiliary images so that G(z) is x; the paper's equation (4).

- Black-box: the decoder mirrors the plain network's cut.
- Gray-box: it mirrors the defense's architecture, where that differs from the plain one.
- Repeated: the black-box decoder on several releases of the same image combined, where releases are random.
- Cloud-side: a decoder of what the cloud's first layer makes of z, where that layer undoes a funnel.
- Strong, strong repeated (not in the paper): a larger residual decoder of the standardized feature, alike for every
  defense. It is fitted until its held-out error stops falling, on images that are flipped at random where the
  target's training flips them. Where a release may lack entries, it is told by further channels which
  ones came through, in one release at least, so that it need not take a missing entry for a small one. In how many they
  did is not told: masks are drawn without regard to z, so that this says nothing more of x.

All are scored on their own test images and, under ``shared_``, on those of them that MLE attacks.

Differs from the authors: epochs are selected on held-out auxiliary images (theirs: on the target's images), and a
stochastic release is drawn anew at every step.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.attacks.base import PART, Attack, Scene, interception, run_family
from splitprobe.core.artifacts import Record, read_checkpoint, reading, write_checkpoint
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError, bounded, typed
from splitprobe.core.runtime import Runtime, progress
from splitprobe.learning.augment import augment
from splitprobe.learning.parts import joined
from splitprobe.learning.replay import Replay
from splitprobe.learning.schedule import Adam, Patience, Rate, Schedule, batches, renew_statistics
from splitprobe.models import count
from splitprobe.models.layers import ChannelExpand
from splitprobe.models.residual import ResidualDecoder
from splitprobe.targets import second_judge as judging
from splitprobe.targets.second_judge import SecondJudge
from splitprobe.targets.target import Features, Target

TITLES = {
    "black_box": "black-box",
    "gray_box": "gray-box",
    "repeated": "black-box",
    "cloud_side": "cloud-side",
    "strong": "strong black-box",
    "strong_repeated": "strong black-box",
}
STRONG = ("strong_repeated", "strong")  # what other stages go on from: the first that a cell has


@dataclass(frozen=True)
class Settings(Adam):
    """The section ``attack.generator``.

    ``queries`` are the releases that a repeated decoder combines, ``draws`` the times that test images are intercepted
    where releases are random, ``holdout`` the share of auxiliary images held out.
    """

    decoders: tuple[str, ...] = bounded(choices=tuple(TITLES), items=(1, len(TITLES)), distinct=True)
    queries: int = bounded(2, 10000)
    draws: int = bounded(1, 1000)
    holdout: float = bounded(0.01, 0.5)

    def __post_init__(self) -> None:
        if "strong" not in self.decoders:  # the only one of STRONG that applies to every cell
            raise ParamsError(
                f"attack.generator.decoders = {list(self.decoders)}: 'strong' must be among them, since the hybrid "
                "attack and a bound on the information go on from it"
            )


@dataclass(frozen=True)
class Plan(Schedule):
    """The section ``scales.generator``: schedule, and number of test images to attack (all where there are fewer)."""

    images: int = bounded(1, 10_000_000)


@dataclass(frozen=True)
class Strong(Patience):
    """The section ``scales.strong``: budget and size of the residual decoder, at the rate ``lr`` until it converges."""

    lr: float = bounded(1e-7, 1.0)
    width: int = bounded(8, 4096)
    blocks: int = bounded(1, 100)


@dataclass(frozen=True)
class Shared:
    """What decoders need of the section ``scales.mle``: the number of images on which all attacks are compared."""

    images: int = bounded(1, 100000)


class Decoder(Attack):
    """A network that rebuilds x from what is released, without the means to fit it.

    It sees ``view`` of what is released: the output of the cloud's first layer, or the release itself, for a strong
    decoder with its mask where the defense masks. ``settings`` are those it was fitted with.
    """

    family, kind = "generator", "decoders"

    def __init__(
        self, name: str, target: Target, seed: int, network: Callable[[], nn.Module], settings: Settings
    ) -> None:
        super().__init__(name, target, seed)
        self.settings = settings
        self.access = TITLES[name]
        self.draws = settings.draws if target.defense.stochastic else 1
        if name == "cloud_side":
            self.view = target.cloud[0]
        elif name in STRONG and target.defense.masks:
            self.view = with_mask
        if name.endswith("repeated"):
            self.queries, self.access = settings.queries, f"{TITLES[name]}, {settings.queries} queries"
        with target.runtime.seeded(seed, "decoder"):
            self.decoder = target.runtime.place(network())

    @torch.no_grad()
    def reconstruct(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Decode observed z in evaluation mode, in parts of PART images; returns x_hat (N, C, H, W) in [0, 1]."""
        self.decoder.eval()
        return joined((self.decoder(part).float() for part in z.split(PART)), len(z))

    def rebuild(self, images: Tensor, draws: int) -> Tensor:
        """As for any attack, without holding what is observed of all images."""
        features, noise = interception(self, images)
        parts = (z for _ in range(draws) for z in self.observed(features, noise))
        return joined((self.reconstruct(z, tuple(images.shape[1:])) for z in parts), draws * len(images))

    def held(self, images: int) -> int:
        """The number of images held out of ``images`` auxiliary ones: at least one."""
        return max(1, round(images * self.settings.holdout))

    def holdout(self, auxiliary: Tensor) -> Tensor:
        """Those of the auxiliary images (uint8, N, C, H, W) that the decoder is not fitted on."""
        return self.shuffled(auxiliary, slice(-self.held(len(auxiliary)), None))


class Generator(Decoder):
    """A decoder that is fitted on auxiliary images as ``plan`` says; ``flip``: half of them mirrored at each step."""

    def __init__(
        self,
        name: str,
        target: Target,
        seed: int,
        network: Callable[[], nn.Module],
        settings: Settings,
        plan: Plan | Strong,
        flip: bool,
    ) -> None:
        super().__init__(name, target, seed, network, settings)
        self.plan, self.flip = plan, flip
        self.use(target.runtime)
        self.best_epoch, self.holdout_mse, self.sizes = 0, float("inf"), (0, 0)
        self.rate: Rate | None = None

    def schedule(self) -> Rate:
        """The learning rate over the epochs of the fit."""
        plan, size = self.plan, self.settings.batch_size
        if isinstance(plan, Strong):
            return plan.rate(self.optimizer, self.sizes[0], size)
        self.plan = plan.on(self.sizes[0], size)
        return Rate(self.optimizer, self.plan, self.settings)

    def use(self, runtime: Runtime) -> None:
        """Begin anew with the optimizer, under a runtime."""
        self.runtime, self.optimizer = runtime, self.settings.optimizer(self.decoder.parameters(), self.plan.lr)
        self.replay = Replay(self._step, runtime, self.optimizer)

    def settle(self, images: Tensor) -> None:
        """Decide the precision, where it is open, by steps of a copy on a batch of uint8 images (N, C, H, W)."""
        target = self.target

        def build(place: Runtime) -> Callable[[], Tensor]:
            one = copy.copy(self)
            one.decoder = copy.deepcopy(self.decoder).train()
            one.use(place)
            z = self.observe(target.features(images), self.generator("precision"))
            return lambda: one.step(z, images)

        layout = target.blueprint.layout(target.edge)
        work = f"{self.name} decoder of {count.parameters(self.decoder)} parameters, {layout}, {tuple(images.shape)}"
        runtime = target.runtime.settled(work, build)
        if runtime is not self.runtime:
            self.use(runtime)

    def step(self, z: Tensor, images: Tensor) -> Tensor:
        """One optimizer step on observed z and uint8 images (N, C, H, W); returns the loss.

        On a GPU the next step may overwrite it.
        """
        return self.replay(z, images)

    def _step(self, z: Tensor, images: Tensor) -> Tensor:
        with self.runtime.autocast():
            x_hat = self.decoder(z)
        loss = F.mse_loss(x_hat.float(), images.float() / 255)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss

    def fit(self, auxiliary: Tensor) -> None:
        """Train on auxiliary images (uint8, N, C, H, W) and keep the epoch that is best on their held-out part."""
        self.settle(auxiliary[: self.settings.batch_size])
        chosen = self.shuffled(torch.arange(len(auxiliary), device=auxiliary.device))
        held_size = self.held(len(auxiliary))
        fit_size = len(auxiliary) - held_size
        self.sizes = (fit_size, held_size)
        # the edge is fixed, only the release is drawn anew; flipped images have features of their own at each step
        z = Features.of(self.target, auxiliary, chosen, self.target.keeps(len(auxiliary)))
        fit_z, held_z, held_out = z.window(0, fit_size), z.window(fit_size, len(z)), auxiliary[chosen[fit_size:]]
        noise, order, views = (self.generator(purpose) for purpose in ("release", "order", "views"))
        # several defenses shrink z by orders of magnitude, which stalls a decoder of the raw feature
        if isinstance(self.decoder, ResidualDecoder):
            self.decoder.standardize(self.observed(fit_z, self.generator("standardize")))
        settings, best, self.rate = self.settings, None, self.schedule()
        renewing = fit_z.window(0, min(fit_size, settings.batch_size * settings.statistics_batches))
        bar = progress(range(1, self.rate.epochs + 1), f"{self.target.cell.name} {self.name}")
        for epoch in bar:
            self.decoder.train()
            for index in batches(fit_size, settings.batch_size, order):
                x = auxiliary[chosen[index]]
                if self.flip:
                    x = augment(x, flip=True, jitter=0.0, generator=views)
                seen = self.target.features(x) if self.flip else fit_z[index]
                loss = self.step(self.observe(seen, noise), x)
            parts = renewing.parts(settings.batch_size)
            renew_statistics(self.decoder, self.decoder, (self.observe(part, noise) for part in parts))
            # the same noise each time, so that all epochs are judged by the same releases
            error = self.error(self.observed(held_z, self.generator("holdout")), held_out)
            self.rate.step(error)
            if error < self.holdout_mse:
                self.holdout_mse, self.best_epoch, best = error, epoch, copy.deepcopy(self.decoder.state_dict())
            self.curve.append({"epoch": epoch, f"{self.name}_mse": error})
            bar.set_postfix(loss=f"{loss.item():.4f}", held_out=f"{error:.4f}")
            if self.rate.done:
                break
        self.replay.renew()  # gives its memory back
        if best is not None:  # None when every epoch diverged, which the scores then show
            self.decoder.load_state_dict(best)
        # what only the fit needs goes: other decoders follow
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()

    def error(self, parts: Iterable[Tensor], images: Tensor) -> float:
        """Mean squared error per element of what is rebuilt from observed z, in parts, of uint8 images (N, C, H, W)."""
        x_hat = joined((self.reconstruct(z, tuple(images.shape[1:])) for z in parts), len(images))
        # in place: what mse_loss computes, without the images as floats and the differences beside x_hat
        for part, x in zip(x_hat.split(PART), images.split(PART), strict=True):
            part.sub_(x.float() / 255)
        return x_hat.square_().mean().item()

    def facts(self) -> dict[str, Any]:
        """Budget, selected epoch and size of the decoder, for the result; whether more steps would have helped."""
        an_epoch, plan = max(1, self.sizes[0] // self.settings.batch_size), self.plan
        budget = (
            {"schedule": plan.schedule}
            if isinstance(plan, Plan)
            else {
                "most_steps": self.rate.epochs * an_epoch,
                "still_improving": self.rate.still_falling,
                "patience": plan.patience,
                "cooldown": plan.cooldown,
                "flip": self.flip,
            }
        )
        return {
            "queries": self.queries,
            "parameters": count.parameters(self.decoder),
            "epochs": len(self.curve),
            "steps": len(self.curve) * an_epoch,
            **budget,
            "best_epoch": self.best_epoch,
            "lr": plan.lr,
            "fit_images": self.sizes[0],
            "holdout_images": self.sizes[1],
            "holdout_mse": self.holdout_mse,
        }


def cloud_side_decoder(target: Target) -> nn.Module | None:
    """The authors' decoder of the widened feature; None where the cloud does not begin by widening z."""
    widening = target.cloud[0]
    if not isinstance(widening, ChannelExpand):
        return None
    return target.blueprint.layout(target.edge).cloud_decoder(widening.out_channels)


def with_mask(z: Tensor) -> Tensor:
    """z (N, c, h, w) and, as c more channels, 1 for each entry that came through and 0 for each other."""
    return torch.cat((z, (z != 0).to(z.dtype)), 1)


def residual_decoder(target: Target, width: int, blocks: int) -> ResidualDecoder:
    """The strong decoder of what a target releases: z, and as many channels of its mask where it has one."""
    shape = target.blueprint.shape
    z_channels, *sides = target.one().shape[1:]
    seen_channels = 2 * z_channels if target.defense.masks else z_channels
    return ResidualDecoder((seen_channels, *sides), shape.channels, shape.side, width, blocks)


def build(target: Target, params: Params, test: Tensor, built: Mapping[str, Attack]) -> tuple[list[Attack], Tensor]:
    """The decoders of ``attack.generator`` that apply to the target, and the test images to attack (the first ones).

    A gray-box decoder applies only where the defense changes the architecture, a repeated one only where the defense is
    random, a cloud-side one only where the cloud widens z.
    """
    settings, plan = params.section("attack.generator", Settings), params.scaled("generator", Plan)
    strong = params.scaled("strong", Strong)
    layout = target.blueprint.layout(target.edge)

    def residual() -> nn.Module:
        return residual_decoder(target, strong.width, strong.blocks)

    # each gives None where its decoder does not apply to the target
    makers: dict[str, Callable[[], nn.Module | None]] = {
        "black_box": lambda: layout.mirror(layout.z_channels),
        "gray_box": lambda: target.blueprint.gray_box_decoder(layout),
        "cloud_side": lambda: cloud_side_decoder(target),
        "repeated": lambda: layout.mirror(layout.z_channels) if target.defense.stochastic else None,
        "strong": residual,
        "strong_repeated": lambda: residual() if target.defense.stochastic else None,
    }
    chosen = [name for name in settings.decoders if makers[name]() is not None]
    plans = {name: strong if name.startswith("strong") else plan for name in chosen}
    # the paper's decoders are fitted as the paper's are
    flips = {name: name.startswith("strong") and params.raw("training.flip") for name in chosen}
    attacks = [
        Generator(name, target, params.seed, makers[name], settings, plans[name], flips[name]) for name in chosen
    ]
    return attacks, test[: plan.images]


def train_generator(cell: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Attack]:
    """The stage ``train_generator``: fit and score all decoders of one cell; returns them by name.

    Beside what :func:`run_family` writes, it saves what other stages go on from: strong decoders and second judge.
    """
    scene = Scene.open(cell, paths, runtime)
    attacks, images = build(scene.target, params, scene.test, {})
    # of the section this alone, so that decoders do not depend on the budget of MLE
    shared = typed(Shared, {"images": params.raw("scales.mle.images")}, "scales.mle")
    second = functools.cache(lambda: second_judge(attacks, scene, params))
    run_family(attacks, images, scene, params, paths, shared.images, second)
    settings, strong = params.section("attack.generator", Settings), params.scaled("strong", Strong)
    saved = {attack.name: attack.decoder.state_dict() for attack in attacks if attack.name in STRONG}
    size = {"width": strong.width, "blocks": strong.blocks}
    state = {"cell": cell, "settings": asdict(settings), "size": size, "decoders": saved}
    write_checkpoint(paths.decoders(cell), {**state, "second_judge": second().plain()})
    return {attack.name: attack for attack in attacks}


def second_judge(attacks: list[Generator], scene: Scene, params: Params) -> SecondJudge:
    """The cell's second judge, adapted to what the first of STRONG among the fitted attacks makes of auxiliary images.

    These are the first ones, as many as its steps can see.
    """
    settings = params.scaled("second_judge", judging.Settings)
    x, labels = (part[: settings.steps * settings.images] for part in (scene.auxiliary, scene.auxiliary_labels))
    if not judging.known(labels).any():
        return SecondJudge(None, {}, judging.UNLABELLED)
    decoder = next(attack for name in STRONG for attack in attacks if attack.name == name)
    observed = decoder.observed(Features.of(scene.target, x), decoder.generator("second judge"))
    x_hat = joined((decoder.reconstruct(z, tuple(x.shape[1:])) for z in observed), len(x))
    return judging.adapt(scene.judge, x, x_hat, labels, settings, params.seed)


def saved(cell: str, paths: Paths) -> Record:
    """What ``train_generator`` saved of a cell; raises FileNotFoundError or DamagedFile, as its users do."""
    file = paths.decoders(cell)
    try:
        state = read_checkpoint(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} is missing: `dvc repro train_generator@{cell}` fits it") from None
    with reading(file):
        if state["cell"] != cell:
            raise ValueError(f"it is that of {state['cell']}")
    return state


def load_second_judge(scene: Scene, paths: Paths) -> SecondJudge:
    """The second judge of a cell, as ``train_generator`` saved it; raises as :func:`load_decoders` does."""
    state = saved(scene.target.cell.name, paths)
    with reading(state.path):
        return SecondJudge.from_plain(state["second_judge"], scene.judge)


def load_decoders(target: Target, seed: int, paths: Paths) -> dict[str, Decoder]:
    """The strong decoders of a target's cell, by name, as ``train_generator`` saved them.

    Raises FileNotFoundError or DamagedFile, when it is absent, or damaged or of another cell.
    """
    state, loaded = saved(target.cell.name, paths), {}
    with reading(state.path):
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in state["settings"].items()}
        settings = typed(Settings, plain, "attack.generator")
        for name, weights in state["decoders"].items():
            loaded[name] = Decoder(name, target, seed, lambda: residual_decoder(target, **state["size"]), settings)
            loaded[name].decoder.load_state_dict(weights)
    return loaded
