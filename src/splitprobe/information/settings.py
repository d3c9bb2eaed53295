"""The section ``information`` of params.yaml: sizes of the measures other than MINE."""

from dataclasses import dataclass

from splitprobe.core.params import bounded


@dataclass(frozen=True)
class Information:
    """Sizes of the measures.

    ``dependence_images`` go into the distance correlation. ``levels``, ``smoothing`` and ``deflate_images`` are those
    of the codes of quantized z. ``bound_images`` give the basis of the decoder bound, which has ``bound_components``
    components. Where there are fewer images, all are used.
    """

    dependence_images: int = bounded(4, 100_000)
    levels: int = bounded(2, 256)
    smoothing: float = bounded(1e-3, 100.0)
    deflate_images: int = bounded(1, 1_000_000)
    bound_images: int = bounded(2, 100_000)
    bound_components: int = bounded(1, 100_000)
