"""A network that a defense trains beside its own, such as a decoder that stands for the attacker."""

from __future__ import annotations

from torch import Tensor, nn

from splitprobe.core.runtime import Runtime


class Companion(nn.Module):
    """Computes in the precision of the training, as the split network does; what it returns is float32.

    A defense's inner steps and penalties lie outside of the training's own autocast, as losses must: without this the
    network would be float32 there, several times slower on a GPU.
    """

    def __init__(self, net: nn.Module, runtime: Runtime) -> None:
        super().__init__()
        self.net, self.runtime = runtime.place(net), runtime

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The network's output for x (B, ...): a tensor, or several."""
        with self.runtime.autocast():
            out = self.net(x)
        return tuple(one.float() for one in out) if isinstance(out, tuple) else out.float()
