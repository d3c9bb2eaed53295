"""A network that a defense trains beside its own, to know what z says about x, and whether the edge outran it.

The edge moves at each step, and the estimator has to follow. Where it falls behind, the defense rewards an edge that
keeps it behind, not one that says less about x, and its training curve proves nothing. So it is compared afterwards
with a fresh one of the same form and budget, fitted to the edge as it then is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from splitprobe.learning import optimizers

# a scalar for the network, x (B, ...) and z (B, ...)
Measure = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Estimator:
    """A network with its own Adam, which makes ``pace`` steps for each step of the edge.

    ``loss`` is what it is fitted by; ``error``, which must not be negative, is what two of them are compared by.
    Outside of these its weights take no gradient, so that the edge's loss cannot change them.
    """

    def __init__(self, net: nn.Module, lr: float, pace: int, loss: Measure, error: Measure) -> None:
        self.net, self.lr, self.pace, self.loss, self.error = net.requires_grad_(False), lr, pace, loss, error
        self.optimizer = optimizers.Adam(net.parameters(), lr)

    @property
    def steps(self) -> int:
        """The steps made so far, as Adam counts them: Python does not see those of a replayed CUDA graph."""
        states = list(self.optimizer.state.values())
        return int(states[0]["step"]) if states else 0

    def follow(self, x: Tensor, z: Tensor) -> Tensor:
        """Make the steps between two of the edge on one batch of images (B, C, H, W) and features (B, c, h, w).

        Returns the last one's loss.
        """
        return self._fit(x, z, self.pace)

    def _fit(self, x: Tensor, z: Tensor, steps: int) -> Tensor:
        x, z = x.detach(), z.detach()
        self.net.requires_grad_(True)
        for _ in range(steps):
            loss = self.loss(self.net, x, z)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        self.net.requires_grad_(False)
        return loss.detach()

    def fresh(self) -> Estimator:
        """The same estimator with weights drawn anew from torch's global generator."""
        net = copy.deepcopy(self.net)
        for module in net.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return Estimator(net, self.lr, self.pace, self.loss, self.error)

    def learn(self, epoch: Callable[[], Iterable[tuple[Tensor, Tensor]]], steps: float, again: int) -> None:
        """Fit to the batches of whole epochs, ``again`` steps on each, until at least ``steps`` have been made."""
        while self.steps < steps:
            for x, z in epoch():
                self._fit(x, z, again)

    @torch.no_grad()
    def mean_error(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """The error over all images of some batches."""
        sums = [(self.error(self.net, x, z) * len(x), len(x)) for x, z in batches]
        return (sum(total for total, _ in sums) / sum(count for _, count in sums)).item()


def comparison(own: tuple[Estimator, float], fresh: tuple[Estimator, float], limit: float) -> dict[str, Any]:
    """What the result states of an estimator and of a fresh one, each with its mean error.

    That is the ratio of these errors, and whether the edge outran the estimator: whether it is above ``limit``.
    """
    ratio = own[1] / max(fresh[1], 1e-12)
    record = {"ratio": ratio, "error": own[1], "fresh_error": fresh[1], "limit": limit}
    record |= {"steps": own[0].steps, "fresh_steps": fresh[0].steps}
    # written as "not <=", so that NaN counts as outrun
    outrun = not ratio <= limit
    if outrun:
        record["ratio_reason"] = (
            f"the edge outran the defense's own estimator: its error is {ratio:.2f} times that of a fresh one, fitted "
            f"afterwards in {fresh[0].steps} steps; more than {limit:g} counts as outrun"
        )
    return {**record, "outrun": outrun}
