import math
import zlib
from itertools import pairwise

import pytest
import torch

from splitprobe.information import gaussian
from splitprobe.information.entropy import Quantizer, coded_bits, deflate_bits, entropy, histograms

SMOOTHING = 0.5


def measured(fit, test, levels=256, deflate_images=1000):
    """As measure.py runs it: the range and the histograms of ``fit``, in batches."""
    parts = (z.split(100) for z in (fit, test))
    return entropy(Quantizer.fit(fit.split(100), levels), *parts, SMOOTHING, deflate_images)


def per_entry(found, z):
    return found["coded_bits_per_image"] / z[0].numel()


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def test_uniform_levels_cost_eight_bits_and_every_entry_counts():
    z = torch.randint(0, 256, (400, 2, 32, 32), generator=source()).float()
    found, counts = measured(z[:200], z[200:])
    assert per_entry(found, z) == pytest.approx(8, abs=0.01)
    assert found["raw_bits_per_image"] == 8 * 2048
    assert (found["levels"], found["fit_images"], found["images"]) == (256, 200, 200)
    assert counts.shape == (2, 256)
    assert counts.sum(1).tolist() == [200 * 1024] * 2
    assert counts[1].tolist() == torch.bincount(z[:200, 1].flatten().int(), minlength=256).tolist()
    # random bytes: no compressor gains, and this one loses a few bytes
    assert 8 * 2048 < found["deflate_bits_per_image"] < 8 * 2048 + 200


@pytest.mark.parametrize("deviation", [0.1, 3.0])
@pytest.mark.parametrize("levels", [256, 16])
def test_a_quantized_gaussian_costs_its_closed_form(deviation, levels):
    z = deviation * torch.randn(600, 1, 16, 16, generator=source()) - 7
    found, _ = measured(z[:300], z[300:], levels)
    quantizer = Quantizer.fit([z[:300]], levels)
    low, high = quantizer.low.item(), quantizer.high.item()
    step = (high - low) / (levels - 1)
    edges = [-math.inf, *(low + (k - 0.5) * step for k in range(1, levels)), math.inf]
    below = [math.erfc((-7 - edge) / deviation / math.sqrt(2)) / 2 for edge in edges]
    shares = [b - a for a, b in pairwise(below)]
    exact = -sum(p * math.log2(p) for p in shares if p > 0)
    assert per_entry(found, z) == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize(("width", "levels"), [(0.2, 3), (0.7, 256), (20.0, 256), (1e6, 256)])
def test_the_closed_form_for_given_steps(width, levels):
    """Against counting a large sample; a very wide one is all at both ends."""
    z = (width * torch.randn(400_000, generator=source()) + (levels - 1) / 2).round().clamp(0, levels - 1)
    shares = torch.bincount(z.int(), minlength=levels).double() / len(z)
    counted = -torch.special.xlogy(shares, shares).sum().item() / math.log(2)
    assert gaussian.quantized_entropy(width, levels) == pytest.approx(counted, abs=0.01)


def test_a_constant_channel_costs_nothing_whatever_comes_later():
    z = torch.randn(80, 3, 8, 8, generator=source())
    z[:40, 1] = 0.25
    found, _ = measured(z[:40], z[40:])
    alone, _ = measured(z[:40, [0, 2]], z[40:, [0, 2]])
    assert found["constant_channels"] == 1
    assert found["coded_bits_per_image"] == pytest.approx(alone["coded_bits_per_image"])
    dead, _ = measured(torch.zeros(4, 2, 3, 3), torch.ones(4, 2, 3, 3))
    assert dead["coded_bits_per_image"] == 0


def test_two_equiprobable_levels_cost_one_bit():
    z = torch.randint(0, 2, (400, 1, 32, 32), generator=source()) * 5.0 - 2
    found, _ = measured(z[:200], z[200:])
    assert per_entry(found, z) == pytest.approx(1, abs=0.01)


def test_code_lengths_by_hand():
    fitted, counts = torch.tensor([[3, 1, 0, 0]]), torch.tensor([[2, 0, 1, 0]])
    # shares (3.5, 1.5, 0.5, 0.5) / 6
    slow = -2 * math.log2(3.5 / 6) - math.log2(0.5 / 6)
    assert coded_bits(fitted, counts, 0.5).tolist() == pytest.approx([slow])


def test_no_code_is_shorter_than_the_histogram_of_what_it_codes():
    """Gibbs: the cross-entropy is at least the entropy, however much the test images differ."""
    fit = torch.randn(50, 2, 8, 8, generator=source())
    test = 0.3 * torch.randn(50, 2, 8, 8, generator=source(1)) + 1
    found, _ = measured(fit, test)
    quantized = Quantizer.fit([fit], 256)(test)
    shares = histograms(quantized, 256).double() / (50 * 64)
    own = -(torch.special.xlogy(shares, shares) / math.log(2)).sum().item() * 64
    assert found["coded_bits_per_image"] > own


def test_quantization_keeps_the_ends_rounds_to_the_nearest_and_clips():
    quantizer = Quantizer(torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 0.0]), 5)
    z = torch.tensor([-9.0, -1.0, -0.76, -0.74, 0.0, 0.5, 1.0, 9.0]).reshape(8, 1).repeat(1, 2)
    assert quantizer(z).T.tolist() == [[0, 0, 0, 1, 2, 3, 4, 4], [0] * 8]
    assert quantizer(z).dtype == torch.uint8


def test_the_range_is_each_channels_own_over_all_batches():
    z = torch.randn(10, 3, 4, 4, generator=source())
    quantizer = Quantizer.fit(z.split(4), 256)
    assert torch.equal(quantizer.low, z.amin((0, 2, 3)))
    assert torch.equal(quantizer.high, z.amax((0, 2, 3)))


def test_deflate_is_zlib_on_each_images_bytes():
    quantized = torch.randint(0, 3, (3, 2, 5, 5), generator=source()).to(torch.uint8)
    quantized[2] = 7
    slow = [8 * len(zlib.compress(bytes(image.flatten().tolist()), 9)) for image in quantized]
    assert deflate_bits(quantized) == sum(slow)
    assert deflate_bits(quantized.to(memory_format=torch.channels_last)) == sum(slow)
    # one repeated byte: header, checksum and a run
    assert deflate_bits(torch.full((1, 64, 8, 8), 9, dtype=torch.uint8)) < 8 * 32


def test_deflate_sees_the_first_images_only():
    z = torch.zeros(300, 1, 8, 8)
    z[:150] = torch.randint(0, 256, (150, 1, 8, 8), generator=source()).float()
    few, all_of_them = (measured(z, z, deflate_images=n)[0] for n in (130, 1000))
    assert (few["deflate_images"], all_of_them["deflate_images"]) == (130, 300)
    assert few["images"] == 300
    quantized = Quantizer.fit([z], 256)(z)
    assert few["deflate_bits_per_image"] == deflate_bits(quantized[:130]) / 130
    assert all_of_them["deflate_bits_per_image"] == deflate_bits(quantized) / 300


def test_features_that_are_not_finite_have_no_length():
    z = torch.randn(8, 2, 4, 4, generator=source())
    z[0, 0, 0, 0] = math.nan
    assert math.isnan(measured(z, z)[0]["coded_bits_per_image"])


def test_nothing_to_measure_is_refused():
    z = torch.randn(4, 1, 2, 2, generator=source())
    with pytest.raises(ValueError, match="range of no feature"):
        Quantizer.fit([], 256)
    with pytest.raises(ValueError, match="one to test"):
        entropy(Quantizer.fit([z], 256), [z], [], SMOOTHING, 10)
    with pytest.raises(ValueError, match="one image to fit"):
        entropy(Quantizer.fit([z], 256), [], [z], SMOOTHING, 10)
