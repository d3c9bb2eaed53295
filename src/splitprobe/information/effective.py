"""Effective information: the mean number of non-zero entries of z per image (the paper's |z|)."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor


def effective_information(batches: Iterable[Tensor]) -> dict[str, Any]:
    """Counts over batches of released features (B, c, h, w).

    Gives non-zeros per image, the capacity c h w, their ratio, and the number of channels and of dead ones. A dead
    channel is zero in every image and position. The count is exact and therefore blind to scale: noise makes it
    maximal, and after a ReLU it mostly counts live channels. Raises ValueError when there is no image at all.
    """
    images, nonzero, live, shape = 0, 0, False, None
    for z in batches:
        is_nonzero = z != 0
        images, nonzero = images + len(z), nonzero + int(is_nonzero.sum())
        live, shape = is_nonzero.transpose(0, 1).flatten(1).any(1) | live, z.shape[1:]
    if not images:
        raise ValueError("effective information of no feature at all: give at least one image")
    return {
        "nonzero_per_image": nonzero / images,
        "capacity": shape.numel(),
        "density": nonzero / images / shape.numel(),
        "channels": shape[0],
        "dead_channels": shape[0] - int(live.sum()),
    }
