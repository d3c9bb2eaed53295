"""What every defense in the registry must keep to; a new method is tested before its author writes a test."""

import copy

import pytest
import torch

from splitprobe.defenses import DEFENSES
from splitprobe.defenses.base import Batch
from splitprobe.models.split import Shape
from splitprobe.params import Params, ParamsError
from splitprobe.registry import lookup
from splitprobe.schedule import Schedule
from splitprobe.target import Blueprint, Target, load_target
from splitprobe.training import Settings, Trainer

pytestmark = pytest.mark.parametrize("name", list(DEFENSES))


@pytest.fixture
def trainer(params, cpu, make_cell):
    def make(name: str, lr: float = 1e-3) -> Trainer:
        blueprint = Blueprint.from_params(make_cell(name), Shape(3, 32, 4, 8), params)
        return Trainer(blueprint, params.section("training", Settings), Schedule(2, lr, "constant"), cpu, 1)

    return make


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(16) % 4
    shade = 40 * labels[:, None, None, None] + 20
    return (shade + torch.randint(0, 60, (16, 3, 32, 32), generator=generator)).to(torch.uint8), labels


def test_every_gradient_is_finite_and_reaches_the_edge(name, trainer, batch):
    trainer = trainer(name)
    trainer.net.train()
    out, terms = trainer.forward(batch[0].float() / 255, batch[1])
    assert isinstance(out, Batch)
    sum(terms.values()).backward()
    gradients = [p.grad for p in trainer.net.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().max() > 0 for g in (p.grad for p in trainer.edge.parameters()))


def test_the_same_seed_gives_the_same_weights(name, trainer, batch):
    runs = []
    for _ in range(2):
        one = trainer(name)
        with one.runtime.seeded(1, "layers"):
            one.epoch(*batch)
        runs.append(one.net.state_dict())
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])


def test_training_lowers_the_loss(name, trainer, batch):
    one = trainer(name, lr=5e-3)
    with one.runtime.seeded(1, "layers"):
        losses = [one.epoch(*batch)["task"] for _ in range(15)]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_release_keeps_the_shape_and_is_stochastic_only_if_declared(name, make_target, cpu):
    target = make_target(name)
    z = target.features(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    first, second = (target.defense.release(z, cpu.generator(0, i)) for i in (1, 2))
    again = target.defense.release(z, cpu.generator(0, 1))
    assert first.shape == z.shape
    assert torch.equal(first, again)
    assert torch.equal(first, second) is not target.defense.stochastic


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
    decoder = target.defense.gray_box_decoder(channels, 2, 8, 3)
    assert (decoder is not None) == changed
    if changed:
        assert decoder(torch.rand(2, channels, 8, 8)).shape == (2, 3, 32, 32)


def test_the_title_is_its_own(name):
    titles = [lookup(DEFENSES, other, "defense").title for other in DEFENSES]
    assert titles.count(lookup(DEFENSES, name, "defense").title) == 1
