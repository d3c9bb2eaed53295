"""Torch's optimizers without torch's compiler.

An optimizer of torch imports the compiler before its first step. That takes each process two seconds, and nothing in
this project is compiled. These classes run the same steps: their methods are torch's own, taken from under the wrappers
that import the compiler.
"""

from __future__ import annotations

from typing import TypeVar

import torch

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def _uncompiled(optimizer: type[Kind]) -> type[Kind]:
    """An optimizer class with its methods unwrapped; torch's own class where a method has no wrapper."""
    names = ("add_param_group", "zero_grad", "step")
    methods = {name: getattr(getattr(optimizer, name), "__wrapped__", None) for name in names}
    if None in methods.values():
        return optimizer
    methods["step"] = torch.no_grad()(methods["step"])  # the removed wrapper of `step` does this too
    return type(optimizer.__name__, (optimizer,), methods)


Adam = _uncompiled(torch.optim.Adam)
AdamW = _uncompiled(torch.optim.AdamW)
SGD = _uncompiled(torch.optim.SGD)
