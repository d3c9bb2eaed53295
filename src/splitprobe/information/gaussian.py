"""Gaussians, of which information, entropy and dependence have closed forms: the yardstick of every estimator."""

import math
from itertools import pairwise

import torch
from torch import Tensor

TERMS = 10_000  # of a series that falls as k^-2.5 at worst


def mutual_information(rho: float, dimensions: int) -> float:
    """I in nats of ``dimensions`` independent pairs with correlation ``rho``: -d/2 log(1 - rho^2)."""
    return -dimensions / 2 * math.log(1 - rho * rho)


def distance_correlation(rho: float, dimensions: int) -> float:
    """Squared distance correlation of the same pairs: S(rho) / S(1), rho^2 in the limit of many dimensions.

    S(rho) = sum_k (1 - 2^(1 - 2k)) (-1/2)_k^2 / (k! (d/2)_k) rho^2k from k = 1, with rising factorials: Dueck,
    Edelmann, Gneiting and Richards, "The affinely invariant distance correlation" (2014), for a correlation matrix that
    is rho times the identity.
    """
    total = whole = 0.0
    coefficient, power = 1.0, 1.0
    for k in range(1, TERMS + 1):
        coefficient *= (k - 1.5) ** 2 / (k * (dimensions / 2 + k - 1))
        power *= rho * rho
        share = (1 - 2.0 ** (1 - 2 * k)) * coefficient
        total, whole = total + share * power, whole + share
    return total / whole


def quantized_entropy(width: float, levels: int) -> float:
    """Bits of a Gaussian rounded to the whole numbers from 0 to levels - 1, in whose middle it is centered.

    ``width`` is its standard deviation; what lies outside is clipped to the ends.
    """
    middle = (levels - 1) / 2
    edges = [-math.inf, *(k - 0.5 - middle for k in range(1, levels)), math.inf]
    below = [math.erfc(-edge / width / math.sqrt(2)) / 2 for edge in edges]
    shares = [high - low for low, high in pairwise(below)]
    return -sum(p * math.log2(p) for p in shares if p > 0)


def correlated_pairs(n: int, shape: tuple[int, ...], rho: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x and z (n, *shape), standard normal, each entry of z correlated by ``rho`` with the same entry of x."""
    x, other = (torch.randn(n, *shape, generator=generator) for _ in range(2))
    return x, rho * x + math.sqrt(1 - rho * rho) * other
