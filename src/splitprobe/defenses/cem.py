"""CEM (Xia and others, CVPR 2025): maximize the conditional entropy H(x | z') of the image given a noisy feature.

Source: "Theoretical insights in model inversion robustness and conditional entropy maximization for collaborative
inference systems" and the authors' code (xiasong0501/CEM, run_exp.sh). H(x | z') bounds every attacker's squared error
from below. As H(x) is given, the method lowers a bound on I(x; z'), for z' = z + sigma e: with z a Gaussian mixture of
shares w_j, its entropy less that of the noise. The code's form is kept here. Each class has its own mixture, by k-means
over the epoch's features. A cluster's variance v_j is one number, the mean over entries and members (by Jensen's
inequality the mean of the entries' logarithms is not larger). Per class

    sum_j w_j max(0, log(v_j + ridge) - log(threshold sigma^2 + ridge)),

averaged over the classes of the batch. v_j mixes the batch's own value with that of the last epoch: the batch counts by
``reach`` times the share of the cluster that it holds, at most ``most``. The term begins in epoch 2. The code scales
its gradient by 0.001 over the learning rate (0.05, falling by 5 three times); that is the ramp 1/50, 1/10, 1/2, 1. Only
epochs at the full weight can be chosen, as the code's records begin anew there.

As published, the edge ends in a 3x3 convolution to 8 channels and a sigmoid, the cloud begins with a convolution back,
and the noise is trained in. CEM is made to be added to another defense; here it stands on noise alone.

Differs: the features that are clustered are those seen during the epoch, theirs come from a pass behind it. An empty
cluster has share 0, theirs 0.01. A training of one epoch never reaches the term.

Expected: less leaks than from the same bottleneck and noise alone (``weight: 0``), at some accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Noisy, Site
from splitprobe.models.layers import bottleneck, deconv_tanh
from splitprobe.models.split import Layout

EXACT = "donot_use_mm_for_euclid_dist"  # differences are taken before squares, as cdist does it for few points


@dataclass(frozen=True)
class Settings:
    """The section ``defense.cem``.

    ``channels`` are those of z and ``sigma`` is the noise's deviation. ``weight`` is that of the term, of which the
    shares ``ramp`` are in force in equal parts of the training. The other values are those of the formula.
    """

    channels: int = bounded(1, 1024)
    sigma: float = bounded(1e-6, 1000.0)
    weight: float = bounded(0.0, 10000.0)
    ramp: tuple[float, ...] = bounded(0.0, 1.0, items=(1, 100))
    components: int = bounded(1, 1000)
    iterations: int = bounded(1, 10000)
    threshold: float = bounded(0.0, 1000.0)
    ridge: float = bounded(1e-6, 1.0)
    reach: float = bounded(0.0, 10000.0)
    most: float = bounded(0.0, 1.0)


@dataclass(frozen=True)
class Mixture:
    """The clusters of one class: centers (k, D), members (k,), and variances (k,), each a mean over entries.

    Those of several classes have one dimension more in front.
    """

    centers: Tensor
    members: Tensor
    variances: Tensor


def nearest(points: Tensor, centers: Tensor) -> Tensor:
    """The index (N,) of the center (k, D) that is nearest to each point (N, D)."""
    return torch.cdist(points, centers).argmin(1)


def grouped(values: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean of values (N, ...) in each of ``count`` groups (N,), and the groups' sizes; a mean of none is 0."""
    sizes = values.new_zeros(count).index_add(0, groups, values.new_ones(len(groups)))
    sums = values.new_zeros((count, *values.shape[1:])).index_add(0, groups, values)
    return sums / sizes.clamp_min(1).view(-1, *[1] * (values.ndim - 1)), sizes


def first_centers(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` of the points (N, D), each drawn by its squared distance from those before it (k-means++)."""
    centers = points[torch.randint(len(points), (1,), generator=generator, device=points.device)]
    while len(centers) < count:
        # the least value, for points that all coincide
        chances = torch.cdist(points, centers).amin(1).square().clamp_min(1e-12)
        centers = torch.cat((centers, points[torch.multinomial(chances, 1, generator=generator)]))
    return centers


def clustered(points: Tensor, centers: Tensor, iterations: int) -> Mixture:
    """The clusters of points (N, D) by k-means from given centers (k, D); a center without points stays."""
    groups = None
    for _ in range(iterations):
        found = nearest(points, centers)
        if groups is not None and torch.equal(found, groups):
            break
        groups = found
        means, sizes = grouped(points, groups, len(centers))
        centers = torch.where(sizes[:, None] > 0, means, centers)
    groups = nearest(points, centers)
    variances, sizes = grouped((points - centers[groups]).square().mean(1), groups, len(centers))
    return Mixture(centers, sizes, variances)


class Cem(Noisy):
    """A noisy bottleneck, and a penalty on the spread of the feature within the clusters of each class."""

    title = "CEM"
    Settings = Settings
    replayable = False  # keeps the features of each step

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.epochs, self.share = 1, settings.ramp[-1]
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.adopt({})

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """Narrow z to ``channels`` values in (0, 1) at the edge's end, widen it in the cloud."""
        return bottleneck(edge, cloud, self.settings.channels, nn.Sigmoid())

    def prepare(self, site: Site) -> None:
        """Note the number of epochs, and begin without clusters."""
        self.epochs, self.seen = site.epochs, []
        self.adopt({})
        self.generator = site.runtime.generator(site.seed, "mixture")

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """Cluster the features of the epoch before, and set the weight; returns the weight."""
        self.cluster()
        ramp = self.settings.ramp
        # the last epoch has the last share even in a training too short to reach the last part
        self.share = ramp[-1] if epoch == self.epochs else ramp[int((epoch - 1) / self.epochs * len(ramp))]
        return {"cem_weight": self.share * self.settings.weight if self.mixtures else 0.0}

    @property
    def in_force(self) -> bool:
        """True once the share of the weight is the last one."""
        return self.share == self.settings.ramp[-1]

    def cluster(self) -> None:
        """Renew each class's clusters with the features that were seen, and forget these.

        A class keeps its clusters where it was seen in no more images than it has components.
        """
        if not self.seen:
            return
        z, y = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        self.seen = []
        count, iterations, mixtures = self.settings.components, self.settings.iterations, dict(self.mixtures)
        for label in y.unique().tolist():
            points = z[y == label]
            if len(points) > count:
                known = mixtures.get(label)
                centers = known.centers if known else first_centers(points, count, self.generator)
                mixtures[label] = clustered(points, centers, iterations)
        self.adopt(mixtures)

    def adopt(self, mixtures: dict[int, Mixture]) -> None:
        """Take these clusters, by class; they are laid side by side, so that a step treats all classes at once."""
        self.mixtures = dict(sorted(mixtures.items()))
        if mixtures:
            parts = ("centers", "members", "variances")
            self.stacked = Mixture(*(torch.stack([getattr(m, part) for m in self.mixtures.values()]) for part in parts))
            self.labels = torch.tensor(list(self.mixtures), device=self.stacked.centers.device)

    def inner_step(self, batch: Batch) -> dict[str, Tensor]:
        """Keep the batch's features for the clusters of the next epoch; returns nothing."""
        if self.settings.weight:
            self.seen.append((batch.z.detach().flatten(1).float(), batch.y))
        return {}

    def excess(self, z: Tensor, y: Tensor) -> Tensor:
        """The term of each class that has clusters, (classes,), for features z (B, D) with labels y (B,)."""
        # without masks, lists of labels and the like: Python would wait for a GPU's answer in the middle of a step
        settings, (classes, count) = self.settings, self.stacked.members.shape
        match = y[:, None] == self.labels
        place = match.int().argmax(1)
        centers = self.stacked.centers[place]
        inner = torch.cdist(z.detach()[:, None], centers, compute_mode=EXACT).squeeze(1).argmin(1)
        # one group more, for images of a class without clusters
        groups = torch.where(match.any(1), place * count + inner, classes * count)
        distances = (z - centers.gather(1, inner[:, None, None].expand(-1, 1, z.shape[1])).squeeze(1)).square().mean(1)
        own, sizes = (part[:-1].view(classes, count) for part in grouped(distances, groups, classes * count + 1))
        trust = (settings.reach * sizes / self.stacked.members.clamp_min(1)).clamp_max(settings.most)
        variances = trust * own + (1 - trust) * self.stacked.variances
        floor = z.new_full((), settings.threshold * settings.sigma**2 + settings.ridge)
        logarithms = ((variances + settings.ridge).log() - floor.log()).relu()
        shares = self.stacked.members / self.stacked.members.sum(1, keepdim=True)
        # a cluster that the batch does not hold has no gradient and, as published, no value
        return (shares * logarithms * (sizes > 0)).sum(1)

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted mean of the term over the classes in the batch; 0 before there are clusters."""
        z, y = batch.z.flatten(1).float(), batch.y.sort().values
        terms = self.excess(z, batch.y).unbind() if self.mixtures else ()
        # a zero with a gradient, where there is no term
        total = self.share * self.settings.weight * sum(terms, z.sum() * 0.0)
        return {"cem": total / (1 + (y[1:] != y[:-1]).sum())}

    def gray_box_decoder(self, layout: Layout) -> nn.Module | None:
        """A convolution that undoes the bottleneck, then the plain decoder of the network's family."""
        return nn.Sequential(deconv_tanh(layout.z_channels, layout.width, 3), *layout.mirror(layout.width))
