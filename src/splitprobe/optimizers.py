"""Torch's optimizers without torch's compiler.

An optimizer of torch imports the compiler before its first step, which takes each process two seconds here, and nothing
in this project is compiled. These run the same steps: their methods are torch's own, under the wrappers that import it.
"""

from __future__ import annotations

from typing import TypeVar

import torch

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def _uncompiled(optimizer: type[Kind]) -> type[Kind]:
    """The same optimizer, with the methods that the wrappers stand around; torch's own where a version has none."""
    names = ("add_param_group", "zero_grad", "step")
    methods = {name: getattr(getattr(optimizer, name), "__wrapped__", None) for name in names}
    if None in methods.values():
        return optimizer
    methods["step"] = torch.no_grad()(methods["step"])  # the other thing that its wrapper does
    return type(optimizer.__name__, (optimizer,), methods)


Adam = _uncompiled(torch.optim.Adam)
AdamW = _uncompiled(torch.optim.AdamW)
SGD = _uncompiled(torch.optim.SGD)
