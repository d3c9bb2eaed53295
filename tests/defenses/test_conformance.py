"""What every defense in the registry must keep to; a new method is tested before its author writes a test."""

import copy
import math

import pytest
import torch

from splitprobe.attacks.base import Attack
from splitprobe.core.params import Params, ParamsError
from splitprobe.core.registry import lookup
from splitprobe.defenses import DEFENSES
from splitprobe.defenses.base import Batch, Defense
from splitprobe.targets import training
from splitprobe.targets.target import Target, load_target

SLOW = {"dpsgd"}  # opacus wraps every layer
pytestmark = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in DEFENSES]
)
# the settings that take a defense's effect away, for each that keeps the plain architecture
NO_EFFECT = {
    "unprotected": {},
    "gaussian_noise": {"sigma": 0.0},
    "dropout": {"rate": 0.0},
    "nls": {"factor": 0.0},
    "bido": {"lambda_x": 0.0, "lambda_y": 0.0},
    "vib": {"beta": 0.0, "sigma": 1e-6},
    "infoscissors": {"weight": 0.0},
    "nopeek": {"weight": 0.0},
    "topk": {"rate": 0.0},
}
ANOTHER_NETWORK = {"dpsgd", "mid", "ae", "ressfl", "cem", "siftfunnel"}


OTHERS = {  # where a network needs settings of its own
    ("siftfunnel", "resnet18"): "siftfunnel_resnet18",
    ("siftfunnel", "vgg16"): "siftfunnel_vgg16",
    ("mid", "resnet18"): "mid_resnet18",
}


LAYERS = (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear)
FORMS = {"ae": "ae_adversarial", "infoscissors": "infoscissors_encoder", "bido": "bido_cka"}  # that run other code


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(16) % 4
    shade = 40 * labels[:, None, None, None] + 20
    return (shade + torch.randint(0, 60, (16, 3, 32, 32), generator=generator)).to(torch.uint8), labels


@pytest.mark.parametrize("model", ["resnet18", "vgg16"])
def test_it_trains_on_every_architecture(name, model, make_trainer, make_blueprint, batch):
    how = {"cut": 3, "model": model, "variant": OTHERS.get((name, model), "none")}
    trainer, blueprint = make_trainer(name, epochs=2, **how), make_blueprint(name, **how)
    before = [p.detach().clone() for p in trainer.edge.parameters()]
    row = trainer.epoch(*batch)
    assert all(math.isfinite(value) for value in row.values())
    moved = [not torch.equal(p, old) for p, old in zip(trainer.edge.parameters(), before, strict=True)]
    assert all(moved), "every layer of the edge must learn"
    decoder = blueprint.defense.gray_box_decoder(blueprint.layout(trainer.edge))
    if decoder is not None:
        assert decoder(torch.rand(2, *trainer.forward(*batch).z.shape[1:])).shape == (2, 3, 32, 32)


def test_every_gradient_is_finite_and_reaches_the_edge(name, make_trainer, batch):
    trainer = make_trainer(name, epochs=2)
    trainer.net.train()
    out = trainer.forward(batch[0].float() / 255, batch[1])
    assert isinstance(out, Batch)
    trainer.defense.inner_step(out)
    sum(trainer.terms(out).values()).backward()
    gradients = [p.grad for p in trainer.net.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().max() > 0 for g in (p.grad for p in trainer.edge.parameters()))


def test_steps_in_bfloat16_are_nearly_those_in_float32(name, make_trainer, batch, cpu):
    """And all layers compute in it: in float32 those of estimators and adversaries would take longer than the rest."""
    seen = {}

    def note(layer, _, out):
        if isinstance(layer, LAYERS):
            seen[layer] = out.dtype

    for variant in ("none", *([FORMS[name]] if name in FORMS else [])):
        rows = {}
        for precision in ("float32", "bfloat16"):
            trainer = make_trainer(name, epochs=2, place=cpu.at(precision), variant=variant)
            seen.clear()
            hook = torch.nn.modules.module.register_module_forward_hook(note)
            try:
                with cpu.seeded(1, "layers"):
                    for epoch in (1, 2):
                        trainer.defense.begin_epoch(epoch)
                        rows[precision] = trainer.epoch(*batch)
            finally:
                hook.remove()
            assert seen.keys() >= {m for m in trainer.net.modules() if isinstance(m, LAYERS)}
            assert [str(m) for m, dtype in seen.items() if dtype != getattr(torch, precision)] == [], variant
        for key, value in rows["float32"].items():
            assert rows["bfloat16"][key] == pytest.approx(value, rel=0.05, abs=0.02), f"{variant}: {key}"


def test_a_step_never_waits_for_the_device(name, make_trainer, batch, waits):
    """On a GPU each wait costs more than a small network's kernels, and a CUDA graph allows none."""
    if name == "dpsgd":
        pytest.skip("opacus' optimizer does, and draws its batches on the CPU")
    for variant in ("none", *([FORMS[name]] if name in FORMS else [])):
        trainer = make_trainer(name, epochs=2, variant=variant)
        trainer.net.train()
        for epoch in (1, 2):  # some terms begin with the second epoch
            trainer.defense.begin_epoch(epoch)
            trainer.step(*batch)
        with waits:
            trainer.step(*batch)
        assert not waits.found, variant


def test_a_step_may_be_recorded_where_python_keeps_nothing_of_it(name, make_trainer, batch, monkeypatch):
    def held():
        return {key: len(v) if isinstance(v, list) else id(v) for key, v in vars(trainer.defense).items()}

    asked = []
    monkeypatch.setattr(training, "Replay", lambda *arguments: asked.append(arguments[-1]))
    trainer = make_trainer(name, epochs=2)
    assert asked == [name not in ("dpsgd", "cem")]
    trainer.net.train()  # as an epoch does; opacus hooks no layer in evaluation mode
    before = held()
    trainer._step(*batch)
    if name != "dpsgd":  # whose optimizer keeps something
        assert (held() == before) == asked[0]


def test_the_same_seed_gives_the_same_weights(name, make_trainer, batch):
    runs = []
    for _ in range(2):
        one = make_trainer(name, epochs=2)
        with one.runtime.seeded(1, "layers"):
            one.epoch(*batch)
        runs.append(one.net.state_dict())
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])


def test_strength_zero_is_unprotected(name, make_trainer, params, batch):
    if name in ANOTHER_NETWORK:
        plain, own = (make_trainer(other, epochs=2).net.state_dict() for other in ("unprotected", name))
        assert [v.shape for v in own.values()] != [v.shape for v in plain.values()]
        return
    if name not in NO_EFFECT:
        pytest.skip(f"NO_EFFECT has no line with settings that make {name} do nothing")
    params.tree["defense"][name] |= NO_EFFECT[name]
    gradients = []
    for one in (make_trainer(other, epochs=2) for other in (name, "unprotected")):
        one.defense.begin_epoch(2)
        with one.runtime.seeded(1, "layers"):
            out = one.forward(batch[0].float() / 255, batch[1])
        one.defense.inner_step(out)
        sum(one.terms(out).values()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in one.net.parameters()]))
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[1].norm()


def test_the_released_feature_is_what_the_attacker_gets(name, make_target, cpu, assessed):
    target, seen = make_target(name), []
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    class Curious(Attack):
        access = "white-box"

        def reconstruct(self, z, shape):
            seen.append(z)
            return torch.zeros(len(z), *shape)

    assessed([Curious("curious", target, 7)], images, images)
    noise = cpu.generator(7, "intercepted")
    assert torch.equal(seen[0], target.defense.release(target.features(images), noise))


@pytest.mark.parametrize("queries", [1, 16])
def test_what_is_released_in_parts_is_what_is_released_of_the_whole_set(name, queries, make_target, cpu):
    target = make_target(name)
    z = target.features(torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8))
    whole = target.defense.combined_release(z, queries, cpu.generator(0, "release"))
    parts = [*target.defense.releases(z.split(2), 5, queries, cpu.generator(0, "release"))]
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat(parts), whole)


def test_training_lowers_the_loss(name, make_trainer, batch):
    one = make_trainer(name, epochs=2, lr=5e-3)
    with one.runtime.seeded(1, "layers"):
        losses = [one.epoch(*batch)["task"] for _ in range(10)]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_release_keeps_the_shape_and_is_stochastic_only_if_declared(name, make_target, cpu):
    target = make_target(name)
    z = target.features(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    first, second = (target.defense.release(z, cpu.generator(0, i)) for i in (1, 2))
    again = target.defense.release(z, cpu.generator(0, 1))
    assert first.shape == z.shape
    assert torch.equal(first, again)
    assert torch.equal(first, second) is not target.defense.stochastic


def test_one_release_alone_is_combined_with_nothing(name, make_target, cpu):
    defense, z = make_target(name).defense, torch.rand(2, 4, 8, 8)
    assert torch.equal(defense.combined_release(z, 1, cpu.generator(2)), defense.release(z, cpu.generator(2)))


def test_several_releases_are_combined_into_their_mean_or_what_tells_more(name, make_target, cpu):
    defense, generator = make_target(name).defense, cpu.generator(1)
    z = torch.rand(64, 4, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    combined = defense.combined_release(z, 9, cpu.generator(0))
    if defense.masks:  # dropout of rate 0.8: an entry that survives in any mask is exact
        union = torch.stack([defense.release(z, generator) for _ in range(9)]).amax(0)
        for found in (combined, union):
            assert ((found == z) | (found == 0)).all()
            assert (found == 0).float().mean().item() == pytest.approx(0.8**9, abs=0.01)
        return
    looped = Defense.combined_release(defense, z, 9, generator)
    for quantity in (lambda t: (t - z).mean(), lambda t: (t - z).std()):
        assert quantity(combined).item() == pytest.approx(quantity(looped).item(), rel=0.05, abs=0.01)


def test_settings_survive_a_checkpoint(name, make_target, tmp_path, cpu):
    target = make_target(name)
    target.save(tmp_path / "t.pt")
    back = load_target(tmp_path / "t.pt", cpu)
    assert back.defense.settings == target.defense.settings
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(back.features(images), target.features(images))
    assert isinstance(back, Target)
    assert not any(p.requires_grad for p in back.edge.parameters())


def test_an_unknown_setting_is_refused(name, tree):
    changed = copy.deepcopy(tree)
    changed["defense"][name]["no_such_setting"] = 1
    with pytest.raises(ParamsError, match=f"defense.{name}.no_such_setting = 1: unknown key"):
        lookup(DEFENSES, name, "defense").from_params(name, Params(changed))


def test_a_gray_box_decoder_exists_exactly_where_the_architecture_changes(name, make_target):
    target, plain = make_target(name), make_target("unprotected")
    changed = [tuple(p.shape) for p in target.edge.parameters()] != [tuple(p.shape) for p in plain.edge.parameters()]
    channels = target.edge[-1].out_channels
    decoder = target.defense.gray_box_decoder(target.blueprint.layout(target.edge))
    assert (decoder is not None) == changed
    if changed:
        assert decoder(torch.rand(2, channels, 8, 8)).shape == (2, 3, 32, 32)


def test_the_title_is_its_own(name):
    titles = [lookup(DEFENSES, other, "defense").title for other in DEFENSES]
    assert titles.count(lookup(DEFENSES, name, "defense").title) == 1
