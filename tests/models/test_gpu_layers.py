"""Layers in the forms that a GPU gets, against torch's own."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from splitprobe.models.gpu_layers import SingleNorm, SmallConv2d, on_gpu, single, small

GPU = SimpleNamespace(type="cuda")  # networks are changed for a GPU alone


def both(layer):
    """A layer in float64, and one of the same weights that a GPU would have."""
    plain = layer.double()
    other = nn.Sequential(copy.deepcopy(plain))
    on_gpu(other, GPU)
    return plain, other[0]


def passed(convolution, x, out_gradient):
    """Output, and gradients of input and parameters."""
    x = x.clone().requires_grad_()
    out = convolution(x)
    return out, *torch.autograd.grad((out.double() * out_gradient).sum(), (x, *convolution.parameters()))


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(2, 12, 5, padding=2),
        nn.Conv2d(2, 1, 7, padding=3, bias=False),
        nn.Conv2d(1, 2, 3),
        nn.Conv2d(12, 2, 3, padding=(1, 0)),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradients_are_those_of_torch(convolution, layout):
    draw = torch.Generator().manual_seed(1)
    plain, other = both(convolution)
    assert type(other) is SmallConv2d
    x = torch.randn(3, plain.in_channels, 8, 9, generator=draw, dtype=torch.float64).to(memory_format=layout)
    gradient = torch.randn(plain(x).shape, generator=draw, dtype=torch.float64)
    for ours, theirs in zip(passed(other, x, gradient), passed(plain, x, gradient), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # sums over images are float32


def test_in_bfloat16_gradients_are_near_the_exact_ones():
    draw = torch.Generator().manual_seed(2)
    plain, other = both(nn.Conv2d(2, 2, 5, padding=2))
    other = other.float()
    x = torch.randn(16, 2, 8, 8, generator=draw)
    gradient = torch.randn(16, 2, 8, 8, generator=draw, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        out, *found = passed(other, x, gradient)
    assert out.dtype == torch.bfloat16 and all(value.dtype == torch.float32 for value in found)
    for ours, exact in zip(found, passed(plain, x.double(), gradient)[1:], strict=True):
        assert (ours - exact).norm() < 0.01 * exact.norm()


def test_a_frozen_weight_gets_no_gradient_and_the_input_does():
    _, other = both(nn.Conv2d(2, 2, 3, padding=1))
    other.requires_grad_(False)
    x = torch.ones(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    other(x).sum().backward()
    assert x.grad.abs().sum() > 0 and other.weight.grad is None


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Conv2d(2, 512, 3), True),
        (nn.Conv2d(512, 3, 3), True),
        (nn.Conv2d(4, 4, 3), False),
        (nn.Conv2d(3, 64, 3), False),  # cuDNN's kernels for images are fast
        (nn.Conv2d(2, 8, 1), False),
        (nn.Conv2d(2, 8, 3, stride=2), False),
        (nn.Conv2d(2, 2, 3, groups=2), False),
        (nn.Conv2d(2, 8, 3, padding="same"), False),
        (nn.Conv2d(2, 8, 3, padding=1, padding_mode="reflect"), False),
        (nn.ConvTranspose2d(2, 8, 3), False),
        (nn.Linear(2, 8), False),
    ],
)
def test_which_convolutions_are_small(module, expected):
    assert small(module) is expected


@pytest.mark.parametrize("momentum", [0.01, None])
def test_a_norm_of_one_channel_is_torchs(momentum):
    draw = torch.Generator().manual_seed(3)
    plain, other = both(nn.BatchNorm2d(1, momentum=momentum))
    assert type(other) is SingleNorm
    with torch.no_grad():
        for layer in (plain, other):
            layer.weight.fill_(1.5)
            layer.bias.fill_(-0.25)
    for _ in range(3):  # a momentum of None makes the third batch count a third
        x = 2 + 3 * torch.randn(4, 1, 5, 6, generator=draw, dtype=torch.float64)
        gradient = torch.randn(x.shape, generator=draw, dtype=torch.float64)
        for ours, theirs in zip(passed(other, x, gradient), passed(plain, x, gradient), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # moments are float32
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    other.load_state_dict(plain.state_dict())
    assert torch.equal(plain.eval()(x), other.eval()(x))


def test_a_norm_of_one_channel_sends_what_it_was_given():
    _, other = both(nn.BatchNorm2d(1))
    assert other.float()(torch.randn(2, 1, 3, 3).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "module", [nn.BatchNorm2d(2), nn.BatchNorm2d(1, affine=False), nn.BatchNorm2d(1, track_running_stats=False)]
)
def test_other_norms_stay(module):
    assert not single(module)


def test_on_a_cpu_nothing_changes():
    net = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(1))
    on_gpu(net, torch.device("cpu"))
    assert [type(layer) for layer in net] == [nn.Conv2d, nn.BatchNorm2d]
