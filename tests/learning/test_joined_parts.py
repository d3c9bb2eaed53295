"""Sets that come in parts are what they are as a whole."""

import pytest
import torch

from splitprobe.learning.parts import Moments, all_finite, joined, pixels


def source(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_parts_are_joined_in_their_layout(layout):
    whole = torch.randn(7, 3, 4, 4, generator=source()).contiguous(memory_format=layout)
    found = joined(iter(whole.split(3)), 7)
    assert torch.equal(found, whole) and found.stride() == whole.stride()
    only = torch.ones(2, 3)
    assert joined([only], 2) is only


@pytest.mark.parametrize("n", [6, 8])
def test_parts_of_another_set_are_refused(n):
    with pytest.raises(ValueError, match=f"7 rows in all the parts of a set of {n}"):
        joined(torch.ones(7, 2).split(3), n)
    with pytest.raises(ValueError, match="0 rows"):
        joined([], 1)


def test_moments_are_those_of_the_whole_set():
    z = torch.randn(50, 4, 3, 3, generator=source()) * torch.tensor([1e-4, 1.0, 50.0, 0.0])[:, None, None] + 7
    for size in (50, 16, 1):
        statistics = Moments()
        for part in z.split(size):
            statistics.add(part)
        for found, expected in zip(statistics.result(), torch.std_mean(z, (0, 2, 3), keepdim=True), strict=True):
            assert torch.equal(found, expected)
    assert statistics.result()[0].flatten()[3] == 0, "a constant channel"


def test_bytes_are_divided_and_floats_left_alone():
    images = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    assert torch.equal(pixels(images), torch.tensor([[0.0, 0.2, 1.0]]))
    floats = images.float()
    assert pixels(floats) is floats


def test_a_value_that_is_not_finite_is_found_in_any_part():
    values = torch.zeros(5000, 2)
    assert all_finite(values)
    values[4999, 1] = float("nan")
    assert not all_finite(values)
