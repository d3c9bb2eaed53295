"""ResNet-18 and VGG16: sizes at the paper's width, every cut, the defenses' edges and all decoders."""

import pytest
import torch
from torch import nn

from splitprobe.core.params import ParamsError
from splitprobe.defenses.ae import AutoEncoder
from splitprobe.defenses.ae import Settings as AeSettings
from splitprobe.defenses.siftfunnel import Architecture, Loss, SiftFunnel
from splitprobe.defenses.siftfunnel import Settings as SiftSettings
from splitprobe.models import count, resnet18, split, vgg16
from splitprobe.models.split import Color, Gray, Layout, Normalization, Shape

NORMALIZATION = Normalization(Color((0.5, 0.4, 0.3), (0.2, 0.2, 0.2)), Gray((0.5,), (0.5,)))
SETTINGS = {"resnet18": resnet18.Settings(), "vgg16": vgg16.Settings(64, (0.3, 0.2))}
SIDES = {"resnet18": (32,) * 3 + (16, 16, 8, 8, 4, 4), "vgg16": (32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2, 1)}


def network(model: str, channels: int = 3, side: int = 32, width: int = 4) -> nn.Sequential:
    return split.build(model, SETTINGS[model], NORMALIZATION, Shape(channels, side, 10, width))


def halves(model: str, cut: int, side: int = 64, width: int = 64, channels: int = 3):
    return split.split(network(model, channels, side, width), cut)


@pytest.mark.parametrize(
    ("model", "cut"), [(model, i + 1) for model, sides in SIDES.items() for i in range(len(sides))]
)
def test_every_block_is_a_cut(model, cut):
    net = network(model).eval()
    edge, cloud = split.split(net, cut)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    z = edge(x)
    assert torch.equal(cloud(z), net(x))
    assert z.shape == (2, edge[-1].out_channels, SIDES[model][cut - 1], SIDES[model][cut - 1])
    x_hat = Layout(model, z.shape[1], cut, 4, 3).mirror(z.shape[1])(z)
    assert x_hat.shape == x.shape


def test_the_stride_is_that_of_the_map():
    for model, sides in SIDES.items():
        strides = [block.stride for block in network(model)[1:-1]]
        expected = [before // after for before, after in zip((32, *sides), sides, strict=False)]
        assert strides == expected


@pytest.mark.parametrize(
    ("model", "cut", "channels", "expected"),
    [
        ("resnet18", 3, 3, 149_824), ("resnet18", 5, 3, 675_392),
        ("vgg16", 2, 3, 38_976), ("vgg16", 3, 3, 113_088), ("vgg16", 5, 3, 556_608),
    ],
)  # fmt: skip
def test_the_papers_edge_sizes(model, cut, channels, expected):
    with torch.device("meta"):  # without the millions of weights of its classifier
        edge, _ = halves(model, cut, channels=channels)
    assert count.parameters(edge) == expected


def siftfunnel(channels: int, kernel: int, after: tuple[int, ...], reductions: tuple[int, ...], out: tuple[int, int]):
    architecture = Architecture(channels, kernel, kernel == 1, "code", after, reductions, *out, True, True)
    return SiftFunnel(SiftSettings(architecture, Loss(3.5, 0.35, 0.8, 0.6, 0.03)))


FUNNELS = [  # the paper's: settings, unique parameters, torchsummary's count, the first cloud layer's, the decoder's
    ("resnet18", 3, (2, 1, (1, 2), (16, 16), (2, 2)), 78_860, 78_864, 38_444, 92_291),
    ("vgg16", 3, (8, 3, (2,), (16,), (4, 4)), 52_054, 52_086, 157_228, None),
    ("vgg16", 5, (4, 3, (2, 4), (16, 32), (4, 4)), 300_574, 300_582, 599_852, 385_043),
]


@pytest.mark.parametrize(("model", "cut", "settings", "unique", "per_call", "expand", "decoder"), FUNNELS)
def test_siftfunnels_sizes(model, cut, settings, unique, per_call, expand, decoder):
    defense = siftfunnel(*settings)
    edge, cloud = defense.modify(*halves(model, cut))
    x = torch.rand(1, 3, 64, 64)
    assert count.parameters(edge) == unique
    assert count.parameters_per_call(edge, x) == per_call
    assert count.parameters(cloud[0]) == expand
    z = edge.eval()(x)
    assert cloud.eval()(z).shape == (1, 10)
    gray = defense.gray_box_decoder(Layout(model, z.shape[1], cut, 64, 3))
    assert gray.eval()(z).shape == x.shape
    if decoder:
        assert count.parameters(gray) == decoder


def test_the_grayscale_edge_of_the_paper():
    with torch.device("meta"):
        edge, _ = siftfunnel(4, 3, (2, 4), (16, 32), (4, 4)).modify(*halves("vgg16", 5, channels=1))
    assert count.parameters(edge) == 299_422


@pytest.mark.parametrize(
    ("model", "cut", "edge_size", "decoder_size"), [("resnet18", 3, 279_136, 279_107), ("vgg16", 3, None, None)]
)
def test_the_autoencoders_sizes(model, cut, edge_size, decoder_size):
    defense = AutoEncoder(AeSettings(0.001, 0.0, 5.0, 1e-3, 1))
    edge, cloud = defense.modify(*halves(model, cut))
    gray = defense.gray_box_decoder(Layout(model, edge[-1].out_channels, cut, 64, 3))
    x = torch.rand(1, 3, 64, 64)
    z = edge.eval()(x)
    assert cloud.eval()(z).shape == (1, 10)
    assert gray.eval()(z).shape == x.shape
    if edge_size:
        assert count.parameters(edge) == edge_size
        assert count.parameters(gray) == decoder_size


BLACK_BOX = [
    ("resnet18", 64, 3, 149_699), ("resnet18", 128, 5, 941_635), ("resnet18", 32, 3, 133_443),
    ("resnet18", 2, 3, 114_243), ("vgg16", 256, 5, 1_396_099),
]  # fmt: skip


@pytest.mark.parametrize(("model", "z_channels", "cut", "expected"), BLACK_BOX)
def test_black_box_decoders_of_the_paper(model, z_channels, cut, expected):
    assert count.parameters(Layout(model, z_channels, cut, 64, 3).mirror(z_channels)) == expected


def test_nothing_is_done_in_place():
    for model in SIDES:
        assert not any(getattr(module, "inplace", False) for module in network(model).modules())


@pytest.mark.parametrize(
    ("after", "reductions", "message"),
    [((3,), (16,), r"attention_after = \[3\]: only blocks 1 to 2 are kept"), ((1, 2), (16,), r"se_reduction = \[16\]")],
)
def test_attention_that_does_not_fit_the_cut_is_named(after, reductions, message):
    with pytest.raises(ParamsError, match=message):
        siftfunnel(2, 1, after, reductions, (2, 2)).modify(*halves("resnet18", 3, width=16))


@pytest.mark.parametrize("model", list(SIDES))
def test_a_side_the_network_cannot_halve_is_refused(model):
    with pytest.raises(ParamsError, match="side = 48"):
        network(model, side=48)
