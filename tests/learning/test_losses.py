import math

import pytest
import torch
from torch.nn import functional as F

from splitprobe.learning import losses


def slow_distance_correlation(x, z):
    """Equation (12), pair by pair."""
    n = len(x)

    def centered(points):
        a = torch.tensor([[math.sqrt(((p - q) ** 2).sum().item() + 1e-10) for q in points] for p in points])
        return torch.tensor(
            [[(a[i, j] - a[i].mean() - a[:, j].mean() + a.mean()).item() for j in range(n)] for i in range(n)]
        )

    a, b = centered(x.double()), centered(z.double())
    return ((a * b).sum() / n**2 / ((a * a).sum() / n**2 * (b * b).sum() / n**2).sqrt()).item()


def slow_pearson(z):
    """Equation (13), pair of channels by pair of channels, with numpy-style deviations of N - 1."""
    total = 0.0
    for sample in z.double():
        for one in sample:
            for two in sample:
                covariance = ((one - one.mean()) * (two - two.mean())).mean()
                total += (covariance / (one.std() * two.std() + 1e-12)).item() ** 2
    return total / (len(z) * z.shape[1] ** 2)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, 3, 6, 6, generator=generator)
    return x, (x[:, :2, ::2, ::2] ** 2 + torch.randn(9, 2, 3, 3, generator=generator))


def test_one_hot_is_torch_s():
    y = torch.tensor([3, 0, 0, 4])
    assert torch.equal(losses.one_hot(y, 6), F.one_hot(y, 6).float())


def test_distances_match_the_explicit_form(pair):
    x = pair[0] + 100  # an offset must not cost digits
    slow = ((x[:, None].double() - x[None].double()).flatten(2).square().sum(2) + 1e-10).sqrt()
    assert torch.allclose(losses.pairwise_distances(x).double(), slow, atol=1e-4)
    assert losses.pairwise_distances(x).diagonal().allclose(torch.tensor(1e-5))


def test_distance_correlation_matches_the_slow_form(pair):
    assert losses.distance_correlation(*pair).item() == pytest.approx(slow_distance_correlation(*pair), abs=1e-5)


def test_distance_correlation_of_itself_scaled_is_one(pair):
    assert losses.distance_correlation(pair[0], 3 * pair[0] - 1).item() == pytest.approx(1, abs=1e-5)


def test_distance_correlation_is_symmetric_and_within_bounds(pair):
    forth, back = losses.distance_correlation(*pair), losses.distance_correlation(*pair[::-1])
    assert forth.item() == pytest.approx(back.item(), abs=1e-6)
    assert 0 < forth < 1


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_half_precision_and_autocast_do_not_reach_the_sums(pair, precision):
    # sums of squares near 1e7 would lose all digits in bfloat16
    x, z = (t.repeat(1, 1, 8, 8) * 30 for t in pair)
    reference = losses.distance_correlation(x, z)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        assert losses.distance_correlation(x, z).item() == pytest.approx(reference.item(), abs=1e-6)
        assert losses.pearson(z).item() == pytest.approx(losses.pearson(z.float()).item(), abs=1e-6)


@pytest.mark.parametrize("case", ["two identical", "constant feature", "batch of one", "all dead"])
def test_distance_correlation_has_finite_gradients_at_its_edges(case):
    x = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    z = x[:, :2].clone()
    if case == "two identical":
        x[1], z[1] = x[0], z[0]
    if case == "constant feature":
        z = torch.full_like(z, 0.7)
    if case == "all dead":
        z = torch.zeros_like(z)
    if case == "batch of one":
        x, z = x[:1], z[:1]
    z.requires_grad_()
    value = losses.distance_correlation(x, z)
    value.backward()
    assert torch.isfinite(z.grad).all()
    assert value.item() == 0 if case != "two identical" else value.item() > 0.5


def test_pearson_matches_the_slow_form(pair):
    assert losses.pearson(pair[1]).item() == pytest.approx(slow_pearson(pair[1]), abs=1e-6)


def test_pearson_of_independent_channels_is_the_diagonal_alone():
    n = 64
    z = torch.stack([torch.cos(2 * math.pi * k * torch.arange(n) / n) for k in (1, 2, 3, 4)]).reshape(1, 4, 8, 8)
    # the diagonal: ((N - 1) / N)^2 on c of c^2 entries
    assert losses.pearson(z).item() == pytest.approx(((n - 1) / n) ** 2 / 4, abs=1e-6)


@pytest.mark.parametrize("case", ["dead channel", "all dead", "1x1"])
def test_pearson_is_finite_at_its_edges(case):
    z = torch.rand(3, 4, 5, 5, generator=torch.Generator().manual_seed(2))
    if case == "dead channel":
        z[:, 1] = 0.3
    if case == "all dead":
        z.zero_()
    if case == "1x1":
        z = z[:, :, :1, :1]
    z.requires_grad_()
    value = losses.pearson(z)
    value.backward()
    assert torch.isfinite(z.grad).all()
    assert 0 <= value.item() < 1
    if case == "dead channel":
        alive = losses.pearson(z.detach()[:, [0, 2, 3]])
        assert value.item() == pytest.approx(alive.item() * 9 / 16, abs=1e-6)  # it counts in c^2, with zeros
    else:
        assert value.item() == 0


def test_smoothed_labels_and_kl():
    y, logits = torch.tensor([2, 0]), torch.tensor([[0.1, -0.4, 2.0], [1.0, 0.0, 0.5]])
    targets = losses.smoothed_labels(y, 3, 0.3)
    assert torch.allclose(targets, torch.tensor([[0.15, 0.15, 0.7], [0.7, 0.15, 0.15]]))
    pairs = zip(targets.flatten().tolist(), F.log_softmax(logits, 1).flatten().tolist(), strict=True)
    slow = sum(t * (math.log(t) - q) for t, q in pairs) / 2
    assert losses.kl_divergence(logits, targets).item() == pytest.approx(slow, abs=1e-6)


def test_kl_without_smoothing_is_cross_entropy():
    y, logits = torch.tensor([2, 0]), torch.tensor([[0.1, -0.4, 2.0], [1.0, 0.0, 0.5]])
    value = losses.kl_divergence(logits, losses.smoothed_labels(y, 3, 0.0))
    assert value.item() == pytest.approx(F.cross_entropy(logits, y).item(), abs=1e-6)


def test_soft_cross_entropy_honors_negative_targets():
    logits, targets = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.1, -0.1]])
    expected = -(1.1 * math.log(1 / (1 + math.exp(-2))) - 0.1 * math.log(1 / (1 + math.exp(2))))
    assert losses.soft_cross_entropy(logits, targets).item() == pytest.approx(expected, abs=1e-6)
