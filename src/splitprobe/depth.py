"""One trained network cut behind each of its blocks: what leaks where. Nothing is trained again for another cut."""

from __future__ import annotations

from typing import Protocol

from splitprobe.cells import Cell, Paths
from splitprobe.params import Params
from splitprobe.probe import probe_target
from splitprobe.runtime import Runtime
from splitprobe.training import train_target


class Sweep(Protocol):
    """A line under ``vars: depths:`` in dvc.yaml: ``cuts`` of the unprotected network in ``start``."""

    group: str
    dataset: str
    model: str
    start: str
    cuts: int


def measure_depth(sweep: Sweep, params: Params, paths: Paths, runtime: Runtime) -> list[Cell]:
    """The stage ``measure_depth``: cells ``<group>/cut1``, ... with all results that other cells have; returns them."""
    names = {"architecture": "unprotected", "defense": "unprotected", "tune": "defense.unprotected"}
    names |= {"group": sweep.group, "variant": "none", "ablation": "none"}
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
        probe_target(cell.name, params, paths, runtime)
    return cells
