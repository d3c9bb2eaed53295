"""The defenses' estimators against closed forms, reference libraries and slow forms of their formulas."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import distributions

from splitprobe.core.params import ParamsError, as_list
from splitprobe.defenses import ae, bido, infoscissors, nls
from splitprobe.learning.losses import gaussian_kl


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 2, 4, 4, generator=generator)
    return x, torch.tanh(x[:, :1, ::2, ::2]) + 0.3 * torch.randn(12, 1, 2, 2, generator=generator)


def slow_kernel(points, bandwidth):
    """BiDO's kernel, pair by pair."""
    flat = points.flatten(1).double()
    width = 2 * bandwidth**2 * flat.shape[1]
    return torch.tensor([[math.exp(-((p - q) ** 2).sum().item() / width) for q in flat] for p in flat]).double()


def slow_nocco(a, b, epsilon):
    """tr(R_a R_b) with the one-sided R = K H (K H + epsilon m I)^-1 of BiDO's code."""
    m = len(a)
    h = torch.eye(m).double() - 1 / m
    parts = [k @ h @ torch.linalg.inv(k @ h + epsilon * m * torch.eye(m).double()) for k in (a, b)]
    return torch.trace(parts[0] @ parts[1]).item()


def slow_hsic(a, b):
    """Biased HSIC, tr(K H L H) / (m - 1)^2."""
    m = len(a)
    h = torch.eye(m).double() - 1 / m
    return (torch.trace(a @ h @ b @ h) / (m - 1) ** 2).item()


def product(form, a, b, *rest):
    return (form(a, *rest) * form(b, *rest)).sum().item()


def test_the_kernel_matches_the_slow_form(pair):
    for points in pair:
        assert torch.allclose(bido.gaussian_kernel(points, 5.0), slow_kernel(points, 5.0), atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_what_is_off_the_diagonal_comes_row_by_row(n):
    values = torch.arange(float(n * n)).view(n, n)
    assert torch.equal(bido.off_diagonal(values), values[~torch.eye(n, dtype=torch.bool)])


@pytest.mark.parametrize("epsilon", [1e-5, 1e-3])
def test_nocco_matches_the_one_sided_trace(pair, epsilon):
    a, b = (bido.gaussian_kernel(points, 5.0) for points in pair)
    assert product(bido.regression, a, b, epsilon) == pytest.approx(slow_nocco(a, b, epsilon), rel=1e-6)


def test_cka_matches_normalized_hsic_and_scales_out(pair):
    x, z = pair
    a, b = (bido.gaussian_kernel(points, None) for points in pair)
    expected = slow_hsic(a, b) / math.sqrt(slow_hsic(a, a) * slow_hsic(b, b))
    assert product(bido.direction, a, b) == pytest.approx(expected, rel=1e-9)
    assert product(bido.direction, a, a) == pytest.approx(1)
    rescaled = bido.gaussian_kernel(100 * z, None)  # the median distance takes the scale along
    assert product(bido.direction, a, rescaled) == pytest.approx(expected, rel=1e-3)
    assert len(x) == 12


def test_cka_tells_x_from_shuffled_x_where_nocco_with_the_published_setting_does_not():
    generator = torch.Generator().manual_seed(1)
    causes, basis = torch.randn(64, 8, generator=generator), torch.randn(8, 3 * 8 * 8, generator=generator)
    x = (causes @ basis).reshape(64, 3, 8, 8)
    z = x[:, :2, ::2, ::2].relu()
    shuffled = x.roll(1, 0)
    values = {}
    for name, width, form in (
        ("nocco", 5.0, lambda k: bido.regression(k, 1e-5)),
        ("cka", None, bido.direction),
    ):
        own, other = (
            product(form, bido.gaussian_kernel(i, width), bido.gaussian_kernel(z, width)) for i in (x, shuffled)
        )
        values[name] = own / other
    assert values["nocco"] < 1.1
    assert values["cka"] > 3


@pytest.mark.parametrize("scale", ["unit", "normalized"])
def test_the_scale_of_x_is_the_one_named(make_trainer, params, scale):
    params.tree["defense"]["bido"] |= {"x_scale": scale, "lambda_x": 2.0, "lambda_y": 0.0, "features": "cut"}
    trainer = make_trainer("bido")
    x = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = trainer.forward(x, torch.arange(6) % 4)
    constants = params.tree["normalization"]["rgb"]
    mean, std = (torch.tensor(as_list(constants[key], float)).reshape(3, 1, 1) for key in ("mean", "std"))
    seen = x if scale == "unit" else (x - mean) / std
    expected = 2 * slow_nocco(slow_kernel(seen, 5.0), slow_kernel(batch.z.detach(), 5.0), 1e-5)
    assert trainer.defense.penalty(batch)["dependence_x"].item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("estimator", ["nocco", "cka"])
def test_a_constant_feature_has_no_dependence_and_finite_gradients(estimator, params):
    defense = with_settings(params, bido.Bido, "bido", estimator=estimator, bandwidth=None)
    x = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    z = torch.zeros(6, 2, 2, 2, requires_grad=True)
    value = (defense.kernel(x) * defense.kernel(z)).sum()
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(z.grad).all()


def with_settings(params, cls, name, **changes):
    params.tree["defense"][name] |= changes
    return cls.from_params(name, params)


def test_club_matches_all_pairs(pair):
    x, mean = pair[0], pair[0].flip(0) * 0.5 + 0.1
    flat_x, flat_mean = x.flatten(1).double(), mean.flatten(1).double()
    logs = -(flat_x[None] - flat_mean[:, None]).square().mean(2) / 2  # [i, j] = log q(x_j | z_i), per entry
    expected = (logs.diagonal() - logs.mean(1)).mean().item()
    assert infoscissors.club(x, mean).item() == pytest.approx(expected, rel=1e-5)


def test_club_on_gaussians_of_known_correlation():
    """x, z standard normal with correlation r, q = N(r z, 1): CLUB is (1 + r^2)/2 - (1 - r^2)/2 = r^2."""
    generator = torch.Generator().manual_seed(0)
    z, noise = torch.randn(2, 200_000, 1, generator=generator)
    for r in (0.0, 0.6, 0.95):
        x = r * z + math.sqrt(1 - r**2) * noise
        assert infoscissors.club(x, r * z).item() == pytest.approx(r**2, abs=0.01)


def test_the_club_estimator_improves_and_is_not_moved_by_the_network(params, make_trainer):
    trainer = make_trainer("infoscissors")
    defense, labels = trainer.defense, torch.arange(16) % 4
    images = (40 * labels[:, None, None, None] + torch.zeros(16, 3, 32, 32)).to(torch.uint8)
    batch = trainer.forward(images.float() / 255, labels)
    errors = [defense.inner_step(batch)["estimator_mse"].item() for _ in range(25)]
    assert errors[-1] < errors[0] / 2
    assert defense.estimator.steps == 25 * params.tree["defense"]["infoscissors"]["inner_steps"]
    defense.penalty(trainer.forward(images.float() / 255, labels))["club"].backward()
    assert not any(p.requires_grad for p in defense.estimator.net.parameters())
    assert any(p.grad.abs().max() > 0 for p in trainer.edge.parameters())


def test_an_estimator_that_cannot_learn_is_refused(params):
    with pytest.raises(ParamsError, match=r"defense.infoscissors.lr = 0.0: must be at least"):
        with_settings(params, infoscissors.InfoScissors, "infoscissors", lr=0.0)


@pytest.mark.parametrize(
    ("warmup", "epochs", "alone"),
    [(0.25, 8, 2), (0.1, 5, 1), (0.9, 3, 2), (0.1, 1, 0), (0.0, 5, 0)],  # rounded up, but the last epoch is in force
)
def test_the_club_estimator_learns_alone_first(params, make_trainer, warmup, epochs, alone):
    params.tree["defense"]["infoscissors"] |= {"warmup": warmup, "weight": 7.0}
    defense = make_trainer("infoscissors", epochs=epochs).defense
    weights = [defense.begin_epoch(epoch)["club_weight"] for epoch in range(1, epochs + 1)]
    assert weights == [0] * alone + [7] * (epochs - alone)
    assert defense.in_force


def test_club_with_a_variance_matches_all_pairs(pair):
    target = pair[0]
    mean, log_variance = torch.randn(2, *target.shape, generator=torch.Generator().manual_seed(1))
    t, m, v = target.flatten(1).double(), mean.flatten(1).double(), log_variance.flatten(1).double().exp()
    # [i, j] = log q(t_j | i), per entry, without the constant
    logs = -((t[None] - m[:, None]).square() / v[:, None] + v[:, None].log()).mean(2) / 2
    expected = (logs.diagonal() - logs.mean(1)).mean().item()
    assert infoscissors.club(target, mean, log_variance).item() == pytest.approx(expected, rel=1e-4)


def test_the_encoder_form_is_the_one_of_the_paper_s_code():
    """Its CLUB has 5.11 million weights for 64 x 64 RGB and z of 256 x 16 x 16; the log-variance ends in a Tanh."""
    with torch.device("meta"):
        net = infoscissors.Encoder(3 * 64 * 64, 256 * 16 * 16, 32)
    assert sum(p.numel() for p in net.parameters()) == 5_111_872
    small = infoscissors.Encoder(12, 8, 4)
    x, z = torch.rand(5, 3, 2, 2), torch.rand(5, 2, 2, 2)
    mean, log_variance = small(50 * x)
    assert mean.shape == log_variance.shape == (5, 8)
    assert log_variance.abs().max() <= 1
    mean, log_variance = small(x)
    likelihood = distributions.Normal(mean, (log_variance / 2).exp()).log_prob(z.flatten(1)).mean()
    expected = -2 * likelihood.item() - math.log(2 * math.pi)
    assert infoscissors.encoder_loss(small, x, z).item() == pytest.approx(expected, rel=1e-5)


def test_the_encoder_form_penalizes_its_bound(params, make_trainer):
    params.tree["defense"]["infoscissors"] |= {"form": "encoder", "weight": 3.0, "warmup": 0.0}
    trainer = make_trainer("infoscissors")
    trainer.defense.begin_epoch(1)
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = trainer.forward(x, torch.arange(8) % 4)
    errors = [trainer.defense.inner_step(batch)["estimator_mse"].item() for _ in range(10)]
    assert errors[-1] < errors[0] / 2
    term = trainer.defense.penalty(batch)["club"]
    with torch.no_grad():
        expected = 3 * infoscissors.club(batch.z, *trainer.defense.estimator.net(x)).item()
    assert term.item() == pytest.approx(expected)
    term.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in trainer.edge.parameters())


def test_gaussian_kl_is_the_library_s():
    generator = torch.Generator().manual_seed(0)
    mean, deviation = torch.randn(50, generator=generator), torch.rand(50, generator=generator) + 0.01
    reference = distributions.kl_divergence(distributions.Normal(mean, deviation), distributions.Normal(0.0, 1.0))
    assert torch.allclose(gaussian_kl(mean, deviation), reference, rtol=1e-4)
    assert gaussian_kl(torch.zeros(1), torch.ones(1)).item() == 0


def test_negative_smoothing_honors_the_sign_and_the_ramp(params):
    defense = nls.NegativeLabelSmoothing.from_params("nls", params)
    defense.epochs = 8
    factors = [defense.begin_epoch(epoch)["smoothing_factor"] for epoch in range(1, 9)]
    assert factors == pytest.approx([0, 0, 0, 0, 0, -0.0125, -0.05, -0.05])
    # why there is a constant form: ten epochs of a cosine give the full factor 2 % of the sum of learning rates
    defense.epochs = 10
    rates = {epoch: (1 + math.cos(math.pi * (epoch - 1) / 10)) / 2 for epoch in range(1, 11)}
    full = sum(rate for epoch, rate in rates.items() if defense.begin_epoch(epoch)["smoothing_factor"] == -0.05)
    assert full / sum(rates.values()) == pytest.approx(0.022, abs=5e-4)
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, 3, 0])
    logs = logits.log_softmax(1)
    expected = (-1.05 * logs[torch.arange(5), y] + 0.05 * logs.mean(1)).mean().item()
    assert defense.task_loss(logits, y).item() == pytest.approx(expected, rel=1e-5)


def test_a_constant_factor_is_in_force_from_the_first_epoch(params):
    defense = with_settings(params, nls.NegativeLabelSmoothing, "nls", schedule="constant")
    defense.epochs = 8
    assert [defense.begin_epoch(epoch)["smoothing_factor"] for epoch in range(1, 9)] == [-0.05] * 8
    assert defense.in_force


def test_sobel_is_scipy_s():
    images = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    for gradient, axis in zip(ae.sobel(images), (-1, -2), strict=True):
        planes = [[ndimage.sobel(plane.numpy(), axis=axis) for plane in image] for image in images]
        assert torch.allclose(gradient, torch.tensor(np.array(planes))[..., 1:-1, 1:-1], atol=1e-5)
