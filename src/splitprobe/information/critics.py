"""Two critics T(x, z) for the Donsker-Varadhan bound.

Each gives T on joint pairs (an image with its own z) and the log-mean-exp of T on marginal pairs (an image with the z
of another).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.learning.parts import Moments, exactly

CHUNK = 1024  # images per block of all-pairs scores; changes memory, not results


def log_mean_exp(values: Tensor) -> Tensor:
    """The log of the mean of exp over all values, in float32, without overflow for values of any size."""
    values = values.float()
    return torch.logsumexp(values.flatten(), 0) - math.log(values.numel())


class PaperCritic(nn.Module):
    """The paper's ConvMINE: convolutions on the image beside the zero-padded feature, a sigmoid, a mean over all.

    T lies in (0, 1), so the estimate cannot pass :func:`paper_cap`. z sits in the upper left corner and meets only that
    corner of the image, which is why values at different feature sizes must not be compared. 172,916 parameters for 3
    image and 256 feature channels. ``x_shape`` and ``z_shape`` are (channels, height, width). Raises ValueError for a
    feature larger than the image.
    """

    counts_joint = False  # the permutation's fixed points already put joint pairs among the marginal ones

    def __init__(self, x_shape: tuple[int, int, int], z_shape: tuple[int, int, int]) -> None:
        super().__init__()
        if z_shape[1] > x_shape[1] or z_shape[2] > x_shape[2]:
            raise ValueError(f"z is {z_shape} and x {x_shape}: this estimator needs a feature no larger than the image")
        # one convolution of the concatenation, written as a sum: the part on z then runs on z's own small grid
        self.on_x = nn.Conv2d(x_shape[0], 64, 3, padding=1)
        self.on_z = nn.Conv2d(z_shape[0], 64, 3, padding=1, bias=False)
        bound = 1 / math.sqrt(9 * (x_shape[0] + z_shape[0]))  # torch's initialization of that one convolution
        for parameter in (*self.on_x.parameters(), *self.on_z.parameters()):
            nn.init.uniform_(parameter, -bound, bound)
        self.rest = nn.Sequential(
            nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(), nn.Conv2d(32, 16, 3, padding=1),
            nn.Tanh(), nn.Conv2d(16, 4, 3, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def on_padded_z(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """The first convolution's share of z (B, c, h, w), as if z were zero-padded to ``size`` (H, W)."""
        right, below = min(1, size[1] - z.shape[3]), min(1, size[0] - z.shape[2])
        part = self.on_z(F.pad(z, (0, right, 0, below)))  # a 3x3 kernel reaches one row and column beyond z
        return F.pad(part, (0, size[1] - part.shape[3], 0, size[0] - part.shape[2]))

    def score(self, from_x: Tensor, from_z: Tensor) -> Tensor:
        """T of each pair, (B,), from the two shares of the first convolution, (B, 64, H, W) each."""
        return self.rest(from_x + from_z).float().mean((1, 2, 3))

    def both(self, x: Tensor, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """T of the B joint pairs and of B marginal pairs, (B,) each.

        The marginal pairs come from a random permutation, in which some images may keep their own z.
        """
        from_x, from_z = self.on_x(x), self.on_padded_z(z, tuple(x.shape[2:]))
        order = torch.randperm(len(z), device=z.device, generator=generator)
        return self.score(from_x, from_z), self.score(from_x, from_z[order])

    def forward(self, x: Tensor, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """T of the B joint pairs, (B,), and the log-mean-exp of T on B marginal pairs, as :meth:`both` draws them."""
        joint, marginal = self.both(x, z, generator)
        return joint, log_mean_exp(marginal)


def paper_cap(batch: int) -> float:
    """The largest value, in nats, that the paper's estimate reaches at a batch size.

    It is reached where T is 1 on joint pairs and 0 on all other pairs. One fixed point is counted among the marginal
    pairs: that is the mean number of a random permutation. A single batch without a fixed point can reach 1.
    """
    return 1 - math.log(1 + (math.e - 1) / batch)


def common_grid(x_size: int, z_size: int, largest: int) -> int:
    """Cells a side of the finest grid, at most ``largest``, that divides both sizes."""
    shared = math.gcd(x_size, z_size)
    return max(cells for cells in range(1, min(shared, largest) + 1) if shared % cells == 0)


class Tower(nn.Module):
    """A small network and a linear map, added: (B, channels, h, w) to (B, width + 1, h, w).

    The linear map alone is right for Gaussians.
    """

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        first = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        self.curved = nn.Sequential(first, nn.SiLU(), nn.Conv2d(width, width + 1, 1))
        self.straight = nn.Conv2d(channels, width + 1, 1, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, width + 1, h, w)."""
        return self.curved(values) + self.straight(values)


class SeparableCritic(nn.Module):
    """T(x, z) = <f(x), g(z)> + u(x) + v(z), scored on all pairs of a batch at the price of two small networks.

    Image and feature are folded (space to depth, losing nothing) onto one grid. Each cell of z thus meets its own part
    of the image, and the convolutions run on few cells. Both are standardized per channel, with the statistics of fit
    images (as released); this map is invertible and leaves I unchanged. Dead channels stay constant.

    The marginal sample is all B (B - 1) off-diagonal pairs, at the price of one matrix product. T is soft-limited to
    +-``limit``. The bound holds for any T, and so one far-off pair cannot decide the mean of exp T.

    ``like`` are batches of x (B, C, H, W) and released z (B, c, h, w) that give shapes and statistics. ``grid`` is the
    largest number of cells a side.
    """

    counts_joint = True  # the product of the marginals holds each joint pair with weight 1/n: see mine.bound

    def __init__(self, like: Iterable[tuple[Tensor, Tensor]], width: int, grid: int, limit: float) -> None:
        super().__init__()
        found = {"x": Moments(), "z": Moments()}
        for batch in like:
            for statistics, values in zip(found.values(), batch, strict=True):
                statistics.add(values)
        ones = [values[:1] for values in batch]
        sizes = zip(*(one.shape[2:] for one in ones), strict=True)
        self.grid, self.limit = tuple(common_grid(a, b, grid) for a, b in sizes), limit
        for name, statistics in found.items():
            deviation, mean = statistics.result()
            self.register_buffer(f"{name}_mean", mean)
            # a dead channel is not divided, so it stays constant
            self.register_buffer(f"{name}_std", torch.where(deviation > 1e-6, deviation, 1.0))
        # on a grid of a single cell a 3x3 kernel would see nothing but padding
        kernel = 3 if max(self.grid) > 1 else 1
        self.f, self.g = (Tower(self.fold(one).shape[1], width, kernel) for one in ones)
        # the spread of the inner product then does not grow with its length
        self.scale = (width * self.grid[0] * self.grid[1]) ** -0.5

    def fold(self, values: Tensor) -> Tensor:
        """Fold (B, C, H, W) to (B, C H W / (h w), h, w) on the common grid (h, w)."""
        n, c, h, w = values.shape
        rows, columns = self.grid
        cells = values.reshape(n, c, rows, h // rows, columns, w // columns)
        return cells.permute(0, 1, 3, 5, 2, 4).reshape(n, -1, rows, columns)

    def embed(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of both towers, (B, width + 1, h, w) each in float32, computed in blocks of images."""
        from_x, from_z = [], []
        for x_part, z_part in zip(x.split(CHUNK), z.split(CHUNK), strict=True):
            from_x.append(self.f(self.fold((x_part - self.x_mean) / self.x_std)).float())
            from_z.append(self.g(self.fold((z_part - self.z_mean) / self.z_std)).float())
        return torch.cat(from_x), torch.cat(from_z)

    def scores(self, a: Tensor, b: Tensor) -> Tensor:
        """T of every pair, (A, B), from A outputs of the image tower and B of the feature tower."""
        with exactly(a):  # exp would magnify rounding errors of the product
            inner = a[:, :-1].flatten(1) @ b[:, :-1].flatten(1).T * self.scale
            raw = inner + a[:, -1].mean((1, 2))[:, None] + b[:, -1].mean((1, 2))[None, :]
            return self.limit * torch.tanh(raw / self.limit)

    def aligned(self, a: Tensor, b: Tensor) -> Tensor:
        """T of each output of the image tower with the output of the feature tower in the same place, (B,)."""
        with exactly(a):
            raw = (a[:, :-1] * b[:, :-1]).sum((1, 2, 3)) * self.scale + (a[:, -1] + b[:, -1]).mean((1, 2))
            return self.limit * torch.tanh(raw / self.limit)

    def sums(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three tensors (B,) from the outputs of both towers, as :meth:`embed` gives them.

        They are T of the joint pairs, then the log of the sum of exp T over the B - 1 other z of each x, then that over
        the B - 1 other x of each z. Raises ValueError for a single pair.
        """
        n = len(a)
        if n < 2:
            raise ValueError(f"a batch of {n}: marginal pairs need at least 2 images")
        joint, by_x, by_z = [], [], []
        columns = torch.arange(n, device=a.device)
        for rows, a_part in zip(columns.split(CHUNK), a.split(CHUNK), strict=True):
            values = self.scores(a_part, b)
            is_joint = columns[None, :] == rows[:, None]
            joint.append(values.gather(1, rows[:, None]).squeeze(1))
            # exp(-inf) = 0: the joint pair drops out of both sums
            values = values.masked_fill(is_joint, -math.inf)
            by_x.append(torch.logsumexp(values, 1))
            by_z.append(torch.logsumexp(values, 0))
        return torch.cat(joint), torch.cat(by_x), torch.logsumexp(torch.stack(by_z), 0)

    def forward(self, x: Tensor, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """T of the B joint pairs, (B,), and the log-mean-exp of T on all B (B - 1) marginal pairs.

        ``generator`` is not used: no pairs are drawn. Raises ValueError for a single pair.
        """
        joint, by_x, _ = self.sums(*self.embed(x, z))
        return joint, off_diagonal(by_x)


def off_diagonal(by_x: Tensor) -> Tensor:
    """Log-mean-exp of T over all marginal pairs, from the log-sum-exp (B,) of each x over its B - 1 marginal pairs."""
    return torch.logsumexp(by_x, 0) - math.log(len(by_x) * (len(by_x) - 1))
