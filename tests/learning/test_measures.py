import math

import pytest
import torch
from skimage.metrics import structural_similarity

from splitprobe.learning import measures


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(40, 3, 4, 4, generator=generator), size=16, mode="bilinear")
    noisy = (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
    return smooth, noisy


def test_ssim_is_scikit_images_per_image(images):
    ours = measures.ssim(*images)
    for x, x_hat, value in zip(*images, ours, strict=True):
        reference = structural_similarity(x.double().numpy(), x_hat.double().numpy(), channel_axis=0, data_range=1.0)
        assert value.item() == pytest.approx(reference, abs=1e-6)


def test_ssim_in_training_is_the_same_in_float32_with_a_gradient(images):
    x, x_hat = (measures.unit(part).float() for part in images)
    x_hat.requires_grad_(True)
    ours = measures.ssim_in_training(x, x_hat)
    assert ours.dtype == torch.float32
    assert torch.allclose(ours.double(), measures.ssim(*images), atol=1e-4)
    ours.sum().backward()
    assert torch.isfinite(x_hat.grad).all() and x_hat.grad.abs().max() > 0


def test_ssim_depends_on_neither_batch_nor_order(images):
    whole = measures.ssim(*images)
    for size in (1, 7, 32):
        pairs = zip(images[0].split(size), images[1].split(size), strict=True)
        parts = torch.cat([measures.ssim(a, b) for a, b in pairs])
        assert torch.allclose(parts, whole, atol=1e-9)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(measures.ssim(images[0][order], images[1][order]), whole[order], atol=1e-9)


def test_the_papers_ssim_is_scikit_images_on_a_volume_and_larger(images):
    ours = measures.ssim_paper(*images)
    x, x_hat = (t[:32].double().numpy() for t in images)
    assert len(ours) == 2  # batches of 32 and 8
    assert ours[0].item() == pytest.approx(structural_similarity(x, x_hat, channel_axis=1, data_range=1.0), abs=1e-6)
    assert len(measures.ssim_paper(images[0][:5], images[1][:5])) == 0


def test_mse_and_psnr_by_hand():
    x = torch.zeros(2, 1, 8, 8)
    x_hat = torch.stack([torch.full((1, 8, 8), 0.01), torch.full((1, 8, 8), math.sqrt(0.1))])
    error = measures.mse(x, x_hat)
    assert error.tolist() == pytest.approx([1e-4, 1e-1])
    scores = measures.scores(x, x_hat)
    assert scores["psnr_db"] == pytest.approx(25.0, abs=1e-5)  # the mean of 40 and 10 dB, not 13 dB of the mean
    assert scores["psnr_db_paper"] == pytest.approx(-10 * math.log10(0.05005), abs=1e-5)
    assert scores["psnr_db_std"] == pytest.approx(math.sqrt(450), abs=1e-4)


def test_the_papers_mse_sums_over_channels(images):
    scores = measures.scores(*images)
    assert scores["mse_paper"] == pytest.approx(3 * scores["mse"])


def test_identical_images_are_infinite_decibels(images):
    scores = measures.scores(images[0], images[0])
    assert scores["mse"] == 0
    assert scores["psnr_db"] == math.inf
    assert scores["ssim"] == pytest.approx(1)


def test_uint8_and_float_agree(images):
    eight = (images[0] * 255).round().to(torch.uint8)
    assert measures.mse(eight, eight.float() / 255).max() < 1e-12


@pytest.mark.parametrize("bad", [torch.full((1, 3, 8, 8), -0.5), torch.full((1, 3, 8, 8), 200.0), torch.zeros(3, 8, 8)])
def test_another_range_or_rank_is_refused(bad):
    with pytest.raises(ValueError, match=r"\[0, 1\]|\(N, C, H, W\)"):
        measures.mse(bad, bad)


def test_nan_is_refused():
    bad = torch.full((1, 3, 8, 8), math.nan)
    with pytest.raises(ValueError, match="nan"):
        measures.mse(bad, bad)


def test_small_images_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="at least 7x7"):
        measures.ssim(torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 6, 8))
    with pytest.raises(ValueError, match="shapes must agree"):
        measures.mse(torch.zeros(1, 1, 8, 8), torch.zeros(2, 1, 8, 8))


def nearest_by_loop(x, x_hat) -> float:
    """Each reconstruction against each original, one pair after the other."""
    hits = 0
    for i, picture in enumerate(x_hat):
        errors = [(picture.double() - other.double()).square().mean().item() for other in x]
        hits += errors.index(min(errors)) == i % len(x)
    return hits / len(x_hat)


def test_identified_is_what_a_loop_over_all_pairs_finds(images):
    x, noisy = images
    blurred = x.mean((2, 3), keepdim=True).expand_as(x)
    for x_hat in (noisy, blurred, torch.cat([noisy, blurred, x])):
        assert measures.identified(x, x_hat) == pytest.approx(nearest_by_loop(x, x_hat))
    assert 1 / 40 < measures.identified(x, blurred) < 1


def test_identified_at_its_ends(images):
    x = (images[0] * 255).to(torch.uint8)
    values = x.float() / 255
    assert measures.identified(x, values) == 1
    assert measures.identified(x, values.mean(0).expand_as(values)) == pytest.approx(1 / 40)
    assert measures.identified(x, values.roll(1, 0)) == 0


def test_equal_originals_share_a_hit():
    x = torch.stack([torch.full((1, 8, 8), level) for level in (0.0, 0.0, 0.0, 1.0)])
    assert measures.identified(x, x) == pytest.approx((3 * 1 / 3 + 1) / 4)


def test_identified_refuses_unequal_counts_and_follows_a_divergence(images):
    x, noisy = images
    with pytest.raises(ValueError, match="each image is needed equally often"):
        measures.identified(x, noisy[:39])
    noisy[3, 0, 0, 0] = math.inf
    assert math.isnan(measures.identified(x, noisy))


def test_answers_without_a_feature_by_hand():
    x = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    auxiliary = torch.full((3, 3, 8, 8), 51, dtype=torch.uint8)
    floors = {name: measures.scores(x, answer) for name, answer in measures.blind(x, auxiliary).items()}
    assert floors["gray"]["mse"] == pytest.approx(0.25)
    assert floors["mean_image"]["mse"] == pytest.approx((0.04 + 0.64) / 2, abs=1e-6)
    assert floors["mean_color"]["mse"] == 0


def test_a_diverged_reconstruction_scores_nan(images):
    x_hat = images[1].clone()
    x_hat[0, 0, 0, 0] = math.nan
    scores = measures.scores(images[0], x_hat)
    assert set(scores) == set(measures.SCORES) == set(measures.scores(*images))
    assert all(math.isnan(v) for v in scores.values())
