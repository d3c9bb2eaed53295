"""A decoder that mirrors the plain network's cut: the attacker's first guess, and some defenses' own adversary."""

from torch import nn

from splitprobe.models.layers import deconv, deconv_tanh


def mirror(z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
    """z (B, z_channels, h, w) to x_hat (B, channels, h 2^cut, w 2^cut) in [0, 1].

    The paper's decoder of the plain CNN; for a defense with other channels, only the first layer adapts to z.
    530,819 parameters at cut 2, width 128.
    """
    layers, inside = [], z_channels
    for level in range(cut - 1, 0, -1):
        outside = width * 2 ** (level - 1)
        layers.append(deconv_tanh(inside, outside, 4))
        inside = outside
    return nn.Sequential(*layers, deconv(inside, channels, 4), nn.Sigmoid())
