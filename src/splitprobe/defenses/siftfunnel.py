"""SiftFunnel, the paper's defense: an attention-guided funnel on the edge, and penalties on what z keeps of x.

The last edge block is replaced by attention (SE, triplet) behind the block before it, a 1x1 convolution to a quarter of
the channels (in narrow networks: to those of z), a tail of small convolutions down to a few channels, and attention
(SE, CBAM). The cloud expands the channels again. Training minimizes equation (15): alpha KL + lambda_dcor dCor^2(x, z)
+ lambda_pearson Pearson(z) + lambda_l1 mean|z|.

Differs from the authors: x in dCor is seen before normalization (an affine map per channel), and nothing is selected on
test data. Both published forms of the tail are here: their code's (16,354 edge parameters at width 128, 12 channels)
and the paper's wording (14,890; the paper prints 14,911). Expected: some points of accuracy are lost, and decoders stay
near the mean image.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from splitprobe.core.params import Params, ParamsError, bounded
from splitprobe.defenses.base import Batch, Defense
from splitprobe.learning.losses import distance_correlation, kl_divergence, pearson, smoothed_labels
from splitprobe.models.layers import Block, Cbam, ChannelExpand, SqueezeExcite, TripletAttention, narrow
from splitprobe.models.split import Layout


@dataclass(frozen=True)
class Architecture:
    """The section ``defense.siftfunnel``.

    ``channels`` are those of z. ``tail`` is that of the authors' "code" or of the paper's "text". ``attention_after``
    are the blocks, counted from 1, that get attention behind them, with ``se_reduction`` for each. ``funnel`` and
    ``attention`` switch these parts on.
    """

    channels: int = bounded(2, 1024)
    entry_kernel: int = bounded(choices=(1, 3))
    bias: bool
    tail: str = bounded(choices=("code", "text"))
    attention_after: tuple[int, ...] = bounded(1, 100, items=(0, 100), distinct=True)
    se_reduction: tuple[int, ...] = bounded(1, 1024, items=(0, 100))
    out_se_reduction: int = bounded(1, 1024)
    out_cbam_reduction: int = bounded(1, 1024)
    funnel: bool
    attention: bool

    def __post_init__(self) -> None:
        if len(self.attention_after) != len(self.se_reduction):
            raise ParamsError(
                f"defense.siftfunnel.se_reduction = {list(self.se_reduction)}: "
                f"one for each block of attention_after = {list(self.attention_after)} is needed"
            )


@dataclass(frozen=True)
class Loss:
    """The section ``loss``: the weights of equation (15)."""

    alpha_kl: float = bounded(0.0, 1000.0)
    label_smoothing: float = bounded(0.0, 0.99)
    lambda_dcor: float = bounded(0.0, 1000.0)
    lambda_pearson: float = bounded(0.0, 1000.0)
    lambda_l1: float = bounded(0.0, 1000.0)


@dataclass(frozen=True)
class Settings:
    """Architecture and loss, from two sections of params.yaml; without loss where it only lends its networks."""

    architecture: Architecture
    loss: Loss | None


def funnel_tail(in_channels: int, channels: int, tail: str) -> nn.Sequential:
    """The small convolutions that narrow a feature from ``in_channels`` to ``channels``, with a ReLU at the end.

    Kernels are 1-3-SiLU-1-3-5 for the tail "code" and 1-3-SiLU-5 for "text".
    """
    middle = [nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 3, padding=1)] if tail == "code" else []
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.SiLU(),
        *middle,
        nn.Conv2d(channels, channels, 5, padding=2),
        nn.ReLU(),
    )


def entry(in_channels: int, channels: int, kernel: int, bias: bool) -> nn.Sequential:
    """The funnel's first layer: convolution, BatchNorm, ReLU."""
    convolution = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


class SiftFunnel(Defense):
    """The funnel, its attention blocks (each can be switched off) and the penalties of equation (15)."""

    title = "SiftFunnel"
    Settings = Settings

    @classmethod
    def from_params(cls, name: str, params: Params) -> SiftFunnel:
        """Read the sections ``defense.siftfunnel`` and ``loss``. Raises ParamsError naming a bad key."""
        return cls(Settings(params.section(f"defense.{name}", Architecture), params.section("loss", Loss)))

    @classmethod
    def lending(cls, name: str, params: Params) -> SiftFunnel:
        """The networks alone: whoever borrows them does not depend on the weights of the loss."""
        return cls(Settings(params.section(f"defense.{name}", Architecture), None))

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """Replace the last edge block by funnel and attention, add attention behind kept blocks, expand in the cloud.

        Raises ParamsError for cut 1, and for attention that does not fit the kept blocks.
        """
        # the first element is the normalization, which is no block
        if len(edge) < 3:
            raise ParamsError("cut = 1: SiftFunnel replaces the last of at least two edge blocks; use cut 2 or more")
        architecture, last = self.settings.architecture, edge[-1]
        in_channels, channels = last.in_channels, architecture.channels if architecture.funnel else last.out_channels
        first, *kept = self._with_attention(edge[:-1]) if architecture.attention else edge[:-1]
        layers: list[nn.Module] = [last]
        if architecture.funnel:
            # as in the authors' VGG16; the BatchNorm behind each convolution makes up for the missing bias
            if not architecture.bias:
                for convolution in (m for m in edge[:-1].modules() if isinstance(m, nn.Conv2d)):
                    convolution.bias = None
            entry_channels = narrow(in_channels, channels)
            layers = [*entry(in_channels, entry_channels, architecture.entry_kernel, architecture.bias)]
            # the funnel keeps the stride of the block that it replaces
            layers += [nn.MaxPool2d(last.stride)] if last.stride > 1 else []
            layers += [funnel_tail(entry_channels, channels, architecture.tail)]
            cloud = nn.Sequential(ChannelExpand(channels, last.out_channels), *cloud)
        if architecture.attention:
            layers += [
                SqueezeExcite(channels, architecture.out_se_reduction),
                Cbam(channels, architecture.out_cbam_reduction),
            ]
        return nn.Sequential(first, *kept, Block(in_channels, channels, last.stride, *layers)), cloud

    def _with_attention(self, blocks: nn.Sequential) -> list[nn.Module]:
        """The kept blocks (normalization first), with attention behind those that the settings name.

        Raises ParamsError when the settings name a block that is not kept.
        """
        architecture, blocks = self.settings.architecture, list(blocks)
        for index, reduction in zip(architecture.attention_after, architecture.se_reduction, strict=True):
            if index >= len(blocks):
                raise ParamsError(
                    f"defense.siftfunnel.attention_after = {list(architecture.attention_after)}: only blocks 1 to "
                    f"{len(blocks) - 1} are kept at this cut"
                )
            kept = blocks[index]
            attention = (SqueezeExcite(kept.out_channels, reduction), TripletAttention())
            blocks[index] = Block(kept.in_channels, kept.out_channels, kept.stride, kept, *attention)
        return blocks

    def task_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """alpha times the KL divergence from smoothed labels, a scalar."""
        targets = smoothed_labels(y, logits.shape[1], self.settings.loss.label_smoothing)
        return self.settings.loss.alpha_kl * kl_divergence(logits, targets)

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The three weighted penalties on z: distance correlation with x, Pearson, L1."""
        weights = self.settings.loss
        return {
            "dcor": weights.lambda_dcor * distance_correlation(batch.x, batch.z),
            "pearson": weights.lambda_pearson * pearson(batch.z),
            "l1": weights.lambda_l1 * batch.z.float().abs().mean(),
        }

    def gray_box_decoder(self, layout: Layout) -> nn.Module | None:
        """The authors' decoder, which mirrors the funnel."""
        return layout.funnel_decoder()
