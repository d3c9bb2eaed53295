import pytest
import torch

from splitprobe.learning.augment import TO_YIQ, _bases, _chroma, augment


@pytest.fixture
def x():
    return torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


def test_the_bases_are_made_once_and_undo_each_other(cpu):
    to, back = _bases(cpu.device)
    assert _bases(cpu.device)[0] is to
    assert torch.equal(to, torch.tensor(TO_YIQ))
    assert torch.allclose(to @ back, torch.eye(3), atol=1e-6)


def test_nothing_asked_nothing_done(x, cpu):
    assert augment(x, False, 0.0, cpu.generator(0)) is x


def test_flips_are_mirror_images_of_about_half(x, cpu):
    y = augment(x, True, 0.0, cpu.generator(0))
    flipped = [(a == b.flip(2)).all().item() for a, b in zip(y, x, strict=True)]
    same = [(a == b).all().item() for a, b in zip(y, x, strict=True)]
    assert all(f != s for f, s in zip(flipped, same, strict=True))
    assert 20 < sum(flipped) < 44


@pytest.mark.parametrize("draws", [(0.5, 0, 0, 0), (0, -1.0, 0, 0), (0, 0, 0.7, 0)])
def test_each_factor_is_torchvisions(x, draws, monkeypatch):
    from torchvision.transforms import functional as reference  # seconds of imports that only this test needs

    fixed = torch.tensor(draws)[:, None].expand(4, len(x))
    monkeypatch.setattr(torch, "rand", lambda *size, **options: (fixed + 1) / 2)
    ours = augment(x, False, 0.2, None)
    brightness, contrast, saturation = (1 + 0.2 * d for d in draws[:3])
    theirs = reference.adjust_brightness(x, brightness)
    theirs = torch.stack([reference.adjust_contrast(image, contrast) for image in theirs])
    theirs = reference.adjust_saturation(theirs, saturation)
    assert torch.allclose(ours, theirs, atol=2e-3)  # its luma weights have three or four digits


def test_hue_keeps_luma_and_a_full_turn_is_nothing(x):
    quarter, full = _chroma(torch.ones(1), torch.tensor([1.5])), _chroma(torch.ones(1), torch.tensor([2 * torch.pi]))
    luma = torch.tensor(TO_YIQ[0])
    colors = x[0].flatten(1)
    assert torch.allclose(luma @ (quarter[0] @ colors), luma @ colors, atol=1e-5)
    assert torch.allclose(full[0] @ colors, colors, atol=1e-5)
    assert not torch.allclose(quarter[0] @ colors, colors, atol=1e-2)


def test_gray_images_keep_one_channel_and_the_range(cpu):
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = augment(x, True, 0.5, cpu.generator(0))
    assert y.shape == x.shape
    assert 0 <= y.min() <= y.max() <= 1
    assert not torch.equal(y, x)


def test_each_image_has_its_own_draw(cpu):
    x = torch.full((8, 3, 4, 4), 0.5)
    x[:, 0] = 0.3
    y = augment(x, False, 0.2, cpu.generator(0))
    assert len({round(v, 5) for v in y[:, 0, 0, 0].tolist()}) == 8
