"""Optimizers without torch's compiler: the same steps as torch's own, and no import of it."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from splitprobe.learning import optimizers

CASES = {
    "Adam": {"lr": 0.1, "betas": (0.5, 0.999), "amsgrad": True, "weight_decay": 0.01},
    "AdamW": {"lr": 0.1},
    "SGD": {"lr": 0.01, "momentum": 0.9},
}


def descend(kind, settings):
    """Weights after five steps on a curve of the third degree, under a falling rate."""
    weights = torch.tensor([1.0, -0.5, 2.0], requires_grad=True)
    optimizer = kind([weights], **settings)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    for _ in range(5):
        optimizer.zero_grad()
        (weights**3 + weights**2).sum().backward()
        optimizer.step()
        scheduler.step()
    return weights.detach()


def test_on_a_gpu_adam_s_step_is_one_kernel_that_a_graph_may_hold():
    on_gpu, on_cpu = SimpleNamespace(is_cuda=True), torch.ones(1)
    whole = {"fused": True, "capturable": True}
    for kind in (torch.optim.Adam, torch.optim.AdamW):
        assert optimizers.suited(kind, [on_gpu]) == optimizers.suited(kind, [{"params": [on_gpu]}]) == whole
        assert optimizers.suited(kind, [on_cpu]) == optimizers.suited(kind, [{"params": [on_gpu, on_cpu]}]) == {}
    assert optimizers.suited(torch.optim.SGD, [on_gpu]) == {}


def test_what_suits_the_device_reaches_torch(monkeypatch):
    monkeypatch.setattr(optimizers, "suited", lambda *_: {"maximize": True})
    for kind in (optimizers.Adam, optimizers.AdamW, optimizers.SGD):
        (group,) = kind(iter([torch.ones(1, requires_grad=True)]), 0.25).param_groups
        assert (group["maximize"], group["lr"]) == (True, 0.25)


@pytest.mark.parametrize("name", CASES)
def test_steps_are_those_of_torch(name):
    ours, theirs = (descend(getattr(place, name), CASES[name]) for place in (optimizers, torch.optim))
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, torch.tensor([1.0, -0.5, 2.0]))


@pytest.mark.slow
def test_the_compiler_is_not_imported():
    code = """
import sys, torch
from splitprobe.learning import optimizers
for kind in (optimizers.Adam, optimizers.AdamW, optimizers.SGD):
    weights = torch.ones(2, requires_grad=True)
    optimizer = kind([weights], lr=0.1)
    optimizer.zero_grad()
    weights.sum().backward()
    optimizer.step()
print("torch._dynamo" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
