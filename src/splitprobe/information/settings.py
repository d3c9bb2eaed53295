"""The sections ``mine``, ``scales.mine`` and ``information`` of params.yaml."""

from dataclasses import dataclass

from splitprobe.core.params import bounded
from splitprobe.learning.schedule import Patience


@dataclass(frozen=True)
class Optimizer:
    """Settings of AdamW for one of the two estimators, and its batch size."""

    lr: float = bounded(1e-7, 1.0)
    betas: tuple[float, ...] = bounded(0.0, 0.99999, items=(2, 2))
    weight_decay: float = bounded(0.0, 10.0)
    batch_size: int = bounded(2, 4096)


@dataclass(frozen=True)
class Separable:
    """The calibrated critic's size: channels of its hidden layer, and the most cells a side of the common grid."""

    width: int = bounded(1, 1024)
    grid: int = bounded(1, 64)


@dataclass(frozen=True)
class Settings:
    """The section ``mine``.

    ``average`` is the number of last epochs that are averaged, ``stop_share`` the share of the fit images on which it
    is decided that the calibrated estimator has converged.
    """

    average: int = bounded(1, 1000)
    stop_share: float = bounded(0.01, 0.5)
    paper: Optimizer
    calibrated: Optimizer
    critic: Separable


@dataclass(frozen=True)
class Budget:
    """Epochs and images of the paper's estimator, all images where a set has fewer.

    A small set gets more epochs, so that there are at least ``least_steps``. The null has ``null_epochs`` at most.
    """

    epochs: int = bounded(1, 10000)
    least_steps: int = bounded(0, 100_000_000)
    null_epochs: int = bounded(1, 10000)
    fit_images: int = bounded(2, 10_000_000)
    held_out_images: int = bounded(2, 1_000_000)


@dataclass(frozen=True)
class Converging(Patience):
    """Steps and images of the calibrated estimator, all images where a set has fewer.

    The null has ``null_steps`` at most.
    """

    null_steps: int = bounded(1, 100_000_000)
    fit_images: int = bounded(4, 10_000_000)
    held_out_images: int = bounded(2, 1_000_000)


@dataclass(frozen=True)
class Plan:
    """The section ``scales.mine``."""

    paper: Budget
    calibrated: Converging


@dataclass(frozen=True)
class Information:
    """The section ``information``: sizes of the measures other than MINE.

    ``dependence_images`` go into the distance correlation. ``levels``, ``smoothing`` and ``deflate_images`` are those
    of the codes of quantized z. ``bound_images`` give the basis of the decoder bound, which has ``bound_components``
    components. Where there are fewer images, all are used. ``shuffles`` are the times that images are paired with the
    features of others, for the null of decoder bound and distance correlation.
    """

    dependence_images: int = bounded(4, 100_000)
    levels: int = bounded(2, 256)
    smoothing: float = bounded(1e-3, 100.0)
    deflate_images: int = bounded(1, 1_000_000)
    bound_images: int = bounded(2, 100_000)
    bound_components: int = bounded(1, 100_000)
    shuffles: int = bounded(2, 10_000)
