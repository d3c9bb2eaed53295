import copy

import pytest
import torch

from splitprobe.defenses import DEFENSES, dropout, gaussian_noise
from splitprobe.defenses.base import Batch
from splitprobe.defenses.siftfunnel import Architecture, Loss, SiftFunnel
from splitprobe.defenses.siftfunnel import Settings as SiftSettings
from splitprobe.losses import distance_correlation, kl_divergence, pearson, smoothed_labels
from splitprobe.params import Params, ParamsError
from splitprobe.registry import lookup


@pytest.fixture
def z():
    return torch.rand(64, 8, 6, 6, generator=torch.Generator().manual_seed(0)) + 0.5


def test_noise_has_the_stated_deviation(z, cpu):
    sent = gaussian_noise.GaussianNoise(gaussian_noise.Settings(0.8)).release(z, cpu.generator(0))
    assert (sent - z).std().item() == pytest.approx(0.8, rel=0.02)
    assert (sent - z).mean().item() == pytest.approx(0, abs=0.02)


def test_dropout_zeroes_its_share_and_does_not_rescale(z, cpu):
    sent = dropout.FeatureDropout(dropout.Settings(0.8)).release(z, cpu.generator(0))
    assert (sent == 0).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert torch.equal(sent[sent != 0], z[sent != 0])


@pytest.mark.parametrize(
    "none", [gaussian_noise.GaussianNoise(gaussian_noise.Settings(0.0)), dropout.FeatureDropout(dropout.Settings(0.0))]
)
def test_strength_zero_is_unprotected(none, z, cpu):
    assert torch.equal(none.release(z, cpu.generator(0)), z)


def test_siftfunnel_adds_its_weighted_terms():
    loss = Loss(alpha_kl=3.5, label_smoothing=0.35, lambda_dcor=0.8, lambda_pearson=0.6, lambda_l1=0.03)
    defense = SiftFunnel(SiftSettings(Architecture(12, "text", 32, 4, 6, True, True), loss))
    generator = torch.Generator().manual_seed(0)
    x, z = torch.rand(6, 3, 8, 8, generator=generator), torch.randn(6, 4, 4, 4, generator=generator)
    logits, y = torch.randn(6, 5, generator=generator), torch.arange(6) % 5
    terms = defense.penalty(Batch(x, y, z, logits, ()))
    assert terms["dcor"].item() == pytest.approx(0.8 * distance_correlation(x, z).item())
    assert terms["pearson"].item() == pytest.approx(0.6 * pearson(z).item())
    assert terms["l1"].item() == pytest.approx(0.03 * z.abs().mean().item())
    expected = 3.5 * kl_divergence(logits, smoothed_labels(y, 5, 0.35)).item()
    assert defense.task_loss(logits, y).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("loss", "lambda_dcor", -1.0), ("loss", "label_smoothing", 1.0)],
)
def test_loss_weights_out_of_range_are_named(tree, section, key, value):
    changed = copy.deepcopy(tree)
    changed[section][key] = value
    with pytest.raises(ParamsError, match=f"{section}.{key} = {value}"):
        SiftFunnel.from_params("siftfunnel", Params(changed))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ParamsError, match=r"defense = 'nois': choose one of unprotected, gaussian_noise"):
        lookup(DEFENSES, "nois", "defense")
