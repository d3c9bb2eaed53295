"""What every table and figure starts from: its rows in params.yaml and the results of the stages behind them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from splitprobe.artifacts import read_json, read_npz
from splitprobe.cells import Paths
from splitprobe.params import Params, ParamsError
from splitprobe.report.spread import merged

# which stage writes which of a cell's results
STAGES = {
    "target": "probe_target",
    "information": "probe_target",
    "generator": "probe_target",
    "mle": "probe_target",
    "cost": "measure_cost",
}
DEPTH = "depth_"  # begins the groups whose cells one stage makes: the cuts of one network
UNPROTECTED = "unprotected"  # the row without a defense
NO_REFERENCE = "no unprotected row of this dataset and model to compare with"
# a row is part of file names, so nothing that leads out of a folder may pass
NAME = re.compile(r"[\w-]+(/[\w-]+)*")


@dataclass(frozen=True)
class Results:
    """One cell's results, as the stages' JSON has them; ``key`` is the list of rows that asked for it.

    Of several seeds it holds the means (see :mod:`spread`), and ``runs`` the results of each; images and curves are
    those of the first.
    """

    key: str
    cell: str
    paths: Paths
    records: Mapping[str, Any]
    runs: "tuple[Results, ...]" = ()

    def __getitem__(self, stage: str) -> Any:
        return self.records[stage]

    @property
    def seeds(self) -> "tuple[Results, ...]":
        """The results of each seed; of the only one, itself."""
        return self.runs or (self,)

    @property
    def seed(self) -> int:
        """The seed of defender and attacker; of several, the first."""
        return self.seeds[0].records["target"]["provenance"]["seed"]

    @property
    def title(self) -> str:
        """The method's name for readers."""
        return self["target"]["title"]

    @property
    def defense(self) -> str:
        """The method's name in params.yaml; rows that are variants of one method share it."""
        return self["target"]["cell"]["defense"]

    @property
    def row(self) -> str:
        """The cell's name without its group, which is also its row in the paper's tables where those have one."""
        return self.cell.partition("/")[2]

    @property
    def network(self) -> tuple[str, str]:
        """(dataset, model): rows that agree in it can be compared with the same unprotected row."""
        return self["target"]["cell"]["dataset"], self["target"]["cell"]["model"]

    def identity(self, stage: str) -> dict[str, Any]:
        """The first columns of a CSV line: which row this is, and where a stage's result comes from."""
        cell, source = self["target"]["cell"], self[stage]["provenance"]
        place = {key: cell[key] for key in ("dataset", "model", "cut", "defense", "variant")}
        return {"row": self.cell, "title": self.title, **place, **{k: source[k] for k in ("scale", "device")}} | {
            "seeds": " ".join(str(run[stage]["provenance"]["seed"]) for run in self.seeds)
        }

    def images(self, stage: str) -> dict[str, Any]:
        """Reconstructions of ``generator`` or ``mle``: uint8 arrays (N, H, W, C), the originals under ``x``."""
        return self.arrays(stage)

    def arrays(self, name: str) -> dict[str, Any]:
        """An .npz file of the cell's probes: reconstructions, or the ``histograms`` of z."""
        return read_npz(_existing(self.key, self.cell, "probe_target", self.paths.result(self.cell, f"{name}.npz")))

    def curve(self, stage: str) -> Path:
        """The CSV file with one line per epoch or step of a stage; it has no lines where nothing was trained."""
        file = self.paths.curve(self.cell, {"information": "mine"}.get(stage, stage))
        return _existing(self.key, self.cell, STAGES[stage], file)


def rows(params: Params, name: str) -> list[str]:
    """The rows of a table or figure, in the order in which it shows them: the list ``rows.<name>`` of params.yaml.

    Raises ParamsError when it is no list of distinct names.
    """
    key = f"rows.{name}"
    # this list alone, so that another table's rows do not rebuild this one
    params.read.add(key)
    names = params.raw(key)
    if not isinstance(names, list) or not names:
        raise ParamsError(f"{key} = {names!r}: a list of at least one row is needed")
    for row in names:
        if not isinstance(row, str) or not NAME.fullmatch(row):
            raise ParamsError(f"{key}: {row!r} is no row; a name such as cnn/unprotected is needed")
        if names.count(row) > 1:
            raise ParamsError(f"{key}: {row!r} is listed twice")
    return names


class LeftOut(Exception):
    """Nothing to show: a table's or figure's rows are all left out at this scale."""


def left_out(params: Params, paths: Paths, name: str) -> list[str]:
    """The rows of ``rows.<name>`` whose groups have no seed at this scale."""
    return [row for row in rows(params, name) if paths.left_out(row)]


def collect(
    params: Params, paths: Paths, name: str, stages: Sequence[str], optional: Sequence[str] = ()
) -> list[Results]:
    """The results of all rows of ``rows.<name>``, from the given stages, and from ``optional`` ones that have run.

    Without the rows that are left out at this scale. Raises ParamsError naming the row and the stage whose result is
    absent, LeftOut when no row remains.
    """
    absent = left_out(params, paths, name)
    kept = [row for row in rows(params, name) if row not in absent]
    if not kept:
        raise LeftOut(f"{name} is left out at scale {paths.scale}: its rows have no seed there")
    return [_collected(f"rows.{name}", row, paths, stages, optional) for row in kept]


def _collected(key: str, cell: str, paths: Paths, stages: Sequence[str], optional: Sequence[str]) -> Results:
    """One cell's results of all seeds."""
    runs = []
    for own in paths.probed(cell) or [paths.seeded(0)]:  # without any, the error names a file that is not there
        files = {stage: _existing(key, cell, STAGES[stage], result_file(own, cell, stage)) for stage in stages}
        more = {stage: result_file(own, cell, stage) for stage in optional}
        files |= {stage: file for stage, file in more.items() if file.is_file()}
        runs.append(Results(key, cell, own, {stage: read_json(file) for stage, file in files.items()}))
    return combined(runs)


def combined(runs: Sequence[Results]) -> Results:
    """The results of several seeds as one, the means first; of a single seed, as they are."""
    if len(runs) == 1:
        return runs[0]
    means = {stage: merged([run[stage] for run in runs]) for stage in runs[0].records}
    return replace(runs[0], records=means, runs=tuple(runs))


def result_file(paths: Paths, cell: str, stage: str) -> Path:
    """Where a stage's result lies; latency is measured once, whatever the seeds."""
    return paths.cost(cell) if stage == "cost" else paths.result(cell, f"{stage}.json")


def absent(key: str, row: str, stage: str, file: Path) -> ParamsError:
    """The error for a row whose stage has not run."""
    instance = f"measure_depth@{row.split('/')[0]}" if row.startswith(DEPTH) else f"{stage}@{row}"
    return ParamsError(
        f"{key}: {row!r} has no {file}; stage {instance} builds it (dvc repro {instance}), "
        f"provided that dvc.yaml lists {row}"
    )


def _existing(key: str, cell: str, stage: str, file: Path) -> Path:
    if not file.is_file():
        raise absent(key, cell, stage, file)
    return file


def labels(results: Sequence[Results]) -> dict[str, str]:
    """Cell to title; titles that several cells share are told apart by the cell's name."""
    # one defense may stand in several rows, with other settings or on another model
    titles = [r.title for r in results]
    return {r.cell: r.title if titles.count(r.title) == 1 else f"{r.title} ({r.cell})" for r in results}


def reference(results: Sequence[Results], of: Results, row: str = UNPROTECTED) -> Results | None:
    """The row that a row is compared with, usually the unprotected one: the first on the same dataset and model."""
    return next((r for r in results if r.row == row and r.network == of.network), None)


def distinct(values: Iterable[Any]) -> str:
    """Values for a caption: one if all agree, a range of numbers, or a list in order of appearance."""
    seen = list(dict.fromkeys(values))
    if len(seen) > 1 and all(isinstance(v, int | float) for v in seen):
        return f"{_plain(min(seen))} to {_plain(max(seen))}"
    return " / ".join(map(_plain, seen))


def _plain(value: Any) -> str:
    return {int: "{:,}", float: "{:g}"}.get(type(value), "{}").format(value)


def origin(results: Sequence[Results], shown: str = "", spreads: bool = True) -> str:
    """Seeds and devices behind some results, for a caption.

    ``shown``: what is there of each row's first seed alone; ``spreads``: whether means stand beside their spread.
    """
    sources = [record["provenance"] for r in results for run in r.seeds for record in run.records.values()]
    seeds = list(dict.fromkeys(source["seed"] for source in sources))
    counted = {len(r.seeds) for r in results}
    text = f"Seed {seeds[0]}" if len(seeds) == 1 else f"Seeds {', '.join(map(str, sorted(seeds)))}"
    spread = ""
    if max(counted, default=1) > 1:
        fewer = sum(len(r.seeds) < max(counted) for r in results)
        spread = ": mean ± standard deviation [number of seeds]" if spreads else ": means"
        spread += f"; {fewer} of {len(results)} rows have fewer seeds" if fewer else ""
        spread += f"; {shown} of seed {distinct(r.seed for r in results)}" if shown else ""
    return f"{text}{spread}; {distinct(s['device'] for s in sources)}"


def data(results: Sequence[Results]) -> str:
    """Title, image size and number of images of the data behind some results, for a caption."""
    parts = []
    for name in dict.fromkeys(r.network[0] for r in results):
        d = next(r["target"]["dataset"] for r in results if r.network[0] == name)
        color = "color" if d["channels"] == 3 else "gray"
        parts.append(
            f"{d['title']}, {d['side']} × {d['side']} {color}, {d['classes']} classes, {d['train']:,} training, "
            f"{d['validation']:,} validation, {d['test']:,} test and {d['auxiliary']:,} auxiliary images"
        )
    return "; ".join(parts)
