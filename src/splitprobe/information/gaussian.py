"""Closed forms of information, entropy and dependence for Gaussians, against which every estimator is checked."""

import math
from itertools import pairwise

import torch
from torch import Tensor

TERMS = 10_000  # terms of a series that falls at least as fast as k^-2.5


def mutual_information(rho: float, dimensions: int) -> float:
    """I in nats of ``dimensions`` independent pairs with correlation ``rho``: -d/2 log(1 - rho^2)."""
    return -dimensions / 2 * math.log(1 - rho * rho)


def distance_correlation(rho: float, dimensions: int) -> float:
    """Squared distance correlation of ``dimensions`` independent pairs with correlation ``rho``: S(rho) / S(1).

    It is rho^2 in the limit of many dimensions. S(rho) = sum_k (1 - 2^(1 - 2k)) (-1/2)_k^2 / (k! (d/2)_k) rho^2k from k
    = 1, with rising factorials. Source: Dueck, Edelmann, Gneiting and Richards, "The affinely invariant distance
    correlation" (2014), for a correlation matrix that is rho times the identity.
    """
    total = total_at_one = 0.0
    coefficient, power = 1.0, 1.0
    for k in range(1, TERMS + 1):
        # each term from the one before it: the factorials themselves would overflow
        coefficient *= (k - 1.5) ** 2 / (k * (dimensions / 2 + k - 1))
        power *= rho * rho
        term = (1 - 2.0 ** (1 - 2 * k)) * coefficient
        total, total_at_one = total + term * power, total_at_one + term
    return total / total_at_one


def quantized_entropy(width: float, levels: int) -> float:
    """Bits of a Gaussian rounded to the whole numbers from 0 to levels - 1, with its mean in their middle.

    ``width`` is its standard deviation. Values outside are clipped to the ends.
    """
    middle = (levels - 1) / 2
    edges = [-math.inf, *(k - 0.5 - middle for k in range(1, levels)), math.inf]
    below = [math.erfc(-edge / width / math.sqrt(2)) / 2 for edge in edges]
    shares = [high - low for low, high in pairwise(below)]
    return -sum(p * math.log2(p) for p in shares if p > 0)


def correlated_pairs(n: int, shape: tuple[int, ...], rho: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Standard normal x and z (n, *shape); entries at the same place have correlation ``rho``."""
    x, other = (torch.randn(n, *shape, generator=generator) for _ in range(2))
    return x, rho * x + math.sqrt(1 - rho * rho) * other
