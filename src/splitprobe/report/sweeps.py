"""Sweeps: Table II's cells at other values of one setting, as DVC experiments, and what became of them.

Usage: ``python -m splitprobe.report.sweeps queue [--dry-run] [--seeds 1,2]`` puts the experiments of ``sweeps:`` in
params.yaml into DVC's queue (``dvc queue start`` runs them), for these of Table II's seeds or for all; ``python -m
splitprobe.report.sweeps collect`` writes the points of all finished ones to plots/<scale>/sweeps/table2.csv, which the
figure ``tradeoff`` and the table ``leaderboard`` read.

An experiment is a point of a sweep when its key is the only difference from the workspace that matters to the cell,
but for its seeds: they may be some of the workspace's, since accuracy is compared with the unprotected network of the
same seeds.
"""

import io
import json
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitprobe.artifacts import read_csv, write_csv
from splitprobe.cells import Paths
from splitprobe.params import Params, ParamsError, typed
from splitprobe.report.results import rows
from splitprobe.runtime import run_stage

log = logging.getLogger("splitprobe")
SCORES = ("accuracy_percent", "accuracy_change_points", "strongest_psnr_db")
SEEDED = ("accuracy_percent", "strongest_psnr_db")  # those that are kept of each seed as well
COLUMNS = ("cell", "key", "value", "seeds", *SCORES, *(f"seed_{key}" for key in SEEDED), "experiment", "revision")
# refs/exps also holds the queue (stash, celery) and the running experiment (exec, apply): those are no results
EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)")
# sections without a say in a cell's accuracy and attacks
UNRELATED = ("leaderboard", "criterion", "judge", "knowledge", "rows", "sweeps", "runtime", "cost", "mine")
UNRELATED += ("information", "calibration", "ablation")
USAGE = "usage: python -m splitprobe.report.sweeps queue [--dry-run] [--seeds 1,2] | collect"
TABLE = "table2"  # what an experiment builds


@dataclass(frozen=True)
class Sweep:
    """A cell, the dotted key that is varied, and its values."""

    cell: str
    key: str
    values: tuple[float, ...]

    def seeds(self, params: Params) -> list[int]:
        """The seeds that a tree repeats the cell with; they stand under the cell's table group."""
        return params.raw(seeds_key(params.scale, self.cell))


@dataclass(frozen=True)
class Experiment:
    """A finished experiment: its name and its commit's hash."""

    name: str
    revision: str


def seeds_key(scale: str, cell: str) -> str:
    """Where the seeds of one of Table II's cells stand: its group there is the first part of its name."""
    return f"scales.{scale}.seeds.{cell.partition('/')[0]}"


def points_file(paths: Paths) -> Path:
    """Where the points of a scale lie: plots/<scale>/sweeps/table2.csv."""
    return paths.figure(f"sweeps/{TABLE}", "csv")


def points(paths: Paths) -> list[dict[str, Any]]:
    """The collected points, scores as numbers, those of each seed as lists; none when nothing was collected yet."""
    file, found = points_file(paths), []
    for line in read_csv(file) if file.is_file() else []:
        if all(line[key] for key in SCORES):
            each = {f"seed_{key}": [float(score) for score in line.get(f"seed_{key}", "").split()] for key in SEEDED}
            found.append(line | {key: float(line[key]) for key in SCORES} | each)
    return found


def sweeps(params: Params) -> list[Sweep]:
    """The list ``sweeps`` of params.yaml.

    Raises ParamsError for a key that params.yaml lacks or that is no number, and for a cell that Table II lacks.
    """
    found, table = params.raw("sweeps"), rows(params, TABLE)
    if not isinstance(found, list):
        raise ParamsError(f"sweeps = {found!r}: a list is needed")
    listed = [typed(Sweep, item, f"sweeps[{i}]") for i, item in enumerate(found)]
    for i, sweep in enumerate(listed):
        if sweep.cell not in table:
            raise ParamsError(f"sweeps[{i}].cell = {sweep.cell!r}: not in rows.table2, which has {', '.join(table)}")
        if type(params.raw(sweep.key)) not in (int, float):
            raise ParamsError(f"sweeps[{i}].key = {sweep.key!r}: its value {params.raw(sweep.key)!r} is no number")
    return listed


def commands(listed: Sequence[Sweep], scale: str, seeds: str = "") -> list[list[str]]:
    """The commands that queue the sweeps, for some seeds or for all; two cells with the same command share it."""
    made = []
    for sweep in listed:
        # 12 and not 12.0, since a whole number's type is checked
        settings = ["-S", f"{sweep.key}={','.join(f'{value:.12g}' for value in sweep.values)}"]
        if seeds:
            settings += ["-S", f"{seeds_key(scale, sweep.cell)}=[{seeds}]"]
        command = ["dvc", "exp", "run", "--queue", *settings, f"build_table@{TABLE}"]
        if command not in made:
            made.append(command)
    return made


def queue(params: Params, dry: bool, seeds: str = "") -> None:
    """Queue all sweeps, each command shown first; a dry run only shows them.

    ``seeds``: some of Table II's, with commas between them; empty for all. Raises ValueError when a command fails, and
    ParamsError for a seed that the table has not.
    """
    listed = sweeps(params)
    for sweep in listed if seeds else ():
        known = sweep.seeds(params)
        if not {*seeds.split(",")} <= {*map(str, known)}:
            raise ParamsError(f"--seeds {seeds}: {seeds_key(params.scale, sweep.cell)} has {known}; take some of these")
    for command in commands(listed, params.scale, seeds):
        log.info("%s", " ".join(command))
        if not dry and subprocess.run(command, check=False).returncode:
            raise ValueError(f"{' '.join(command)} failed; its own message stands above")


def collect(params: Params, paths: Paths) -> None:
    """Write the points of all finished experiments at the workspace's scale, and log how many were left out and why.

    Raises ValueError outside a git repository.
    """
    listed, found, left = sweeps(params), {}, Counter()
    finished = experiments(paths.root)
    for experiment in finished:  # older ones first: of points with as many seeds the newest counts
        tree = _tree(paths.root, experiment)
        if tree is None or tree.scale != params.scale:
            left["of another scale" if tree else "without a params.yaml that can be read"] += 1
            continue
        for sweep in listed:
            line = _point(params, paths, tree, sweep, experiment, left)
            place = line and tuple(line[key] for key in COLUMNS[:3])
            if line and (place not in found or _repeats(line) >= _repeats(found[place])):
                found[place] = line
    lines = [found[key] for key in sorted(found)]
    write_csv(points_file(paths), lines, COLUMNS)
    log.info("%d points of %d experiments: %s", len(lines), len(finished), points_file(paths))
    for reason, count in left.items():
        log.info("left out: %d %s", count, reason)
    if not finished:
        log.info("there are no experiments yet; `queue` and then `dvc queue start` make some")


def _point(
    params: Params, paths: Paths, tree: Params, sweep: Sweep, experiment: Experiment, left: Counter
) -> dict[str, Any] | None:
    """The experiment's line for one sweep, or None when it has none; ``left`` counts the ones that are a pity."""
    changed = differing(params.tree, tree.tree, params.scale, sweep)
    if sweep.key not in changed:
        return None  # another sweep's experiment: this cell is as in the workspace
    others = sorted(changed - {sweep.key, seeds_key(params.scale, sweep.cell)})
    if others:
        left[f"for {sweep.cell}: other settings differ too ({', '.join(others)})"] += 1
        return None
    seeds = sweep.seeds(tree)
    if not {*seeds} <= {*sweep.seeds(params)}:
        left[f"for {sweep.cell}: seeds {seeds}, not all of which the workspace has"] += 1
        return None
    file = paths.table(TABLE).relative_to(paths.root) / f"{sweep.cell}.json"
    text = _git(paths.root, "show", f"{experiment.revision}:./{file.as_posix()}", missing="")
    row = json.loads(text) if text else {}
    if any(key not in row for key in SCORES):
        left[f"for {sweep.cell}: without the scores in {file.as_posix()}"] += 1
        return None
    value = float(tree.raw(sweep.key))
    each = {
        key: [row.get(f"seed_{seed}_{key}", row[key] if len(seeds) == 1 else None) for seed in seeds] for key in SEEDED
    }
    return {
        **{"cell": sweep.cell, "key": sweep.key, "value": value, "seeds": " ".join(map(str, seeds))},
        **{key: row[key] for key in SCORES},
        # empty for an experiment that did not keep its seeds apart
        **{f"seed_{key}": "" if None in scores else " ".join(map(str, scores)) for key, scores in each.items()},
        **{"experiment": experiment.name, "revision": experiment.revision[:12]},
    }


def _repeats(line: Mapping[str, Any]) -> int:
    """How many seeds a point is the mean of."""
    return len(line["seeds"].split())


def differing(ours: Mapping, theirs: Mapping, scale: str, sweep: Sweep) -> set[str]:
    """The dotted keys with different values in two trees, or in one alone, as far as they matter to a sweep's cell.

    A key that only one tree has counts: that version of the code may have trained in another way. Left out: other
    scales, sections without a say in the scores, and the sections of other defenses and variants.
    """
    row = sweep.cell.rpartition("/")[2]
    mine, other = _leaves(ours), _leaves(theirs)
    changed = set()
    absent = object()
    for key in (key for key in mine.keys() | other.keys() if mine.get(key, absent) != other.get(key, absent)):
        section, *rest = key.split(".")
        if section == "scales":
            seeds = rest[1] == "seeds" and key != seeds_key(scale, sweep.cell)
            foreign = rest[0] != scale or rest[1] in UNRELATED or seeds
        elif section in ("defense", "variants"):
            # a row is named after its defense, its variant or both: bido_cka runs bido
            named = row.startswith(rest[0]) or row.endswith(rest[0])
            foreign = not named and not sweep.key.startswith(f"{section}.{rest[0]}.")
        else:
            foreign = section in UNRELATED
        if not foreign:
            changed.add(key)
    return changed


def _leaves(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """Dotted key to value; lists are values."""
    leaves = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= _leaves(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves


def experiments(root: Path) -> list[Experiment]:
    """All finished experiments that git holds, oldest first. Raises ValueError when ``root`` is in no repository."""
    form = "%(committerdate:unix) %(objectname) %(refname)"
    lines = _git(root, "for-each-ref", f"--format={form}", "refs/exps").splitlines()
    found = []
    for date, revision, ref in (line.split(" ", 2) for line in lines):
        match = EXPERIMENT.fullmatch(ref)
        if match:
            found.append((int(date), match[1], revision))
    return [Experiment(name, revision) for _, name, revision in sorted(found)]


def _tree(root: Path, experiment: Experiment) -> Params | None:
    """The experiment's params.yaml; None when it has none that this version can read."""
    text = _git(root, "show", f"{experiment.revision}:./params.yaml", missing="")
    try:
        return Params.load(io.StringIO(text))  # it reads from an open file as well as from a path
    except ParamsError:
        return None


def _git(root: Path, *arguments: str, missing: str | None = None) -> str:
    """What git prints; ``missing`` in place of an error when that is given."""
    run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    if run.returncode and missing is None:
        where = root.resolve()
        raise ValueError(f"{where}: git cannot read experiments here ({run.stderr.strip()}); is it a git repository?")
    return missing if run.returncode else run.stdout


def main(arguments: list[str]) -> None:
    """Run the command that the arguments name."""
    params = Params.load()
    command, *options = arguments or [""]
    dry = "--dry-run" in options
    match [option for option in options if option != "--dry-run"]:
        case [] if command == "queue":
            queue(params, dry)
        case ["--seeds", seeds] if command == "queue":
            queue(params, dry, seeds)
        case [] if command == "collect" and not dry:
            collect(params, Paths(params.scale))
        case _:
            raise ValueError(f"{' '.join(arguments) or 'no command'}: {USAGE}")


if __name__ == "__main__":
    run_stage(main)
