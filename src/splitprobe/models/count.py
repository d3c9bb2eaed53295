"""The cost of a network: parameters by two rules, multiply-accumulates, and what its layers are."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


def parameters(module: nn.Module) -> int:
    """The number of parameters; one that several layers share counts once."""
    return sum(p.numel() for p in module.parameters())


def parameters_per_call(module: nn.Module, x: Tensor) -> int:
    """Parameters by the paper's rule (torchsummary's): a layer counts once each time that it is called."""
    # a copy in evaluation mode: hooks and BatchNorm statistics of the original stay as they are
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
    """Multiply-accumulates of one forward pass of x (1, C, H, W), by torch's own formulas, on a copy."""
    module = copy.deepcopy(module).eval()
    with Flops() as counter, torch.no_grad():
        module(x)
    return counter.total // 2  # torch counts 2 FLOPs for each


class Flops(TorchDispatchMode):
    """Sums torch's FLOP formulas over the operators called.

    As torch.utils.flop_counter.FlopCounterMode does, but without a hook on each module, for which that imports
    torch._dynamo: a second in every training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import torch._dynamo to keep it out of here

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        from torch.utils.flop_counter import flop_registry  # here: it takes half a second, and few stages count

        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def describe(half: nn.Sequential, x: Tensor) -> list[dict[str, Any]]:
    """A row for each element of an edge or a cloud, for diagrams: layers in words, output shape, parameters.

    ``x`` is one input (1, ...); shapes are without the batch.
    """
    rows = []
    for block in half:
        x = block(x)
        leaves = [_describe_layer(m) for m in block.modules() if not list(m.children())]
        rows.append({"layers": leaves, "shape": list(x.shape[1:]), "parameters": parameters(block)})
    return rows


def _describe_layer(layer: nn.Module) -> str:
    """A layer in words: ``Conv2d 3→64, 3×3``, ``Linear 256→10``, ``BatchNorm``."""
    name = type(layer).__name__
    if isinstance(layer, nn.Conv2d):
        kernel = "×".join(map(str, layer.kernel_size))
        stride = f", stride {layer.stride[0]}" if layer.stride[0] > 1 else ""
        return f"{name} {layer.in_channels}→{layer.out_channels}, {kernel}{stride}"
    if isinstance(layer, nn.Linear):
        return f"{name} {layer.in_features}→{layer.out_features}"
    return name.removesuffix("2d") if isinstance(layer, nn.BatchNorm2d | nn.MaxPool2d | nn.AvgPool2d) else name
