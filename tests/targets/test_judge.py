"""The judge: its share by hand, its training on the tiny data set, and that it shares nothing with a target."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from splitprobe.core.params import ParamsError
from splitprobe.datasets.base import open_dataset
from splitprobe.learning.schedule import Course
from splitprobe.models.split import Shape
from splitprobe.targets.judge import landmarks, load_judge, recognized
from splitprobe.targets.judge_training import train_judge
from splitprobe.targets.target import QUERY, Blueprint
from splitprobe.targets.training import Settings, Trainer, tensors


class Brightness(nn.Module):
    """Logits for four classes: the level out of 0, 1/3, 2/3, 1 that an image is nearest to."""

    def forward(self, x):
        return -(x.mean((1, 2, 3))[:, None] - torch.arange(4) / 3).abs()


def test_a_share_by_hand():
    judge = SimpleNamespace(edge=nn.Identity(), cloud=Brightness(), blueprint=SimpleNamespace(shape=Shape(1, 8, 4, 8)))
    n = QUERY + 44  # more than one pass
    labels = torch.arange(n) % 4
    x = (labels / 3)[:, None, None, None].expand(n, 1, 8, 8)
    assert recognized(judge, x, labels) == 1
    assert recognized(judge, torch.full_like(x, 0.3), labels) == pytest.approx(1 / 4)  # all of class 1
    assert recognized(judge, x, labels.where(torch.arange(n) >= 30, (labels + 1) % 4)) == pytest.approx(1 - 30 / n)
    assert landmarks(judge, x[:3], torch.tensor([0, 1, 3])) == {"accuracy_on_originals": 2 / 3, "chance": 0.25}
    diverged = x.clone()
    diverged[7, 0, 0, 0] = math.nan
    assert math.isnan(recognized(judge, diverged, labels))


def test_the_stage_learns_writes_and_repeats(params, paths, cpu):
    params.tree["scales"]["judge"] |= {"epochs": 4, "lr": 5e-3}
    first, again = (train_judge("objects", params, paths, cpu) for _ in range(2))
    assert first == again == json.loads(paths.judge("objects").with_suffix(".json").read_text())
    assert first["accuracy"] > 0.5  # four colors: chance is 0.25
    assert first["chance"] == 0.25
    assert first["provenance"]["cell"] == "judge/objects"
    judge = load_judge(paths, "objects", cpu)
    images, labels = tensors(open_dataset(paths, "objects")[0], "test", cpu)
    assert recognized(judge, images.float() / 255, labels) == pytest.approx(first["accuracy"])
    assert not any(p.requires_grad for p in judge.edge.parameters())


def test_it_shares_no_random_number_with_a_target_of_its_architecture(params, paths, cpu, monkeypatch):
    """Nothing is trained here, so that the weights are the first ones."""
    monkeypatch.setattr(Trainer, "fit", lambda *_: iter(()))
    train_judge("objects", params, paths, cpu)
    judge = load_judge(paths, "objects", cpu)
    settings, plan = params.section("training", Settings), Course(1, 1e-3, "constant", 0, 0.0)
    target = Trainer(Blueprint.from_plain(judge.blueprint.plain()), settings, plan, cpu, params.seed, 16)
    ours, theirs = (half.state_dict() for half in (judge.edge, target.edge))
    assert ours.keys() == theirs.keys()
    assert not torch.equal(ours["1.0.weight"], theirs["1.0.weight"])


def test_a_missing_judge_and_an_unknown_network_are_named(params, paths, cpu):
    with pytest.raises(FileNotFoundError, match=r"judges/objects\.pt is missing: `dvc repro` trains it"):
        load_judge(paths, "objects", cpu)
    params.tree["judge"]["model"] = "resnet19"
    with pytest.raises(ParamsError, match=r"judge\.model = 'resnet19': choose one of 'cnn', 'resnet18'"):
        train_judge("objects", params, paths, cpu)
