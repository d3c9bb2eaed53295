"""Torch's optimizers without torch's compiler.

An optimizer of torch imports the compiler before its first step. That takes each process two seconds, and nothing in
this project is compiled. These classes run the same steps: their methods are torch's own, taken from under the wrappers
that import the compiler. On a GPU, Adam's step is one kernel (fused) that a CUDA graph may hold (capturable).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def _uncompiled(optimizer: type[Kind]) -> type[Kind]:
    """An optimizer class with its methods unwrapped; torch's own class where a method has no wrapper."""
    names = ("add_param_group", "zero_grad", "step")
    methods = {name: getattr(getattr(optimizer, name), "__wrapped__", None) for name in names}
    if None in methods.values():
        return optimizer
    methods["step"] = torch.no_grad()(methods["step"])  # the removed wrapper of `step` does this too

    def begin(self: Kind, parameters: Iterable, *arguments: Any, **settings: Any) -> None:
        parameters = list(parameters)
        optimizer.__init__(self, parameters, *arguments, **suited(optimizer, parameters), **settings)

    return type(optimizer.__name__, (optimizer,), {**methods, "__init__": begin})


def suited(optimizer: type, parameters: list) -> dict[str, bool]:
    """The settings that let an optimizer run on the device of its parameters (or groups of them) alone."""
    groups = [group["params"] if isinstance(group, dict) else [group] for group in parameters]
    on_gpu = all(parameter.is_cuda for group in groups for parameter in group)
    return {"fused": True, "capturable": True} if on_gpu and issubclass(optimizer, torch.optim.Adam) else {}


Adam = _uncompiled(torch.optim.Adam)
AdamW = _uncompiled(torch.optim.AdamW)
SGD = _uncompiled(torch.optim.SGD)
