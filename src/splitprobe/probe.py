"""What one trained cell's feature gives away and says about the input: all attacks, then all estimates."""

from __future__ import annotations

from torch import Tensor

from splitprobe.artifacts import read_json, write_json
from splitprobe.attacks.base import intercepted, run_attacks
from splitprobe.cells import Paths
from splitprobe.information.measure import measure_information
from splitprobe.params import Params, ParamsError
from splitprobe.runtime import Runtime


def probe_target(cell: str, params: Params, paths: Paths, runtime: Runtime) -> None:
    """The stage ``probe_target`` for one repetition; its results lie beside a copy of what training noted."""
    write_json(paths.result(cell, "target.json"), read_json(paths.record(cell)))
    decoder = run_attacks(cell, params, paths, runtime).get("strong")
    if decoder is None:
        raise ParamsError("attack.generator.decoders: a bound on the information needs `strong`; list it there")

    def rebuild(images: Tensor) -> Tensor:
        return decoder.reconstruct(next(intercepted(decoder, images)), tuple(images.shape[1:]))

    measure_information(cell, params, paths, runtime, rebuild)
