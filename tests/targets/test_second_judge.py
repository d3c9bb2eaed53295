"""The second judge: what it learns from blurred images, what it states, and where there is none."""

import pytest
import torch
from torch.nn import functional as F

from splitprobe.core.artifacts import strict
from splitprobe.datasets.base import NO_CLASS
from splitprobe.targets.judge import recognized
from splitprobe.targets.second_judge import DIVERGED, UNLABELLED, SecondJudge, Settings, adapt
from splitprobe.targets.target import Target

SETTINGS = Settings(steps=50, lr=0.1, images=16)


@pytest.fixture
def toy(cpu, make_target):
    """Stripes, upright in class 0 and lying in class 1, and a judge with one filter that sees them when they are sharp.

    Its logits are the sums of squares of the vertical and of the horizontal differences, less a threshold that a
    blurred image does not reach.
    """
    line = torch.sin(torch.arange(16) * torch.pi / 2 + torch.linspace(0, 6, 40)[:, None])
    line = line[:, :, None].expand(40, 16, 16)
    labels = torch.arange(40) % 2
    x = torch.where(labels[:, None, None] == 0, line.transpose(1, 2), line)[:, None]
    images = ((x + 1) * 127.5).round().to(torch.uint8)

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = torch.nn.Parameter(torch.eye(2)), torch.nn.Parameter(torch.tensor([0.0, 0.05]))

        def forward(self, x):
            across, down = (x.diff(dim=dim).square().mean((1, 2, 3)) for dim in (3, 2))
            return torch.stack([across, down], 1) @ self.weight + self.bias

    plain = make_target()
    judge = Target(plain.blueprint, torch.nn.Sequential(torch.nn.Identity()), torch.nn.Sequential(Head()), cpu, {})
    return judge.freeze(), images, labels


def blurred(images):
    return F.avg_pool2d(F.pad(images.float() / 255, (2, 2, 2, 2), mode="reflect"), 5, stride=1)


def test_it_knows_blurred_images_whose_class_survives(toy):
    """Blur leaves a fifth of a stripe's contrast, a twenty-fifth of its square: the bias of the judge decides."""
    judge, images, labels = toy
    x_hat, before = blurred(images), {k: v.clone() for k, v in judge.cloud.state_dict().items()}
    assert (recognized(judge, images.float() / 255, labels), recognized(judge, x_hat, labels)) == (1, 0.5)
    second = adapt(judge, images, x_hat, labels, SETTINGS, 1)
    assert second.share(x_hat, labels) == {"recognized_adapted": 1}
    assert second.landmarks(images.float() / 255, labels) == {
        "adapted_accuracy_on_originals": 1,
        "adapted_steps": 50,
        "adapted_images": 40,
    }
    assert all(torch.equal(value, before[key]) for key, value in judge.cloud.state_dict().items())
    assert not any(p.requires_grad for p in second.judge.cloud.parameters())


def test_the_same_seed_gives_the_same_judge(toy):
    judge, images, labels = toy
    few = Settings(steps=3, lr=0.05, images=8)
    one, same, other = (adapt(judge, images, blurred(images), labels, few, seed).plain() for seed in (1, 1, 2))
    assert torch.equal(one["weights"]["cloud"]["0.weight"], same["weights"]["cloud"]["0.weight"])
    assert not torch.equal(one["weights"]["cloud"]["0.weight"], other["weights"]["cloud"]["0.weight"])


def test_a_step_by_hand(toy):
    """Adam's first step moves each weight by its rate, against the sign of its gradient."""
    judge, images, labels = toy
    x_hat, head = blurred(images), judge.cloud[0]
    head.requires_grad_(True)
    both = torch.cat([images.float() / 255, x_hat])
    F.cross_entropy(head(both), labels.repeat(2)).backward()
    expected = head.weight.detach() - 0.01 * head.weight.grad.sign()
    head.requires_grad_(False)
    second = adapt(judge, images, x_hat, labels, Settings(steps=1, lr=0.01, images=40), 1)
    assert torch.allclose(second.judge.cloud[0].weight, expected, atol=1e-5)


def test_without_labels_or_with_a_decoder_that_diverged_there_is_none(toy):
    judge, images, labels = toy
    for second, reason in (
        (adapt(judge, images, blurred(images), torch.full_like(labels, NO_CLASS), SETTINGS, 1), UNLABELLED),
        (adapt(judge, images, blurred(images) / 0, labels, SETTINGS, 1), DIVERGED),
    ):
        found = second.share(blurred(images), labels)
        assert found == {"recognized_adapted": None, "recognized_adapted_reason": reason}
        assert strict(found) == found
        key = "adapted_accuracy_on_originals"
        assert second.landmarks(images, labels) == {key: None, f"{key}_reason": reason}
        assert SecondJudge.from_plain(second.plain(), judge) == second
    half = labels.where(torch.arange(40) < 20, NO_CLASS)
    assert adapt(judge, images, blurred(images), half, Settings(1, 0.1, 8), 1).facts["adapted_images"] == 20


def test_it_comes_back_from_a_checkpoint_as_it_was(toy):
    judge, images, labels = toy
    second = adapt(judge, images, blurred(images), labels, SETTINGS, 1)
    again = SecondJudge.from_plain(second.plain(), judge)
    assert torch.equal(again.judge.cloud[0].weight, second.judge.cloud[0].weight)
    assert (again.facts, again.reason) == (second.facts, "")
    with pytest.raises(KeyError):
        SecondJudge.from_plain({"weights": {"edge": {}}, "facts": {}, "reason": ""}, judge)
