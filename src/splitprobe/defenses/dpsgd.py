"""DP-SGD (Abadi and others 2016) with opacus: clipped per-image gradients plus noise, accounted as (epsilon, delta).

BatchNorm mixes the images of a batch, so GroupNorm of at most 32 groups replaces it. ``epsilon: null`` trains the
GroupNorm network without privacy, as a control. Batches are Poisson samples, and some may be empty. Each is split into
physical batches, so that memory stays bounded. The noise multiplier for the target epsilon is found with the RDP
accountant. Clipping norm 1.2, epsilon 50 and delta 1e-5 are those of opacus' CIFAR-10 tutorial, which reaches the
paper's accuracy.

The privacy is that of a training image, not of an image that is sent. Expected: lower accuracy, and z leaks as much as
unprotected.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from splitprobe.core.params import ParamsError, bounded
from splitprobe.defenses.base import Defense, Private, Site

log = logging.getLogger("splitprobe")
GROUPS = 32  # GroupNorm's usual number; fewer where it does not divide the channels
ORDER = 63  # the largest order that opacus' accountant tries, which is the best one for much noise


@dataclass(frozen=True)
class Settings:
    """The section ``defense.dpsgd``; ``epsilon`` null trains without privacy, ``clipping_norm`` bounds a gradient."""

    epsilon: float | None = bounded(0.01, 10000.0)
    delta: float = bounded(1e-12, 0.1)
    clipping_norm: float = bounded(1e-3, 1000.0)
    batch_size: int = bounded(1, 65536)
    physical_batch_size: int = bounded(1, 65536)


def replace_batch_norm(module: nn.Module, name: str = "") -> list[str]:
    """Put GroupNorm in the place of every BatchNorm2d below a module; returns the dotted names of the replaced layers.

    Activations that work in place are set to return a new tensor. ``name`` is the dotted name of the module itself.
    """
    replaced = []
    for key, child in module.named_children():
        path = f"{name}.{key}" if name else key
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            setattr(module, key, nn.GroupNorm(math.gcd(GROUPS, channels), channels))
            replaced.append(path)
        elif hasattr(child, "inplace"):
            child.inplace = False  # opacus' hooks hand out views, which must not be overwritten
        replaced += replace_batch_norm(child, path)
    return replaced


class Dpsgd(Defense):
    """Private training of a GroupNorm network; inference is not changed."""

    title = "DP-SGD"
    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.spent: dict[str, Any] = {}

    @property
    def batch_size(self) -> int | None:
        """The expected size of a Poisson batch; None without privacy."""
        return self.settings.batch_size if self.settings.epsilon is not None else None

    def check(self, images: int) -> None:
        """Raise ParamsError for a batch larger than the training set, and a privacy that is none or out of reach."""
        settings = self.settings
        if settings.epsilon is None:
            return
        if settings.batch_size > images:
            message = f"the batch must not exceed the {images} training images"
            raise ParamsError(f"defense.dpsgd.batch_size = {settings.batch_size}: {message}")
        # whoever publishes one image of n at random, and nothing else, is (0, 1/n) private
        if settings.delta >= 1 / images:
            message = f"must be below 1/{images} = {1 / images:.3g}, one over the number of training images"
            raise ParamsError(f"defense.dpsgd.delta = {settings.delta:g}: {message}")
        if settings.epsilon <= least_epsilon(settings.delta):
            raise ParamsError(_out_of_reach(settings))

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """Replace BatchNorm by GroupNorm in both halves; the number of parameters stays the same."""
        for half, layers in (("edge", edge), ("cloud", cloud)):
            log.debug("DP-SGD: GroupNorm for BatchNorm in the %s: %s", half, ", ".join(replace_batch_norm(layers)))
        return edge, cloud

    def make_private(self, net: nn.Module, optimizer: torch.optim.Optimizer, site: Site) -> Private | None:
        """Opacus' optimizer around the given one, and Poisson batches of indices; None for the control without privacy.

        Raises ParamsError as :meth:`check` does.
        """
        settings = self.settings
        self.check(site.images)
        norms = sum(isinstance(m, nn.GroupNorm) for m in net.modules())
        log.info("DP-SGD: %d BatchNorm layers replaced by GroupNorm", norms)
        if settings.epsilon is None:
            return None
        from opacus.accountants import RDPAccountant  # seconds of imports that only this method needs
        from opacus.utils.uniform_sampler import UniformWithReplacementSampler

        rate = settings.batch_size / site.images
        # batches of an epoch: on average each image is drawn once
        steps = max(1, int(1 / rate))
        noise = noise_multiplier(settings, rate, steps * site.epochs)
        log.info("DP-SGD: noise multiplier %.3f for epsilon %g in %d epochs", noise, settings.epsilon, site.epochs)
        keep_gradients_apart(net)
        for group in optimizer.param_groups:
            group["fused"] = False  # that kernel wants gradients laid out as weights are, and Opacus' are contiguous
        private = exact_optimizer()(
            optimizer, noise_multiplier=noise, max_grad_norm=settings.clipping_norm,
            expected_batch_size=settings.batch_size, generator=site.runtime.generator(site.seed, "dpsgd"),
        )  # fmt: skip
        accountant = RDPAccountant()
        private.attach_step_hook(accountant.get_optimizer_hook_fn(sample_rate=rate))
        # opacus draws its batches on the CPU
        order = torch.Generator().manual_seed(site.seed)
        sampler = UniformWithReplacementSampler(
            num_samples=site.images, sample_rate=rate, generator=order, steps=steps
        )  # fmt: skip

        def epoch() -> Iterator[Tensor]:
            for batch in sampler:
                yield from physical(torch.tensor(batch, dtype=torch.long), settings.physical_batch_size, private)
            with _silent_accounting():
                spent = float(accountant.get_epsilon(settings.delta))
            self.spent = {
                "epsilon": spent, "delta": settings.delta, "noise_multiplier": noise,
                "clipping_norm": settings.clipping_norm,
            }  # fmt: skip

        return private, epoch

    def facts(self) -> dict[str, Any]:
        """The privacy that the training spent, with its noise and clipping; empty without privacy."""
        return self.spent


def least_epsilon(delta: float) -> float:
    """The epsilon that the accountant states of endless noise: its conversion from RDP, at its largest order."""
    return math.log1p(-1 / ORDER) - (math.log(delta) + math.log(ORDER)) / (ORDER - 1)


def _out_of_reach(settings: Settings) -> str:
    return (
        f"defense.dpsgd.epsilon = {settings.epsilon:g}: out of reach, however much noise is added; at "
        f"defense.dpsgd.delta = {settings.delta:g} it must be above {least_epsilon(settings.delta):.3g}, at a larger "
        "delta it may be less"
    )


def noise_multiplier(settings: Settings, rate: float, steps: int) -> float:
    """The noise's deviation, in clipping norms, for which ``steps`` batches at sampling ``rate`` spend the epsilon.

    Raises ParamsError where none does.
    """
    from opacus.accountants.utils import get_noise_multiplier

    try:
        with _silent_accounting():
            noise = get_noise_multiplier(
                target_epsilon=settings.epsilon, target_delta=settings.delta, sample_rate=rate, steps=steps,
                accountant="rdp",
            )  # fmt: skip
    except ValueError as error:
        raise ParamsError(_out_of_reach(settings)) from error
    return float(noise)


@functools.cache
def exact_optimizer() -> type:
    """Opacus' optimizer, with gradients that are clipped in float32 whatever the layers computed in.

    Opacus takes the norms of gradients in the precision that they have. In bfloat16 these are up to 0.4 % off, so that
    a clipped gradient might be longer than the accounting takes for granted.
    """
    from opacus.optimizers import DPOptimizer

    class ExactOptimizer(DPOptimizer):
        def clip_and_accumulate(self) -> None:
            for parameter in self.params:
                parameter.grad_sample = parameter.grad_sample.to(parameter.dtype)
            super().clip_and_accumulate()

    return ExactOptimizer


def keep_gradients_apart(net: nn.Module) -> None:
    """Hook the network's layers so that each parameter keeps the gradient of every image, in ``grad_sample``."""
    from opacus import GradSampleModule

    # torch warns that the first layer's input, the image, needs no gradient; that is intended
    warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(_make_contiguous)
    GradSampleModule(net)  # its hooks stay on the layers; net itself keeps the plain checkpoint keys


def _make_contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copy the inputs of a convolution to contiguous memory.

    Opacus 1.6 unfolds a convolution's input by strides and is wrong, without a warning, on a channels-last one.
    """
    return tuple(x.contiguous() for x in inputs)


def physical(batch: Tensor, size: int, optimizer: Any) -> Iterator[Tensor]:
    """The parts, of at most ``size`` indices, of a logical batch; the optimizer acts after the last one.

    An empty batch has no part: the optimizer then steps on noise alone, as the accounting assumes.
    """
    if not len(batch):
        optimizer.zero_grad()
        for parameter in optimizer.params:
            # a gradient of no image, which opacus' optimizer expects to find
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        optimizer.step()
        optimizer.zero_grad()
        return
    parts = batch.split(size)
    for i, part in enumerate(parts):
        # until the last part, the optimizer only adds up the clipped gradients
        optimizer.signal_skip_step(do_skip=i + 1 < len(parts))
        yield part


@contextlib.contextmanager
def _silent_accounting() -> Iterator[None]:
    """Silence opacus while it accounts.

    It warns when the best order of its accountant lies at the end of the range; the bound still holds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
