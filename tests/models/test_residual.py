"""The strong decoder: it fits every cut, has the stated size, and sees each channel at one scale."""

import pytest
import torch
from torch import nn

from splitprobe.models.count import parameters
from splitprobe.models.residual import ResidualDecoder


@pytest.mark.parametrize("z_shape", [(3, 32, 32), (8, 16, 16), (12, 8, 8), (64, 4, 4), (64, 2, 2), (16, 1, 1)])
def test_it_fits_every_cut(z_shape):
    decoder = ResidualDecoder(z_shape, 3, 32, 16, 1).eval()
    x_hat = decoder(torch.randn(2, *z_shape, generator=torch.Generator().manual_seed(0)))
    assert x_hat.shape == (2, 3, 32, 32)
    assert x_hat.min() > 0 and x_hat.max() < 1


def test_its_blocks_never_work_on_more_than_a_quarter_of_the_side():
    sizes = []
    decoder = ResidualDecoder((8, 32, 32), 3, 32, 16, 2)
    blocks = [m for m in decoder.modules() if type(m).__name__ == "Residual"]
    for block in blocks[:2]:
        block.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[-1]))
    decoder(torch.zeros(2, 8, 32, 32))
    assert sizes == [8, 8]


def test_folding_loses_nothing():
    """Two features that differ in one entry differ after the fold."""
    fold = ResidualDecoder((1, 32, 32), 1, 32, 16, 1).net[0]
    z = torch.arange(1024.0).view(1, 1, 32, 32)
    assert sorted(fold(z).flatten().tolist()) == list(range(1024))


def test_the_size_at_the_papers_scale():
    """About 5 million at the cuts of the paper's tables, whatever the defense."""
    counts = [parameters(ResidualDecoder(z, 3, 64, 224, 4)) for z in ((256, 16, 16), (12, 16, 16), (64, 64, 64))]
    assert counts == [4_599_516, 4_107_612, 6_147_804]


def test_each_channel_is_standardized_and_a_constant_one_only_centered():
    decoder = ResidualDecoder((3, 8, 8), 3, 32, 16, 1)
    z = (
        torch.randn(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1e-4, 1.0, 50.0])[:, None, None]
    )
    z[:, 1] = 7.0
    decoder.standardize(z.split(3))
    seen = []
    decoder.net = nn.Sequential(nn.Identity())
    seen = decoder(z)
    assert seen.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-4)
    assert seen.std((0, 2, 3)).tolist() == pytest.approx([1, 0, 1], abs=1e-3)


def test_a_map_that_cannot_be_doubled_to_the_image_is_refused():
    with pytest.raises(ValueError, match="3 wide cannot be doubled to an image 32 wide"):
        ResidualDecoder((4, 3, 3), 3, 32, 16, 1)
