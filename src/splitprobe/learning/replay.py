"""Training steps as CUDA graphs: a step's kernels are recorded once and from then on launched together.

On a GPU a small network waits for Python, which launches some hundred kernels a step. A recorded step runs no Python:
it works on the same memory each time, and what it changes must be tensors on the device (weights, the optimizer's
state, random generators). Rules and reasons are those of torch.cuda.graphs. On the CPU nothing is recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from splitprobe.core.runtime import Runtime

log = logging.getLogger("splitprobe")
WARM_UP = 3  # steps before one is recorded: optimizers create their state in them, libraries choose kernels


class Replay:
    """Calls ``step``; on a GPU, where the runtime asks for graphs, the recorded one after the first calls.

    Each call is one step, recorded or not. ``step`` takes tensors. What it returns is overwritten by the next call.
    ``optimizer`` is the one whose learning rates may change between calls, ``generators`` are those that it draws
    from beside torch's own. ``static`` False says that steps differ in shapes or in what Python does: none is recorded.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        runtime: Runtime,
        optimizer: torch.optim.Optimizer,
        generators: Sequence[torch.Generator] = (),
        static: bool = True,
    ) -> None:
        self.step, self.runtime, self.optimizer, self.generators = step, runtime, optimizer, list(generators)
        self.records = static and runtime.graphs and runtime.device.type == "cuda"
        self.stream: Any = None  # one for all: gradients are added up on the stream of their first use
        self.renew()

    def renew(self) -> None:
        """Forget the recorded step: from now on ``step`` does something else."""
        self.calls, self.graph, self.inputs, self.outputs, self.rates = 0, None, (), None, []

    def __call__(self, *inputs: Tensor) -> Any:
        """One step on these inputs; returns what ``step`` returns."""
        if not self.records:
            return self.step(*inputs)
        if self.calls < WARM_UP:
            self.calls += 1
            return self._aside(inputs)
        if self.graph is None and not self._record(inputs):
            return self.step(*inputs)
        if [value.shape for value in inputs] != [value.shape for value in self.inputs]:
            return self._aside(inputs)
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        for rate, group in self.rates:
            rate.fill_(group["lr"])
        self.graph.replay()
        return self.outputs

    def _record(self, inputs: tuple[Tensor, ...]) -> bool:
        """Record a step without making it; False, and a line in the log, where that cannot be done."""
        self.inputs = tuple(value.clone() for value in inputs)
        # a recorded rate must be a tensor, which only optimizers made for graphs take; schedules go on with numbers
        groups = [group for group in self.optimizer.param_groups if group.get("capturable")]
        rates = [group["lr"] for group in groups]
        self.rates = [(torch.full((), lr, device=self.runtime.device), g) for g, lr in zip(groups, rates, strict=True)]
        self.optimizer.zero_grad(set_to_none=True)  # gradients get memory of the graph's own
        kept = [(own, own.clone_state()) for own in (*self.generators, *self._default_generators())]
        try:
            for rate, group in self.rates:
                group["lr"] = rate
            self.graph, self.outputs = self._capture()
        except Exception as error:  # whatever it is, the step can still be made without a graph
            for own, state in kept:
                own.graphsafe_set_state(state)  # the old one waits for the end of the recording
            self.renew()
            self.records = False
            log.warning("a step cannot be recorded as a CUDA graph and runs without: %s", str(error).split("\n")[0])
        finally:
            for group, lr in zip(groups, rates, strict=True):
                group["lr"] = lr
        return self.records

    def _default_generators(self) -> list[torch.Generator]:
        """Torch's own generator of the device."""
        return [torch.cuda.default_generators[torch.cuda.current_device()]]

    def _capture(self) -> tuple[Any, Any]:
        """The graph of a step on ``inputs``, and the tensors that it returns."""
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self.stream):
            outputs = self.step(*self.inputs)
        return graph, outputs

    def _aside(self, inputs: tuple[Tensor, ...]) -> Any:
        """A step that is not recorded, on the stream on which one will be or was."""
        self.stream = self.stream or torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            outputs = self.step(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return outputs
