import math

import pytest
import torch
from torch.nn import functional as F

from splitprobe.information import critics
from splitprobe.information.critics import PaperCritic, SeparableCritic, common_grid, log_mean_exp, paper_cap


@pytest.mark.parametrize(("z_channels", "size", "expected"), [(256, 16, 172_916), (12, 16, 32_372), (2, 64, 26_612)])
def test_the_papers_critic_has_its_size(z_channels, size, expected):
    critic = PaperCritic((3, 64, 64), (z_channels, size, size))
    assert sum(p.numel() for p in critic.parameters()) == expected


@pytest.mark.parametrize("size", [(3, 5), (7, 8), (8, 8)])
def test_the_split_first_layer_is_the_convolution_of_the_padded_concatenation(size):
    critic = PaperCritic((3, 8, 8), (4, *size))
    x, z = torch.rand(2, 3, 8, 8), torch.rand(2, 4, *size)
    padded = F.pad(z, (0, 8 - size[1], 0, 8 - size[0]))
    weight = torch.cat((critic.on_x.weight, critic.on_z.weight), 1)
    whole = F.conv2d(torch.cat((x, padded), 1), weight, critic.on_x.bias, padding=1)
    assert torch.allclose(critic.on_x(x) + critic.on_padded_z(z, (8, 8)), whole, atol=1e-6)


def test_a_feature_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="no larger than the image"):
        PaperCritic((3, 8, 8), (4, 16, 16))


@pytest.mark.parametrize(("batch", "cap"), [(32, 0.9477), (64, 0.97351), (128, 0.98667)])
def test_the_papers_cap(batch, cap):
    assert paper_cap(batch) == pytest.approx(cap, abs=5e-5)


@pytest.mark.parametrize("n", [2, 3, 7, 14])
def test_marginal_pairs_are_all_pairs_but_the_joint_ones(n, monkeypatch):
    monkeypatch.setattr(critics, "CHUNK", 5)  # several blocks, the last one short
    x, z = torch.rand(n, 3, 8, 8), torch.rand(n, 2, 4, 4)
    critic = SeparableCritic([(x, z)], 8, 8, 5.0)
    joint, log_marginal = critic(x, z, torch.Generator())
    one_by_one = [[critic.scores(*critic.embed(a[None], b[None])).item() for b in z] for a in x]
    assert joint.tolist() == pytest.approx([one_by_one[i][i] for i in range(n)], abs=1e-5)
    others = [math.exp(one_by_one[i][j]) for i in range(n) for j in range(n) if i != j]
    assert log_marginal.item() == pytest.approx(math.log(sum(others) / (n * (n - 1))), abs=1e-5)
    by_x = [math.log(sum(math.exp(one_by_one[i][j]) for j in range(n) if j != i)) for i in range(n)]
    by_z = [math.log(sum(math.exp(one_by_one[j][i]) for j in range(n) if j != i)) for i in range(n)]
    a, b = critic.embed(x, z)
    assert critic.aligned(a, b.roll(1, 0)).tolist() == pytest.approx([one_by_one[i][i - 1] for i in range(n)], abs=1e-5)
    for found, slow in zip(critic.sums(a, b)[1:], (by_x, by_z), strict=True):
        assert found.tolist() == pytest.approx(slow, abs=1e-5)


def test_a_batch_of_one_is_refused():
    x, z = torch.rand(4, 3, 8, 8), torch.rand(4, 2, 4, 4)
    with pytest.raises(ValueError, match="at least 2"):
        SeparableCritic([(x, z)], 8, 8, 5.0)(x[:1], z[:1], torch.Generator())


@pytest.mark.parametrize("size", [90.0, 1e4])
def test_log_mean_exp_survives_large_values_and_their_gradient(size):
    values = torch.tensor([size, size - 1, -size], requires_grad=True)
    found = log_mean_exp(values)
    found.backward()
    assert found.item() == pytest.approx(size + math.log((1 + math.exp(-1)) / 3), rel=1e-6)
    assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize(
    ("sizes", "expected"), [((32, 8, 8), 8), ((64, 16, 8), 8), ((1, 1, 8), 1), ((28, 7, 4), 1), ((5, 5, 8), 5)]
)
def test_the_common_grid_divides_both(sizes, expected):
    assert common_grid(*sizes) == expected


def test_folding_loses_nothing_and_keeps_places():
    x, z = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8), torch.rand(2, 2, 4, 4)
    folded = SeparableCritic([(x, z)], 8, 8, 5.0).fold(x)
    assert folded.shape == (2, 12, 4, 4)
    assert sorted(folded.flatten().tolist()) == sorted(x.flatten().tolist())
    assert sorted(folded[1, :, 2, 3].tolist()) == sorted(x[1, :, 4:6, 6:8].flatten().tolist())


def test_scores_stay_within_the_limit_and_dead_channels_stay_finite():
    x, z = torch.rand(6, 3, 8, 8), torch.zeros(6, 2, 4, 4)
    critic = SeparableCritic([(x, z)], 8, 8, math.log(6))
    scores = critic.scores(*critic.embed(1e6 * x, z))
    assert torch.isfinite(scores).all()
    assert scores.abs().max() <= math.log(6) + 1e-6


def test_dead_channels_and_the_scale_of_z_change_nothing():
    x, z = torch.rand(6, 3, 8, 8), torch.rand(6, 2, 4, 4)
    z[:, 1] = 0.0

    def scores(z):
        torch.manual_seed(0)
        critic = SeparableCritic([(x, z)], 8, 8, 5.0)
        return critic.scores(*critic.embed(x, z))

    assert torch.allclose(scores(z), scores(0.01 * z), atol=1e-4)
