"""SiftFunnel, the paper's defense: an attention-guided funnel on the edge, and penalties on what z keeps of x.

The last edge block becomes: attention (SE, triplet), 1x1 convolution to a quarter of the channels (in narrow networks
to those of z), a tail of small convolutions down to a few channels, attention (SE, CBAM); the cloud expands the
channels again. Training minimizes equation (15): alpha KL + lambda_dcor dCor^2(x, z) + lambda_pearson Pearson(z) +
lambda_l1 mean|z|.
Differs from the authors: x in dCor is seen before normalization (an affine map per channel, no selection on test data).
Both published forms of the tail are here: their code's (16,354 edge parameters at width 128, 12 channels) and the
paper's wording (14,890; the paper prints 14,911). Expected: some points of accuracy lost, decoders near the mean image.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from splitprobe.defenses.base import Batch, Defense
from splitprobe.losses import distance_correlation, kl_divergence, pearson, smoothed_labels
from splitprobe.models.layers import Block, Cbam, ChannelExpand, SqueezeExcite, TripletAttention, narrow
from splitprobe.models.split import Layout
from splitprobe.params import Params, ParamsError, bounded


@dataclass(frozen=True)
class Architecture:
    """The section ``defense.siftfunnel``."""

    channels: int = bounded(2, 1024)
    entry_kernel: int = bounded(choices=(1, 3))
    bias: bool
    tail: str = bounded(choices=("code", "text"))
    attention_after: tuple[int, ...] = bounded(1, 100)
    se_reduction: tuple[int, ...] = bounded(1, 1024)
    out_se_reduction: int = bounded(1, 1024)
    out_cbam_reduction: int = bounded(1, 1024)
    funnel: bool
    attention: bool


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
    """Architecture and loss together."""

    architecture: Architecture
    loss: Loss


def funnel_tail(in_channels: int, channels: int, tail: str) -> nn.Sequential:
    """The small convolutions that narrow the feature: kernels 1-3-SiLU-1-3-5 ("code") or 1-3-SiLU-5 ("text")."""
    between = [nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 3, padding=1)] if tail == "code" else []
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.SiLU(),
        *between,
        nn.Conv2d(channels, channels, 5, padding=2),
        nn.ReLU(),
    )


def entry(in_channels: int, channels: int, kernel: int, bias: bool) -> nn.Sequential:
    """The funnel's first layer: convolution, BatchNorm, ReLU."""
    convolution = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


class SiftFunnel(Defense):
    """The funnel architecture with its attention blocks (each removable) and the penalties of equation (15)."""

    title = "SiftFunnel"
    Settings = Settings

    @classmethod
    def from_params(cls, name: str, params: Params) -> SiftFunnel:
        """Read ``defense.siftfunnel`` and ``loss``."""
        return cls(Settings(params.section(f"defense.{name}", Architecture), params.section("loss", Loss)))

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """Replace the last edge block by funnel and attention, with attention behind kept ones; widen in the cloud."""
        if len(edge) < 3:
            raise ParamsError("cut = 1: SiftFunnel replaces the last of at least two edge blocks; use cut 2 or more")
        how, last = self.settings.architecture, edge[-1]
        inside, channels = last.in_channels, how.channels if how.funnel else last.out_channels
        first, *kept = self._attended(edge[:-1]) if how.attention else edge[:-1]
        layers: list[nn.Module] = [last]
        if how.funnel:
            if not how.bias:  # as in the authors' VGG16, whose BatchNorm behind each convolution makes up for it
                for convolution in (m for m in edge[:-1].modules() if isinstance(m, nn.Conv2d)):
                    convolution.bias = None
            narrowed = narrow(inside, channels)
            layers = [*entry(inside, narrowed, how.entry_kernel, how.bias)]
            layers += [nn.MaxPool2d(last.stride)] if last.stride > 1 else []
            layers += [funnel_tail(narrowed, channels, how.tail)]
            cloud = nn.Sequential(ChannelExpand(channels, last.out_channels), *cloud)
        if how.attention:
            layers += [SqueezeExcite(channels, how.out_se_reduction), Cbam(channels, how.out_cbam_reduction)]
        return nn.Sequential(first, *kept, Block(inside, channels, last.stride, *layers)), cloud

    def _attended(self, blocks: nn.Sequential) -> list[nn.Module]:
        """The kept blocks (normalization first), with attention behind those that the settings name."""
        how, blocks = self.settings.architecture, list(blocks)
        if len(how.attention_after) != len(how.se_reduction):
            raise ParamsError(
                f"defense.siftfunnel.se_reduction = {list(how.se_reduction)}: one for each block of attention_after = "
                f"{list(how.attention_after)} is needed"
            )
        for index, reduction in zip(how.attention_after, how.se_reduction, strict=True):
            if index >= len(blocks):
                raise ParamsError(
                    f"defense.siftfunnel.attention_after = {list(how.attention_after)}: only blocks 1 to "
                    f"{len(blocks) - 1} are kept at this cut"
                )
            old = blocks[index]
            attention = (SqueezeExcite(old.out_channels, reduction), TripletAttention())
            blocks[index] = Block(old.in_channels, old.out_channels, old.stride, old, *attention)
        return blocks

    def task_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """alpha KL to the smoothed labels."""
        targets = smoothed_labels(y, logits.shape[1], self.settings.loss.label_smoothing)
        return self.settings.loss.alpha_kl * kl_divergence(logits, targets)

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The three penalties on z."""
        weights = self.settings.loss
        return {
            "dcor": weights.lambda_dcor * distance_correlation(batch.x, batch.z),
            "pearson": weights.lambda_pearson * pearson(batch.z),
            "l1": weights.lambda_l1 * batch.z.float().abs().mean(),
        }

    def gray_box_decoder(self, layout: Layout) -> nn.Module | None:
        """The authors' decoder, which mirrors the funnel."""
        return layout.funnel_decoder()
