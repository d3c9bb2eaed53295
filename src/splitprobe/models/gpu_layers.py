"""Layers that torch runs slowly on a GPU, in forms that do the same faster: the gates of attention, above all.

- Convolutions with very few channels: cuDNN's repeatable kernel for the gradient of the weight leaves most of a GPU
  idle. Here this gradient is the product of the output's gradient with the patches of the input, summed over the images
  in float32, in the same order each time. The output and the gradient of the input are torch's own.
- BatchNorm of a single channel: torch's kernel gives each channel to one block of threads, so that all the others wait.
  Here the moments are sums over the whole tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW = 4  # channels, of input or output, below which a convolution counts as small
COLORS = 3  # input channels of an image, for which cuDNN has kernels of their own


class _Product(torch.autograd.Function):
    """A convolution (stride 1, one group, no bias) with the gradient of its weight as a matrix product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, padding=padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            for_x = torch.nn.grad.conv2d_input(x.shape, weight, gradient, padding=ctx.padding)
        if ctx.needs_input_grad[1]:
            # not by unfold(), which starts a kernel for each image
            (above, beside), (high, wide) = ctx.padding, weight.shape[2:]
            patches = F.pad(x, (beside, beside, above, above)).unfold(2, high, 1).unfold(3, wide, 1)
            patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(len(x), -1, weight[0].numel())  # (B, h w, c k k)
            products = gradient.flatten(2) @ patches  # (B, o, c k k)
            for_weight = products.sum(0, dtype=torch.float32).to(weight.dtype).view_as(weight)
        return for_x, for_weight, None


class SmallConv2d(nn.Conv2d):
    """A convolution of stride 1 with few channels; the same parameters and results as :class:`torch.nn.Conv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (B, c, h, w)."""
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):
            low = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(low), weight.to(low)
        out = _Product.apply(x, weight, self.padding)
        return out if self.bias is None else out + self.bias.to(out.dtype)[:, None, None]


class SingleNorm(nn.BatchNorm2d):
    """BatchNorm of one channel; the same parameters and results as :class:`torch.nn.BatchNorm2d`."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (B, 1, h, w)."""
        if not self.training:
            return super().forward(x)
        variance, mean = torch.var_mean(x.float(), correction=0)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            # without a momentum the running values are means over all batches
            share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            n = x.numel()
            for running, now in ((self.running_mean, mean), (self.running_var, variance * n / (n - 1))):
                running.add_((now - running) * share)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (x * scale + (self.bias - mean * scale)).to(x.dtype)


def small(module: nn.Module) -> bool:
    """Whether a module is a convolution for which :class:`SmallConv2d` can stand, and should."""
    return (
        type(module) is nn.Conv2d
        and min(module.in_channels, module.out_channels) < FEW
        and module.in_channels != COLORS
        and max(module.kernel_size) > 1
        and module.stride == module.dilation == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and isinstance(module.padding, tuple)
    )


def single(module: nn.Module) -> bool:
    """Whether a module is a BatchNorm for which :class:`SingleNorm` can stand."""
    whole = type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats
    return whole and module.num_features == 1


def on_gpu(net: nn.Module, device: torch.device) -> None:
    """Give the layers of a network that is trained on ``device`` the forms of this module, if that is a GPU.

    Parameters and results stay; only the order of sums is another one.
    """
    if device.type != "cuda":
        return
    for module in net.modules():
        # no new objects: optimizers and checkpoints keep what they have
        if small(module):
            module.__class__ = SmallConv2d
        elif single(module):
            module.__class__ = SingleNorm
