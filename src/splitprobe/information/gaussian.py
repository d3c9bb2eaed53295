"""Correlated Gaussians, whose mutual information has a closed form: the yardstick of every estimator."""

import math

import torch
from torch import Tensor


def mutual_information(rho: float, dimensions: int) -> float:
    """I in nats of ``dimensions`` independent pairs with correlation ``rho``: -d/2 log(1 - rho^2)."""
    return -dimensions / 2 * math.log(1 - rho * rho)


def correlated_pairs(n: int, shape: tuple[int, ...], rho: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x and z (n, *shape), standard normal, each entry of z correlated by ``rho`` with the same entry of x."""
    x, other = (torch.randn(n, *shape, generator=generator) for _ in range(2))
    return x, rho * x + math.sqrt(1 - rho * rho) * other
