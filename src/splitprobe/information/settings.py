"""The section ``information`` of params.yaml: sizes of the measures that stand beside MINE."""

from dataclasses import dataclass

from splitprobe.params import bounded


@dataclass(frozen=True)
class Information:
    """Images behind the distance correlation, codes of the quantized z, principal components of the decoder bound."""

    dependence_images: int = bounded(4, 100_000)
    levels: int = bounded(2, 256)
    smoothing: float = bounded(1e-3, 100.0)
    deflate_images: int = bounded(1, 1_000_000)
    bound_images: int = bounded(2, 100_000)
    bound_components: int = bounded(1, 100_000)
