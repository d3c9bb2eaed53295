"""ResSFL, CEM and top-k pruning against closed forms and slow forms of their formulas."""

import math

import pytest
import torch

from splitprobe.core.params import ParamsError
from splitprobe.defenses import cem, topk
from splitprobe.defenses.base import Batch
from splitprobe.learning.measures import ssim
from splitprobe.models import count
from splitprobe.models.split import Shape


def shaded(classes=4):
    """16 flat images, a shade for each class, and their labels."""
    labels = torch.arange(16) % classes
    return (40 * labels[:, None, None, None] + torch.zeros(16, 3, 32, 32)).to(torch.uint8), labels


@pytest.mark.parametrize("name", ["ressfl", "cem"])
def test_the_bottleneck_has_the_published_size(make_blueprint, name):
    # VGG11's cut has 128 channels, as that of the CNN at width 64
    edge, cloud = make_blueprint(name, shape=Shape(3, 32, 10, 64)).build()
    plain, _ = make_blueprint("unprotected", shape=Shape(3, 32, 10, 64)).build()
    assert count.parameters(edge) - count.parameters(plain) == 128 * 8 * 9 + 8
    assert count.parameters(cloud[0]) == 8 * 128 * 9 + 128
    assert edge(torch.rand(2, 3, 32, 32)).shape == (2, 8, 8, 8)


@pytest.mark.parametrize("name", ["ressfl", "cem"])
def test_the_bottleneck_s_convolution_is_sent_as_it_is_or_through_a_sigmoid(make_target, name):
    edge = make_target(name).edge
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain, narrowing = list(edge[-1])[:2]
    raw = narrowing(plain(edge[:-1](x)))
    assert torch.equal(edge(x), raw.sigmoid() if name == "cem" else raw)
    assert (raw < 0).any()


def test_ressfl_penalizes_the_similarity_above_its_threshold(params, make_trainer):
    trainer = make_trainer("ressfl")
    images, labels = shaded()
    batch = trainer.forward(images.float() / 255, labels)
    reached = [trainer.defense.inner_step(batch)["adversary_ssim"].item() for _ in range(12)]
    assert reached[-1] > reached[0] + 0.1, "the adversary must learn"
    rebuilt = trainer.defense.adversary(batch.z)
    similarity = ssim(batch.x, rebuilt).mean().item()
    settings = params.tree["defense"]["ressfl"]
    for threshold in (similarity - 0.125, similarity + 0.125):
        settings |= {"threshold": threshold, "weight": 0.3}
        trainer.defense.settings = type(trainer.defense).from_params("ressfl", params).settings
        expected = 0.3 * max(0.0, similarity - threshold)
        assert trainer.defense.penalty(batch)["adversary"].item() == pytest.approx(expected, abs=1e-5)


def test_ressfl_s_penalty_moves_the_edge_and_not_the_adversary(make_trainer):
    trainer = make_trainer("ressfl")
    images, labels = shaded()
    batch = trainer.forward(images.float() / 255, labels)
    trainer.defense.settings = type(trainer.defense.settings)(8, 1.0, 0.0, 4, 1e-3, 1)
    before = [p.grad for p in trainer.edge.parameters()]
    trainer.defense.inner_step(batch)
    assert all(p.grad is None for p in trainer.edge.parameters()) and not any(before)
    weights = [p.clone() for p in trainer.defense.adversary.parameters()]
    for p in trainer.defense.adversary.parameters():
        p.grad = None
    trainer.defense.similarity(batch).backward()
    assert all(p.grad is None for p in trainer.defense.adversary.parameters())
    assert any(p.grad.abs().max() > 0 for p in trainer.edge.parameters())
    assert all(torch.equal(a, b) for a, b in zip(weights, trainer.defense.adversary.parameters(), strict=True))


def test_ressfl_without_a_weight_is_the_bottleneck_alone(params, make_trainer):
    params.tree["defense"]["ressfl"]["weight"] = 0.0
    trainer = make_trainer("ressfl")
    images, labels = shaded()
    assert trainer.step(images, labels)[1].keys() == {"loss", "task"}
    assert not hasattr(trainer.defense, "adversary")


@pytest.fixture
def make_cem(params):
    def make(**changes):
        params.tree["defense"]["cem"] |= changes
        return cem.Cem.from_params("cem", params)

    return make


def test_clusters_of_points_that_lie_apart_are_found():
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]])
    points = torch.cat(
        [c + 0.1 * torch.randn(n, 2, generator=generator) for c, n in zip(centers, (5, 10, 20), strict=True)]
    )
    found = cem.clustered(points, cem.first_centers(points, 3, generator), 50)
    order = found.members.argsort()
    assert found.members[order].tolist() == [5, 10, 20]
    for j, part in zip(order, points.split([5, 10, 20]), strict=True):
        assert torch.allclose(found.centers[j], part.mean(0), atol=1e-5)
        assert found.variances[j].item() == pytest.approx(part.var(0, correction=0).mean().item(), rel=1e-3)


def test_a_center_without_points_stays():
    points = torch.tensor([[0.0], [1.0]])
    found = cem.clustered(points, torch.tensor([[0.5], [9.0]]), 5)
    assert found.centers.tolist() == [[0.5], [9.0]]
    assert found.members.tolist() == [2, 0]
    assert found.variances.tolist() == [0.25, 0.0]


def test_equal_points_have_clusters_too():
    points = torch.ones(6, 3)
    found = cem.clustered(points, cem.first_centers(points, 4, torch.Generator().manual_seed(0)), 5)
    assert found.members.sum() == 6
    assert found.variances.tolist() == [0.0] * 4


def slow_excess(z, mixture, settings):
    """The docstring's formula, cluster by cluster."""
    nearest = [min(range(len(mixture.centers)), key=lambda j: (p - mixture.centers[j]).norm().item()) for p in z]
    total, clusters = 0.0, zip(mixture.centers, mixture.members, mixture.variances, strict=True)
    for j, (center, members, variance) in enumerate(clusters):
        own = [(p - center).square().mean().item() for p, k in zip(z, nearest, strict=True) if k == j]
        if own:
            trust = min(0.99, settings.reach * len(own) / members.item())
            v = trust * sum(own) / len(own) + (1 - trust) * variance.item()
            floor = settings.threshold * settings.sigma**2 + settings.ridge
            share = members.item() / mixture.members.sum().item()
            total += share * max(0.0, math.log(v + settings.ridge) - math.log(floor))
    return total


@pytest.mark.parametrize("reach", [0.5, 10.0])
def test_cem_s_term_is_that_of_its_formula(make_cem, reach):
    defense = make_cem(weight=2.0, ramp=[1.0], sigma=0.4, reach=reach)
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(12, 2, 3, 3, generator=generator)
    y = torch.tensor([0, 1, 2] * 4)
    mixtures = {}
    for label in (0, 1):
        members = torch.tensor([30.0, 10.0, 5.0])
        centers = torch.rand(3, 18, generator=generator)
        mixtures[label] = cem.Mixture(centers, members, torch.tensor([0.3, 0.001, 0.02]))
    defense.adopt(mixtures)
    flat = z.flatten(1)
    # the third class has no clusters yet: it adds nothing, and counts in the mean
    expected = sum(slow_excess(flat[y == c], defense.mixtures[c], defense.settings) for c in (0, 1)) / 3
    assert expected > 0.1
    assert defense.penalty(Batch(z, y, z, z, ()))["cem"].item() == pytest.approx(2 * expected, rel=1e-5)


def by_class(defense, z, y):
    """The term, class after class, as the method's authors compute it."""
    settings, terms = defense.settings, []
    floor = torch.tensor(settings.threshold * settings.sigma**2 + settings.ridge)
    for label in (label for label in y.unique().tolist() if label in defense.mixtures):
        mixture, points = defense.mixtures[label], z[y == label]
        groups = cem.nearest(points.detach(), mixture.centers)
        own, sizes = cem.grouped((points - mixture.centers[groups]).square().mean(1), groups, len(mixture.centers))
        trust = (settings.reach * sizes / mixture.members.clamp_min(1)).clamp_max(settings.most)
        variances = trust * own + (1 - trust) * mixture.variances
        logarithms = ((variances + settings.ridge).log() - floor.log()).relu()
        terms.append((mixture.members / mixture.members.sum() * logarithms * (sizes > 0)).sum())
    return defense.share * settings.weight * sum(terms, z.sum() * 0.0) / len(y.unique())


def test_cem_s_classes_at_once_are_those_one_by_one_to_the_last_bit(make_cem):
    defense, source = make_cem(weight=2.0, ramp=[1.0], components=5), torch.Generator().manual_seed(0)
    seen, labels = torch.rand(200, 64, generator=source), torch.arange(200) % 9
    mixtures = {}
    for label in (7, 2, 0, 5, 8, 1):
        points = seen[labels == label]
        mixtures[label] = cem.clustered(points, cem.first_centers(points, 5, source), 20)
    defense.adopt(mixtures)
    y = torch.randint(0, 8, (48,), generator=source)  # two of them without clusters, one with clusters is not there
    found = []
    for term in (lambda z: by_class(defense, z, y), lambda z: defense.penalty(Batch(z, y, z, z, ()))["cem"]):
        z = torch.rand(48, 64, generator=torch.Generator().manual_seed(1), requires_grad=True)
        value = term(z)
        value.backward()
        found.append((value.detach(), z.grad))
    assert found[0][0] > 0.1
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_cem_s_term_has_its_value_by_hand(make_cem):
    """One cluster at 0, a batch of z = 0.5 and a last variance of 0.05: v = .99 * .25 + .01 * .05."""
    defense = make_cem(weight=1.0, ramp=[1.0], sigma=0.2, threshold=0.25, ridge=0.01, reach=10.0)
    defense.adopt({0: cem.Mixture(torch.zeros(1, 4), torch.tensor([8.0]), torch.tensor([0.05]))})
    z = torch.full((8, 1, 2, 2), 0.5, requires_grad=True)
    term = defense.penalty(Batch(z, torch.zeros(8).long(), z, z, ()))["cem"]
    assert term.item() == pytest.approx(math.log((0.2475 + 0.0005 + 0.01) / (0.25 * 0.04 + 0.01)), rel=1e-5)
    term.backward()
    assert z.grad.sum().item() == pytest.approx(0.99 * 2 * 0.5 / 0.258, rel=1e-5)


def test_a_cluster_narrower_than_the_noise_costs_nothing(make_cem):
    defense = make_cem(weight=1.0, ramp=[1.0], sigma=1.0, threshold=1.0)
    defense.adopt({0: cem.Mixture(torch.zeros(1, 4), torch.tensor([8.0]), torch.tensor([0.5]))})
    z = torch.full((8, 1, 2, 2), 0.5)
    assert defense.penalty(Batch(z, torch.zeros(8).long(), z, z, ()))["cem"].item() == 0


def test_cem_s_weight_rises_and_begins_with_the_second_epoch(make_cem):
    defense = make_cem(weight=8.0)
    defense.epochs, weights, force = 8, [], []
    for epoch in range(1, 9):
        weights.append(defense.begin_epoch(epoch)["cem_weight"])
        force.append(defense.in_force)
        defense.mixtures[0] = None  # as if clusters had been found
    assert weights == pytest.approx([0, 0.16, 0.8, 0.8, 4, 4, 8, 8])
    assert force == [False] * 6 + [True] * 2
    defense.epochs = 1
    defense.begin_epoch(1)
    assert defense.in_force, "the only epoch of a training must be one that can be chosen"


def test_cem_clusters_each_class_by_the_features_of_the_last_epoch(make_trainer, params):
    params.tree["defense"]["cem"] |= {"components": 2}
    trainer = make_trainer("cem", epochs=3)
    images, labels = shaded()
    defense = trainer.defense
    assert trainer.epoch(images, labels)["cem"] == 0
    seen, of = (torch.cat(parts) for parts in zip(*defense.seen, strict=True))
    defense.begin_epoch(2)
    assert sorted(defense.mixtures) == [0, 1, 2, 3] and not defense.seen
    for label, mixture in defense.mixtures.items():
        assert mixture.members.sum() == 4
        weights = mixture.members[:, None] / 4
        assert torch.allclose((weights * mixture.centers).sum(0), seen[of == label].mean(0), atol=1e-5)
    row = trainer.epoch(images, labels)
    assert math.isfinite(row["cem"])


def test_a_ramp_without_a_share_is_refused(make_cem):
    with pytest.raises(ParamsError, match=r"defense.cem.ramp = \[\]: at least 1 items"):
        make_cem(ramp=[])


def test_pruning_keeps_the_largest_values_of_each_image(cpu):
    z = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    sent = topk.TopK(topk.Settings(0.7)).release(z, cpu.generator(0))
    kept = (sent != 0).flatten(1)
    assert kept.sum(1).tolist() == [24 - 16] * 5  # int(0.7 * 24) = 16 are gone
    for values, mask in zip(z.detach().flatten(1), kept, strict=True):
        assert values[mask].min() > values[~mask].max()
    assert torch.equal(sent[sent != 0], z[sent != 0])
    sent.sum().backward()
    assert torch.equal(z.grad.flatten(1) == 1, kept)


def test_pruning_does_not_depend_on_the_other_images(cpu):
    defense, z = topk.TopK(topk.Settings(0.5)), torch.rand(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = defense.release(z * torch.tensor([1.0, 9.0, 0.1, 3.0]).view(4, 1, 1, 1), cpu.generator(0))
    assert torch.equal(whole[:1], defense.release(z[:1], cpu.generator(0)))
    assert (whole != 0).flatten(1).sum(1).tolist() == [16] * 4


def test_an_attacker_knows_that_a_pruned_entry_is_no_larger_than_a_kept_one():
    defense = topk.TopK(topk.Settings(0.5))
    observed = torch.tensor([[3.0, 0.0, 2.0, 0.0]]).view(1, 1, 2, 2)
    z_hat = torch.tensor([[2.5, 1.5, 2.0, 2.25]]).view(1, 1, 2, 2)
    assert defense.mismatch(z_hat, observed, 1).flatten().tolist() == [-0.5, 0.0, 0.0, 0.25]
    # three zeros where two were pruned: the third is an exact value, and the others are not above it
    observed = torch.tensor([[3.0, 0.0, 0.0, 0.0]]).view(1, 1, 2, 2)
    assert defense.mismatch(z_hat, observed, 1).flatten().tolist() == [-0.5, 1.5, 2.0, 2.25]


def test_the_true_feature_has_no_mismatch(cpu):
    z = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)).relu()
    for rate in (0.0, 0.3, 0.7, 0.99):
        defense = topk.TopK(topk.Settings(rate))
        observed = defense.release(z, cpu.generator(0))
        assert torch.equal(defense.mismatch(z, observed, 1), torch.zeros_like(z))
