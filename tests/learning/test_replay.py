"""Recorded training steps, with a stand-in for the GPU's recording: on a CPU nothing is ever recorded."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from splitprobe.learning.replay import WARM_UP, Replay


class Recorded(Replay):
    """A replay that makes the recorded step anew, on the memory and with the rates that it was recorded with."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.records, self.asides = True, 0

    def _default_generators(self):
        return []

    def _capture(self):
        groups = [(group, group["lr"]) for _, group in self.rates]  # tensors, as they are while it is recorded
        outputs = torch.full((), float("nan"))

        def run():
            given = [group["lr"] for group, _ in groups]
            for group, rate in groups:
                group["lr"] = rate
            outputs.copy_(self.step(*self.inputs))
            for (group, _), rate in zip(groups, given, strict=True):
                group["lr"] = rate

        return SimpleNamespace(replay=run), outputs

    def _aside(self, inputs):
        self.asides += 1
        return self.step(*inputs)


class Descent:
    """Gradient descent, in the form of an optimizer made for graphs."""

    def __init__(self, weight, lr):
        self.weight = weight
        self.param_groups = [{"params": [weight], "lr": lr, "capturable": True}]

    def zero_grad(self, set_to_none):
        assert set_to_none
        self.weight.grad = None

    def step(self):
        with torch.no_grad():
            self.weight -= self.param_groups[0]["lr"] * self.weight.grad


def trained(kind, cpu, inputs, rates):
    """Losses and end of a training, and what ran its steps."""
    weight = torch.tensor(1.0, requires_grad=True)
    optimizer, seen = Descent(weight, rates[0]), []

    def step(x):
        seen.append(x.data_ptr())
        loss = (x * weight).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    run, losses = kind(step, replace(cpu, graphs=True), optimizer), []
    for x, rate in zip(inputs, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        losses.append(run(x).item())
        assert optimizer.param_groups[0]["lr"] == rate
    return losses, weight.item(), seen, run


@pytest.fixture
def inputs():
    source = torch.Generator().manual_seed(0)
    return [torch.rand(4, generator=source) for _ in range(WARM_UP + 4)]


def test_on_a_cpu_each_step_is_the_function_itself(cpu, inputs):
    *_, seen, run = trained(Replay, cpu, inputs, [0.1] * len(inputs))
    assert not run.records
    assert seen == [x.data_ptr() for x in inputs]


def test_recorded_steps_see_each_input_and_rate(cpu, inputs):
    rates = [0.1 / (i + 1) for i in range(len(inputs))]
    plain, recorded = (trained(kind, cpu, inputs, rates) for kind in (Replay, Recorded))
    assert recorded[0] == pytest.approx(plain[0], rel=1e-6)
    assert recorded[1] == pytest.approx(plain[1], rel=1e-6)
    own = recorded[2][WARM_UP:]
    assert len(set(own)) == 1 and own[0] not in plain[2], "recorded steps read memory of their own"
    assert recorded[3].asides == WARM_UP


def test_inputs_of_another_shape_are_not_replayed(cpu, inputs):
    other = [*inputs, torch.rand(3), inputs[0]]
    rates = [0.1] * len(other)
    plain, recorded = (trained(kind, cpu, other, rates) for kind in (Replay, Recorded))
    assert recorded[0] == pytest.approx(plain[0], rel=1e-6)
    assert recorded[3].asides == WARM_UP + 1


def test_a_step_that_changed_is_recorded_anew(cpu, inputs):
    factor = [1.0]
    run = Recorded(lambda x: (x * factor[0]).sum(), cpu, Descent(torch.tensor(1.0), 0.1))
    for x in inputs:
        run(x)
    factor[0] = 2.0
    run.renew()
    assert run.graph is None
    found = [run(x).item() for x in inputs]
    assert found == pytest.approx([2 * x.sum().item() for x in inputs])
    assert run.asides == 2 * WARM_UP


def test_a_step_that_cannot_be_recorded_runs_without(cpu, inputs, monkeypatch, caplog):
    generator = SimpleNamespace(clone_state=lambda: "before", restored=[])
    generator.graphsafe_set_state = generator.restored.append

    def refuse(self):
        assert isinstance(self.rates[0][1]["lr"], torch.Tensor)
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors")

    monkeypatch.setattr(Recorded, "_capture", refuse)

    def make(*arguments):
        return Recorded(*arguments, generators=[generator])

    rates = [0.1] * len(inputs)
    plain, failed = (trained(kind, cpu, inputs, rates) for kind in (Replay, make))
    assert failed[:2] == plain[:2]
    assert generator.restored == ["before"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "a step cannot be recorded as a CUDA graph and runs without: operation not permitted when stream is capturing"
    )


@pytest.mark.parametrize(
    ("graphs", "kind", "static", "records"),
    [
        (True, "cuda", True, True),
        (False, "cuda", True, False),
        (True, "cpu", True, False),
        (True, "cuda", False, False),
    ],
)
def test_what_is_recorded(graphs, kind, static, records):
    place = SimpleNamespace(graphs=graphs, device=SimpleNamespace(type=kind))
    assert Replay(lambda: None, place, None, static=static).records is records


def test_nothing_of_a_recorded_step_is_kept_after_renew(cpu, inputs):
    *_, run = trained(Recorded, cpu, inputs, [0.1] * len(inputs))
    assert run.graph is not None
    run.renew()
    assert (run.graph, run.inputs, run.outputs, run.rates) == (None, (), None, [])
