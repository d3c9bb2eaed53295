import pytest
import torch

from splitprobe.core.params import ParamsError
from splitprobe.defenses.siftfunnel import Architecture, Loss, SiftFunnel
from splitprobe.defenses.siftfunnel import Settings as SiftSettings
from splitprobe.models import count, layers, split
from splitprobe.models.cnn import Settings
from splitprobe.models.split import Color, Gray, Layout, Normalization, Shape

NORMALIZATION = Normalization(Color((0.5, 0.4, 0.3), (0.2, 0.2, 0.2)), Gray((0.5,), (0.5,)))
PAPER = Shape(channels=3, side=64, classes=10, width=128)


def network(shape: Shape) -> torch.nn.Sequential:
    return split.build("cnn", Settings(5, 0.5), NORMALIZATION, shape)


def siftfunnel(tail: str = "code", funnel: bool = True, attention: bool = True) -> SiftFunnel:
    architecture = Architecture(12, 1, True, tail, (1,), (32,), 4, 6, funnel, attention)
    return SiftFunnel(SiftSettings(architecture, Loss(3.5, 0.35, 0.8, 0.6, 0.03)))


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_cloud_after_edge_is_the_network(cut):
    net = network(Shape(3, 32, 5, 8)).eval()
    edge, cloud = split.split(net, cut)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cloud(edge(x)), net(x))
    assert edge(x).shape == (2, 8 * 2 ** (cut - 1), 32 // 2**cut, 32 // 2**cut)


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_a_cut_outside_the_network_is_refused(cut):
    with pytest.raises(ParamsError, match=f"cut = {cut}: this network can be cut after block 1 to 4"):
        split.split(network(Shape(3, 32, 5, 8)), cut)


def test_a_side_the_network_cannot_halve_is_refused():
    with pytest.raises(ParamsError, match="side = 40"):
        network(Shape(3, 40, 5, 8))


@pytest.mark.parametrize(("channels", "expected"), [(3, 299_520), (1, 297_216)])
def test_the_papers_edge_size(channels, expected):
    edge, _ = split.split(network(Shape(channels, 64, 10, 128)), 2)
    assert count.parameters(edge) == count.parameters_per_call(edge, torch.rand(1, channels, 64, 64)) == expected


@pytest.mark.parametrize(("tail", "unique", "per_call"), [("code", 16_354, 16_402), ("text", 14_890, 14_938)])
def test_siftfunnels_size_by_both_rules(tail, unique, per_call):
    edge, cloud = siftfunnel(tail).modify(*split.split(network(PAPER), 2))
    assert count.parameters(edge) == unique
    assert count.parameters_per_call(edge, torch.rand(1, 3, 64, 64)) == per_call
    assert count.parameters(cloud[0]) == 618_284
    assert edge(torch.rand(2, 3, 64, 64)).shape == (2, 12, 16, 16)


def test_parts_of_siftfunnel_can_be_removed():
    plain = split.split(network(PAPER), 2)
    without_attention = siftfunnel(attention=False).modify(*plain)[0]
    assert count.parameters(without_attention) == 16_354 - (1024 + 300) - (72 + 48 + 98)
    edge, cloud = siftfunnel(funnel=False).modify(*plain)
    assert count.parameters(edge) == 299_520 + (1024 + 300) + (2 * 256 * 64 + 2 * 256 * 42 + 98)
    assert cloud(edge(torch.rand(2, 3, 64, 64))).shape == (2, 10)
    assert siftfunnel(funnel=False, attention=False).modify(*plain)[1] is plain[1]


def test_siftfunnel_needs_two_blocks():
    with pytest.raises(ParamsError, match="cut = 1"):
        siftfunnel().modify(*split.split(network(PAPER), 1))


@pytest.mark.parametrize(("cut", "expected"), [(1, 6_147), (2, 530_819), (3, 2_628_739), (4, 11_018_883)])
def test_black_box_decoders_of_the_paper(cut, expected):
    z_channels = 128 * 2 ** (cut - 1)
    decoder = Layout("cnn", z_channels, cut, 128, 3).mirror(z_channels)
    assert count.parameters(decoder) == expected
    x_hat = decoder(torch.randn(2, z_channels, 64 // 2**cut, 64 // 2**cut))
    assert x_hat.shape == (2, 3, 64, 64)
    assert 0 <= x_hat.min() <= x_hat.max() <= 1


def test_siftfunnels_decoders_of_the_paper():
    assert count.parameters(Layout("cnn", 12, 2, 128, 3).mirror(12)) == 31_107
    gray = siftfunnel().gray_box_decoder(Layout("cnn", 12, 2, 128, 3))
    assert count.parameters(gray) == 80_555
    assert gray(torch.randn(2, 12, 16, 16)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("layout", "wide", "side", "expected"),
    [
        (Layout("cnn", 12, 2, 128, 3), 256, 16, 697_499),
        (Layout("resnet18", 2, 3, 64, 3), 64, 64, 93_449),
        # their decoder of z and a layer before it: 256 x 4 x 9 weights, 4 biases, BatchNorm's 8
        (Layout("vgg16", 4, 5, 64, 3), 256, 16, 385_043 + 9_228),
    ],
)
def test_siftfunnels_decoders_of_the_widened_feature(layout, wide, side, expected):
    decoder = layout.cloud_decoder(wide)
    assert count.parameters(decoder) == expected
    assert decoder(torch.randn(2, wide, side, side)).shape == (2, 3, 64, 64)


def test_normalization_by_hand():
    x = torch.full((1, 3, 2, 2), 0.5)
    assert NORMALIZATION.layer(3)(x)[0, :, 0, 0].tolist() == pytest.approx([0, 0.5, 1])
    assert NORMALIZATION.layer(1)(x[:, :1]).abs().max() == 0


def test_attention_gates_shrink_and_keep_the_shape():
    x = torch.rand(2, 8, 4, 6)
    for block in (layers.SqueezeExcite(8, 4), layers.TripletAttention(), layers.Cbam(8, 4)):
        y = block.eval()(x)
        assert y.shape == x.shape
        assert (y <= x).all()
        assert (y > 0).any()


def test_triplet_attention_averages_over_the_right_axes():
    block = layers.TripletAttention().eval()
    for gate in block.gates:
        torch.nn.init.zeros_(gate.conv.weight)
    assert torch.allclose(block(torch.ones(1, 2, 3, 4)), torch.full((1, 2, 3, 4), 0.5))  # sigmoid(0), three times
    # a gate over channels looks only at [max, mean] of the channels: mixing them up changes nothing
    torch.nn.init.ones_(block.gates[0].conv.weight)
    x = torch.rand(1, 5, 4, 4)
    gate = block.gates[0](x)
    assert gate.shape == (1, 1, 4, 4)
    assert torch.allclose(gate, block.gates[0](x.flip(1)))
    # the definition, gate by gate: each weighs the feature, the mean of the three is what comes out
    torch.nn.init.normal_(block.gates[1].conv.weight)
    torch.nn.init.normal_(block.gates[2].conv.weight)
    assert torch.allclose(block(x), torch.stack([x * gate(x) for gate in block.gates]).mean(0), atol=1e-6)


def test_macs_of_one_convolution():
    layer = torch.nn.Conv2d(3, 5, 3, padding=1)
    assert count.macs(layer, torch.rand(1, 3, 8, 8)) == 3 * 5 * 9 * 64
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    assert all(torch.equal(before[k], v) for k, v in layer.state_dict().items())
    assert set(dict(layer.named_buffers())) == set()


def test_a_network_is_described_block_by_block():
    edge, _ = split.split(network(Shape(3, 32, 5, 8)), 2)
    rows = count.describe(edge.eval(), torch.rand(1, 3, 32, 32))
    assert [row["shape"] for row in rows] == [[3, 32, 32], [8, 16, 16], [16, 8, 8]]
    assert rows[1]["layers"] == ["Conv2d 3→8, 3×3", "BatchNorm", "MaxPool", "ReLU"]
    assert [row["parameters"] for row in rows] == [0, 3 * 8 * 9 + 8 + 16, 8 * 16 * 9 + 16 + 32]


def test_counting_leaves_the_network_alone():
    net = network(Shape(3, 32, 5, 8)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    count.macs(net, torch.rand(1, 3, 32, 32))
    count.parameters_per_call(net, torch.rand(1, 3, 32, 32))
    assert net.training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_cells_know_whether_they_reuse_weights(make_cell):
    assert not make_cell().reuses_weights
    assert make_cell(start="targets/cnn/b").reuses_weights
