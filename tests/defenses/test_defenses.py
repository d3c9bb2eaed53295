import copy
import math

import pytest
import torch
from torch import distributions
from torch.nn import functional as F

from splitprobe.core.params import Params, ParamsError
from splitprobe.core.registry import lookup
from splitprobe.defenses import DEFENSES, dropout, gaussian_noise
from splitprobe.defenses.base import Batch, Defense
from splitprobe.defenses.siftfunnel import Architecture, Loss, SiftFunnel
from splitprobe.defenses.siftfunnel import Settings as SiftSettings
from splitprobe.learning.losses import distance_correlation, kl_divergence, pearson, smoothed_labels
from splitprobe.models import count
from splitprobe.models.split import Shape


@pytest.fixture
def z():
    return torch.rand(64, 8, 6, 6, generator=torch.Generator().manual_seed(0)) + 0.5


def test_noise_has_the_stated_deviation(z, cpu):
    sent = gaussian_noise.GaussianNoise(gaussian_noise.Settings(0.8)).release(z, cpu.generator(0))
    assert (sent - z).std().item() == pytest.approx(0.8, rel=0.02)
    assert (sent - z).mean().item() == pytest.approx(0, abs=0.02)


def test_dropout_zeroes_its_share_and_does_not_rescale(z, cpu):
    sent = dropout.FeatureDropout(dropout.Settings(0.8, 0.1)).release(z, cpu.generator(0))
    assert (sent == 0).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert torch.equal(sent[sent != 0], z[sent != 0])


class Halved(Defense):
    """Sends each entry at every other query, the first ones first."""

    masks = True  # the line
    calls = 0

    def release(self, z, generator):
        self.calls += 1
        return z * (torch.arange(z.shape[-1]) % 2 == self.calls % 2)


def test_a_defense_that_masks_says_so_in_one_line(cpu):
    """Entries 1 and 3 are in the first and the last of three releases, 0 and 2 in the second: not a third of each."""
    z = torch.tensor([2.0, 3.0, 4.0, 0.0]).reshape(1, 1, 1, 4)
    assert torch.equal(Halved(None).combined_release(z, 3, cpu.generator(0)), z)
    assert Halved(None).combined_release(z, 1, cpu.generator(0)).flatten().tolist() == [0, 3, 0, 0]
    plain = Halved(None)
    plain.masks = False
    assert plain.combined_release(z, 4, cpu.generator(0)).flatten().tolist() == [1, 1.5, 2, 0]


PAPER_WIDTH = [  # edge parameters at width 128 on RGB, the paper's Table II, and those of the gray-box decoder
    ("unprotected", "none", 299_520, None),
    ("dpsgd", "none", 299_520, None),
    ("mid", "none", 299_520, None),
    ("ae", "none", 2_365_056, 2_006_659),
    ("ae", "ae_adversarial", 2_365_056, 2_006_659),
    ("siftfunnel", "architecture", 14_890, 80_555),
    ("siftfunnel", "siftfunnel_code", 16_354, 80_555),
]


@pytest.mark.parametrize(("name", "variant", "edge_parameters", "decoder_parameters"), PAPER_WIDTH)
def test_sizes_at_the_paper_s_width(make_blueprint, name, variant, edge_parameters, decoder_parameters):
    with torch.device("meta"):  # MID's bottleneck has 268 million weights
        blueprint = make_blueprint(name, variant, shape=Shape(3, 64, 10, 128))
        edge, cloud = blueprint.build()
        decoder = blueprint.defense.gray_box_decoder(blueprint.layout(edge))
    assert count.parameters(edge) == edge_parameters
    assert (decoder and count.parameters(decoder)) == decoder_parameters
    if name == "mid":
        assert count.parameters(cloud[-2]) == 16384 * 16384 + 16384  # to the moments of half of 16,384


def test_the_deeper_funnel_of_resnet18_at_the_paper_s_width(make_blueprint):
    """231,832 of the authors' class, the two blocks that it runs for nothing, our shortcut around the next."""
    how = {"model": "resnet18", "cut": 5, "shape": Shape(3, 64, 530, 64)}
    with torch.device("meta"):
        blueprint = make_blueprint("siftfunnel", "siftfunnel_resnet18_faces", **how)
        edge, _ = blueprint.build()
    assert count.parameters(edge) == 231_832 + 2 * 73_984 + 64 * 128 + 2 * 128
    assert edge[-1].out_channels == 6


def test_variants_change_what_they_name_and_nothing_else(make_blueprint):
    def settings(name, variant):
        return make_blueprint(name, variant).defense.plain()

    plain, changed = settings("bido", "none"), settings("bido", "bido_cka")
    differing = {key: value for key, value in changed.items() if plain[key] != value}
    assert differing == {"lambda_x": 1.0, "lambda_y": 10.0, "estimator": "cka", "bandwidth": None}
    for name, variant, change in (
        ("bido", "bido_unit", {"x_scale": "unit"}),
        ("nls", "nls_constant", {"schedule": "constant"}),
        ("vib", "vib_mean", {"send": "mean"}),
        ("infoscissors", "infoscissors_encoder", {"form": "encoder"}),
        ("ae", "ae_inert", {"l1": 0.001}),
        ("ae", "ae_adversarial", {"l1": 0.0, "adversary": 1.0}),
        ("gaussian_noise", "noise_trained", {}),
        ("dropout", "dropout_trained", {}),
    ):
        plain, changed = settings(name, "none"), settings(name, variant)
        assert {key: value for key, value in changed.items() if plain[key] != value} == change
    parts = {part: settings("siftfunnel", variant)[part] for part, variant in
             (("architecture", "siftfunnel_code"), ("loss", "siftfunnel_l1"))}  # fmt: skip
    plain = settings("siftfunnel", "none")
    assert parts["architecture"] == {**plain["architecture"], "tail": "code"}
    assert parts["loss"] == {**plain["loss"], "lambda_l1": 0.005}
    assert settings("siftfunnel", "architecture")["architecture"] == settings("siftfunnel", "none")["architecture"]
    assert settings("siftfunnel", "architecture")["loss"]["lambda_dcor"] == 0


def test_an_ablation_stands_on_a_variant(params):
    varied = params.varied("variants.siftfunnel_resnet18").varied("ablation.no_funnel")
    architecture = SiftFunnel.from_params("siftfunnel", varied).settings.architecture
    assert (architecture.channels, architecture.out_se_reduction, architecture.funnel) == (2, 16, False)
    with pytest.raises(ParamsError, match=r"ablation\.nobody: missing"):
        params.varied("ablation.nobody")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defense": {"bido": {"lambda_w": 1.0}}}, "variants.bido_cka.defense.bido.lambda_w = 1.0: unknown key"),
        ({"attack": {}}, "variants.bido_cka.attack = .*known here: title, defense, loss, training, target"),
        ({"defense": {"bido": {"lambda_x": -1.0}}}, "defense.bido.lambda_x = -1.0: must be at least 0"),
    ],
)
def test_a_wrong_variant_is_named(params, make_blueprint, changes, message):
    params.tree["variants"]["bido_cka"] = changes
    with pytest.raises(ParamsError, match=message):
        make_blueprint("bido", "bido_cka")


def test_the_funnel_without_losses_is_trained_with_cross_entropy(make_blueprint):
    defense = make_blueprint("siftfunnel", "architecture").defense
    logits, y = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 5
    assert defense.task_loss(logits, y).item() == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-6)
    batch = Batch(torch.rand(6, 3, 8, 8), y, torch.rand(6, 4, 4, 4), logits, ())
    assert all(term == 0 for term in defense.penalty(batch).values())


def test_mid_samples_in_training_and_at_test(make_target):
    target = make_target("mid")
    z = target.features(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    assert not torch.equal(target.logits(z), target.logits(z))
    moments = target.cloud[:-1](z)
    mean, deviation = target.cloud[-1][0].moments(moments)
    assert moments.shape == (4, 2 * mean.shape[1])
    assert mean.shape[1] == 64 * 2 * 2 // 2
    assert deviation.mean().item() == pytest.approx(math.log1p(math.exp(-5)), rel=0.1)  # softplus(0 - 5)


def test_vib_that_sends_the_mean_adds_noise_in_training_alone(params, make_target, cpu):
    params.tree["defense"]["vib"]["send"] = "mean"
    defense, z = make_target("vib").defense, torch.rand(64, 8, 6, 6) + 0.5
    assert defense.stochastic is False
    assert defense.release(z, cpu.generator(0)) is z
    assert defense.combined_release(z, 16, cpu.generator(0)) is z
    noise = defense.training_release(z, cpu.generator(0)) - z
    assert noise.std().item() == pytest.approx(defense.settings.sigma, rel=0.02)
    params.tree["defense"]["vib"]["send"] = "sample"
    sampled = make_target("vib").defense
    assert sampled.stochastic is True
    assert torch.equal(sampled.release(z, cpu.generator(0)), sampled.training_release(z, cpu.generator(0)))


def test_mid_and_vib_penalize_their_kl(make_target):
    generator = torch.Generator().manual_seed(0)
    z, y, logits = torch.rand(6, 4, 2, 2, generator=generator), torch.arange(6) % 3, torch.zeros(6, 3)
    normal = distributions.Normal(0.0, 1.0)
    vib = make_target("vib").defense
    reference = distributions.kl_divergence(distributions.Normal(z, 0.5), normal).mean()
    assert vib.penalty(Batch(z, y, z, logits, ()))["kl"].item() == pytest.approx(reference.item(), rel=1e-5)
    raw = torch.randn(6, 8, generator=generator)
    deviation = F.softplus(raw[:, 4:] - 5)
    reference = distributions.kl_divergence(distributions.Normal(raw[:, :4], deviation), normal).sum(1).mean()
    mid = make_target("mid").defense
    term = mid.penalty(Batch(z, y, z, logits, (z, raw, logits)))["kl"].item()
    assert term == pytest.approx(0.01 * reference.item(), rel=1e-4)


def test_the_adversary_is_rewarded_for_what_its_reconstructor_gets_wrong(make_trainer):
    trainer = make_trainer("ae", variant="ae_adversarial")
    labels = torch.arange(16) % 4
    images = (40 * labels[:, None, None, None] + torch.zeros(16, 3, 32, 32)).to(torch.uint8)
    batch = trainer.forward(images.float() / 255, labels)
    errors = [trainer.defense.inner_step(batch)["adversary_error"].item() for _ in range(20)]
    assert errors[-1] < errors[0] / 1.5
    reward, net = trainer.defense.penalty(batch)["adversary"], trainer.defense.estimator.net
    assert reward.item() == pytest.approx(-trainer.defense.reconstruction_error(net, batch.x, batch.z).item())
    reward.backward()
    assert not any(p.requires_grad for p in net.parameters())
    assert trainer.defense.estimator.steps == 20 * trainer.defense.settings.inner_steps
    assert any(p.grad.abs().max() > 0 for p in trainer.edge.parameters())


@pytest.mark.parametrize(
    "none",
    [gaussian_noise.GaussianNoise(gaussian_noise.Settings(0.0)), dropout.FeatureDropout(dropout.Settings(0.0, 0.1))],
)
def test_strength_zero_is_unprotected(none, z, cpu):
    assert torch.equal(none.release(z, cpu.generator(0)), z)


def test_siftfunnel_adds_its_weighted_terms():
    loss = Loss(alpha_kl=3.5, label_smoothing=0.35, lambda_dcor=0.8, lambda_pearson=0.6, lambda_l1=0.03)
    defense = SiftFunnel(SiftSettings(Architecture(12, 1, True, "text", (1,), (32,), 4, 6, True, True), loss))
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
