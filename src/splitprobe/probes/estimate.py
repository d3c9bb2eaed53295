"""What one cell's feature says about the input: every measure of information, a decoder's error among them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from splitprobe.attacks.generator import load_decoders
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.core.runtime import Runtime
from splitprobe.information.measure import measure_information
from splitprobe.targets.target import load_target


def train_mine(cell: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """The stage ``train_mine`` for one repetition; returns what :func:`measure_information` does."""
    target = load_target(paths.target(cell), runtime)
    decoder = load_decoders(target, params.seed, paths)["strong"]

    def rebuild(images: Tensor) -> Tensor:
        return decoder.rebuild(images, 1)

    return measure_information(target, params, paths, rebuild)
