"""DP-SGD (Abadi and others 2016) with opacus: clipped per-image gradients plus noise, accounted as (epsilon, delta).

BatchNorm mixes the images of a batch and is replaced by GroupNorm of min(32, c) groups; ``epsilon: null`` trains this
network without privacy, which is the control row. Batches are Poisson samples (some may be empty), split into physical
ones so that memory stays bounded; the noise multiplier is found for the target epsilon with the RDP accountant.
Clipping norm 1.2, epsilon 50, delta 1e-5 are those of opacus' CIFAR-10 tutorial, which reaches the paper's accuracy.
Privacy is that of a training image, not of an image sent. Expected: lower accuracy, z leaks as much as unprotected.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from splitprobe.defenses.base import Defense, Private, Site
from splitprobe.params import ParamsError, bounded

log = logging.getLogger("splitprobe")
GROUPS = 32  # GroupNorm's usual number, fewer where the channels do not divide


@dataclass(frozen=True)
class Settings:
    """The section ``defense.dpsgd``."""

    epsilon: float | None = bounded(0.01, 10000.0)
    delta: float = bounded(1e-12, 0.1)
    clipping_norm: float = bounded(1e-3, 1000.0)
    batch_size: int = bounded(1, 65536)
    physical_batch_size: int = bounded(1, 65536)


def replace_batch_norm(module: nn.Module, name: str = "") -> list[str]:
    """Put GroupNorm in the place of every BatchNorm2d below a module, ReLUs out of place; the replaced names."""
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
    """Private training of a GroupNorm network; nothing changes at inference."""

    title = "DP-SGD"
    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.spent: dict[str, Any] = {}

    @property
    def batch_size(self) -> int | None:
        """The expected size of a Poisson batch."""
        return self.settings.batch_size if self.settings.epsilon is not None else None

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """GroupNorm for BatchNorm in both halves; equally many parameters."""
        for half, layers in (("edge", edge), ("cloud", cloud)):
            log.debug("DP-SGD: GroupNorm for BatchNorm in the %s: %s", half, ", ".join(replace_batch_norm(layers)))
        return edge, cloud

    def make_private(self, net: nn.Module, optimizer: torch.optim.Optimizer, site: Site) -> Private | None:
        """Opacus' optimizer around the given one, and Poisson batches; None for the control without privacy."""
        settings = self.settings
        norms = sum(isinstance(m, nn.GroupNorm) for m in net.modules())
        log.info("DP-SGD: %d BatchNorm layers replaced by GroupNorm", norms)
        if settings.epsilon is None:
            return None
        if settings.batch_size > site.images:
            message = f"the batch must not exceed the {site.images} training images"
            raise ParamsError(f"defense.dpsgd.batch_size = {settings.batch_size}: {message}")
        from opacus.accountants import RDPAccountant  # seconds of imports that only this method needs
        from opacus.optimizers import DPOptimizer
        from opacus.utils.uniform_sampler import UniformWithReplacementSampler

        rate = settings.batch_size / site.images
        steps = max(1, int(1 / rate))
        noise = noise_multiplier(settings, rate, steps * site.epochs)
        log.info("DP-SGD: noise multiplier %.3f for epsilon %g in %d epochs", noise, settings.epsilon, site.epochs)
        keep_gradients_apart(net)
        private = DPOptimizer(
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
            with _quiet():
                spent = float(accountant.get_epsilon(settings.delta))
            self.spent = {
                "epsilon": spent, "delta": settings.delta, "noise_multiplier": noise,
                "clipping_norm": settings.clipping_norm,
            }  # fmt: skip

        return private, epoch

    def facts(self) -> dict[str, Any]:
        """The privacy that the training spent."""
        return self.spent


def noise_multiplier(settings: Settings, rate: float, steps: int) -> float:
    """The noise's deviation, in clipping norms, with which ``steps`` batches at a sampling rate spend the epsilon."""
    from opacus.accountants.utils import get_noise_multiplier

    with _quiet():
        noise = get_noise_multiplier(
            target_epsilon=settings.epsilon, target_delta=settings.delta, sample_rate=rate, steps=steps,
            accountant="rdp",
        )  # fmt: skip
    return float(noise)


def keep_gradients_apart(net: nn.Module) -> None:
    """Hook the network's layers so that each parameter keeps the gradient of every image (``grad_sample``)."""
    from opacus import GradSampleModule

    # the first layer's hook says that the image needs no gradient, which is so
    warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(_contiguous)
    GradSampleModule(net)  # the hooks outlive it; keys of checkpoints stay plain


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Opacus 1.6 unfolds a convolution's input by strides and is wrong, without a word, on a channels-last one."""
    return tuple(x.contiguous() for x in inputs)


def physical(batch: Tensor, size: int, optimizer: Any) -> Iterator[Tensor]:
    """The parts of a logical batch of indices; the optimizer acts after the last one.

    An empty batch has no part: the optimizer then steps on noise alone, as the accounting assumes.
    """
    if not len(batch):
        optimizer.zero_grad()
        for parameter in optimizer.params:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        optimizer.step()
        optimizer.zero_grad()
        return
    parts = batch.split(size)
    for i, part in enumerate(parts):
        optimizer.signal_skip_step(do_skip=i + 1 < len(parts))
        yield part


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Opacus warns when the best order of its accountant lies at the end of the range; the bound still holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
