import math

import pytest
import torch

from splitprobe.information import gaussian
from splitprobe.information.dependence import dependence, u_centered
from splitprobe.learning.losses import distance_correlation


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def value(x, z):
    return dependence(x, z)["dcor_squared"]


def slow(x, z):
    """Székely and Rizzo's definitions, entry by entry."""
    n = len(x)

    def centered(points):
        a = [[math.dist(p, q) for q in points.tolist()] for p in points.tolist()]
        rows, total = [sum(row) for row in a], sum(map(sum, a))
        return [
            [
                a[i][j] - rows[i] / (n - 2) - rows[j] / (n - 2) + total / ((n - 1) * (n - 2)) if i != j else 0.0
                for j in range(n)
            ]
            for i in range(n)
        ]

    def inner(a, b):
        return sum(a[i][j] * b[i][j] for i in range(n) for j in range(n) if i != j) / (n * (n - 3))

    a, b = centered(x), centered(z)
    return inner(a, b) / math.sqrt(inner(a, a) * inner(b, b))


@pytest.mark.parametrize("n", [4, 5, 12])
def test_it_equals_the_slow_form(n):
    x = normal(n, 6, 0)
    z = x[:, :2] ** 2 + normal(n, 2, 1)
    found = dependence(x, z)
    assert found["images"] == n
    assert found["dcor_squared"] == pytest.approx(slow(x, z), abs=1e-5)


def test_rows_of_u_centered_distances_sum_to_zero():
    centered = u_centered(torch.cdist(normal(9, 3, 0), normal(9, 3, 0)))
    assert centered.sum(0).abs().max() < 1e-12
    assert centered.sum(1).abs().max() < 1e-12
    assert centered.diagonal().abs().max() == 0


def test_independent_pairs_of_many_entries_score_zero_where_the_plain_form_does_not():
    found = [value(normal(100, 2000, seed), normal(100, 2000, seed + 50)) for seed in range(5)]
    assert max(map(abs, found)) < 0.06
    assert abs(sum(found) / 5) < 0.03
    assert distance_correlation(normal(100, 2000, 0), normal(100, 2000, 50)) > 0.9


@pytest.mark.parametrize("factor", [1e-3, -2.0, 300.0])
def test_a_scaled_copy_scores_one(factor):
    x = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert value(x, factor * x + 0.5) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("rho", "dimensions"), [(0.6, 1), (0.9, 1), (0.5, 20), (0.8, 20), (0.3, 300)])
def test_gaussians_score_their_closed_form(rho, dimensions):
    x, z = gaussian.correlated_pairs(1200, (dimensions,), rho, torch.Generator().manual_seed(0))
    assert value(x, z) == pytest.approx(gaussian.distance_correlation(rho, dimensions), abs=0.04)


@pytest.mark.parametrize("rho", [0.0, 0.1, 0.5, 0.99])
def test_the_series_equals_the_closed_form_of_two_numbers(rho):
    """Székely, Rizzo and Bakirov (2007), theorem 7."""
    whole = 1 + math.pi / 3 - math.sqrt(3)
    own = rho * math.asin(rho) + math.sqrt(1 - rho**2) - rho * math.asin(rho / 2) - math.sqrt(4 - rho**2) + 1
    assert gaussian.distance_correlation(rho, 1) == pytest.approx(own / whole, abs=1e-5)
    assert gaussian.distance_correlation(rho, 10_000) == pytest.approx(rho**2, abs=1e-4)


def test_a_constant_feature_says_nothing_and_one_that_is_not_finite_stays_so():
    x = normal(10, 4, 0)
    assert value(x, torch.full((10, 3), 0.7)) == 0
    assert value(torch.zeros(10, 3), x) == 0
    assert math.isnan(value(x, x * math.nan))


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="of 3 images: U-centering needs at least 4"):
        dependence(normal(3, 2, 0), normal(3, 2, 1))


def test_shuffled_pairs_are_what_shuffling_z_gives_and_score_zero():
    x = normal(200, 8, 0)
    z = x + 0.1 * normal(200, 8, 1)
    orders = [torch.randperm(200, generator=torch.Generator().manual_seed(seed)) for seed in range(20)]
    found = dependence(x, z, orders)
    slow_null = torch.tensor([value(x, z[order]) for order in orders])
    assert found["dcor_squared"] > 0.9
    assert found["null_dcor_squared"] == pytest.approx(slow_null.mean().item(), abs=1e-5)
    assert found["null_dcor_squared_std"] == pytest.approx(slow_null.std().item(), abs=1e-5)
    assert abs(found["null_dcor_squared"]) < 4 * found["null_dcor_squared_std"] / math.sqrt(20)
