"""A cell at other values of its settings, each trained and attacked as the cell itself would be with that value.

Only what the leaderboard and the figure ``tradeoff`` compare is kept: accuracy and the attacks' scores. Checkpoints,
reconstructions and curves are made in a folder that is thrown away.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from splitprobe.attacks.generator import train_generator
from splitprobe.attacks.optimized import run_mle
from splitprobe.core.artifacts import read_json, write_json
from splitprobe.core.cells import Cell, Paths
from splitprobe.core.registry import lookup
from splitprobe.core.runtime import Runtime
from splitprobe.defenses import DEFENSES
from splitprobe.probes.knobs import Run
from splitprobe.targets.training import train_target

log = logging.getLogger("splitprobe")


def run_sweep(cell: Cell, runs: Sequence[Run], runtime: Runtime) -> None:
    """The stage ``sweep``: train and attack each run; writes one JSON of each with the knob and the cell's results.

    Raises ParamsError for a value out of its range, before anything is trained.
    """
    for run in runs:
        lookup(DEFENSES, cell.defense, "defense").from_params(cell.defense, run.params)
    for i, run in enumerate(runs, 1):
        log.info("%d of %d: %s at %s = %g, seed %d", i, len(runs), cell.name, run.key, run.value, run.params.seed)
        with tempfile.TemporaryDirectory() as folder:
            place = borrowing(run.paths, Path(folder), ("prepared", "judges", "priors", cell.start))
            target = train_target(cell, run.params, place, runtime)
            for attack in (train_generator, run_mle):
                attack(cell.name, run.params, place, runtime)
            attacks = {family: read_json(place.result(cell.name, f"{family}.json")) for family in ("generator", "mle")}
        kept = run.paths.point(cell.name, run.key, run.value)
        write_json(kept, {"knob": {"key": run.key, "value": run.value}, "target": target, **attacks})
        log.info("of all this %s is kept", kept)


def borrowing(paths: Paths, root: Path, names: Sequence[str]) -> Paths:
    """The same place below another root, with links to some of what lies here in ``data/<scale>``."""
    other = replace(paths, root=root)
    for link, source in ((other.data / name, paths.data / name) for name in names):
        if not link.exists():  # it may lie in a folder that is already there
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source.resolve())
    return other
