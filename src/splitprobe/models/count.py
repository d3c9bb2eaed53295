"""Counting what a network costs: parameters by two rules, multiply-accumulates, bytes of a feature."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: nn.Module) -> int:
    """Unique trainable parameters."""
    return sum(p.numel() for p in module.parameters())


def parameters_per_call(module: nn.Module, x: Tensor) -> int:
    """Parameters by the paper's rule (torchsummary's): a layer counts once for each time that it is called."""
    total, module = 0, copy.deepcopy(module).eval()

    def count(layer: nn.Module, *_: object) -> None:
        nonlocal total
        total += sum(p.numel() for p in layer.parameters(recurse=False))

    for layer in module.modules():
        layer.register_forward_hook(count)
    with torch.no_grad():
        module(x)
    return total


def macs(module: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates of one forward pass of x (1, C, H, W), by torch's own counter (2 FLOPs each), on a copy."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(module).eval()(x)
    return counter.get_total_flops() // 2
