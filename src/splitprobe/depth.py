"""One trained network cut behind each of its blocks: what leaks where. Nothing is trained again for another cut."""

from __future__ import annotations

from typing import Protocol

from splitprobe.attacks.base import run_attacks
from splitprobe.cells import Cell, Paths
from splitprobe.information.measure import measure_information
from splitprobe.params import Params
from splitprobe.runtime import Runtime
from splitprobe.training import train_target


class Sweep(Protocol):
    """A line under ``vars: depths:`` in dvc.yaml: ``cuts`` of the unprotected network in the file ``start``."""

    group: str
    dataset: str
    model: str
    start: str
    cuts: int


def measure_depth(sweep: Sweep, params: Params, paths: Paths, runtime: Runtime) -> list[Cell]:
    """The stage ``measure_depth``: cells ``<group>/cut1``, ... with all results that other cells have; returns them."""
    names = {"defense": "unprotected", "variant": "none", "ablation": "none", "tune": "defense.unprotected"}
    cells = [
        Cell(
            name=f"{sweep.group}/cut{cut}",
            dataset=sweep.dataset,
            model=sweep.model,
            cut=cut,
            start=sweep.start,
            **names,
        )
        for cut in range(1, sweep.cuts + 1)
    ]
    for cell in cells:
        train_target(cell, params, paths, runtime)
        measure_information(cell.name, params, paths, runtime)
        run_attacks(cell.name, params, paths, runtime)
    return cells
