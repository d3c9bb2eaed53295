"""Cells (one split network to be judged) and every artifact path: the only place with file names."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from splitprobe.params import Params, ParamsError


@dataclass(frozen=True)
class Cell:
    """One split network to be judged, as a line under ``vars: cells:`` in dvc.yaml writes it.

    ``name`` is ``<table group>/<row>``; ``group`` is the entry of ``scales.<scale>.seeds`` that says how often it is
    repeated; ``start`` is what lies below ``data/<scale>/`` and training begins with: the data set's summary for fresh
    weights, another cell's targets for a method that acts at inference only. ``architecture`` is the defense that
    lends it its networks, ``unprotected`` for the plain ones. ``variant`` is a section of ``variants`` in params.yaml
    that changes some of the defense's settings, ``ablation`` one of ``ablation`` that takes a part of it away.
    """

    name: str
    group: str
    dataset: str
    model: str
    cut: int
    architecture: str
    defense: str
    variant: str
    ablation: str
    tune: str
    start: str

    @property
    def reuses_weights(self) -> bool:
        """Whether the weights come from another cell's target."""
        return self.start.startswith("targets/")


@dataclass(frozen=True)
class Paths:
    """Where the artifacts of one scale lie, below ``root`` (the repository).

    A cell's own are kept by ``seed``: each repetition has its file or folder.
    """

    scale: str
    root: Path = Path(".")
    seed: int | None = None

    def seeded(self, seed: int) -> "Paths":
        """The same place for one repetition."""
        return replace(self, seed=seed)

    def trained(self, cell: str) -> "list[Paths]":
        """The place of each repetition whose target is there, in the order of their seeds."""
        return self._repeated(self.data / "targets" / cell, "*.pt")

    def first(self, cell: str) -> "Paths":
        """The first of these, for what is measured once; raises ParamsError where the cell's group is left out."""
        for place in self.trained(cell):
            return place
        raise ParamsError(f"{cell} has no target: scales.{self.scale}.seeds needs a seed for its group")

    def probed(self, cell: str) -> "list[Paths]":
        """The same of those whose results are there."""
        return self._repeated(self.data / "results" / cell, "*")

    def left_out(self, cell: str) -> bool:
        """Whether the cell's stages ran and had nothing to do, since its group has no seed at this scale."""
        own = self.data / "results" / cell
        # the cuts of a network lie in a folder that one stage makes
        folder = own if own.is_dir() else own.parent
        # a probe that was broken off leaves its folder empty as well, but it had a target
        return folder.is_dir() and not any(folder.iterdir()) and not self.trained(cell)

    def tried(self) -> list[list[Path]]:
        """The files of each setting that a sweep tried, in the order of their seeds."""
        folders = sorted((self.data / "sweeps").glob("*/*"))
        found = [sorted(folder.glob("*.json"), key=lambda file: int(file.stem)) for folder in folders]
        return [files for files in found if files]

    def promise(self, stage: str, name: str) -> None:
        """Create the folders that dvc.yaml promises of a stage: where a group is left out, it writes nothing there."""
        targets, results = self.data / "targets" / name, self.data / "results" / name
        curves = self.root / "plots" / self.scale / "curves" / name
        folders = {
            "train_target": (targets, curves / "target"),
            "probe_target": (results, curves / "probes"),
            "measure_depth": (targets, results, curves),
            "sweep": (self.swept(name),),
        }
        for folder in folders[stage]:
            folder.mkdir(parents=True, exist_ok=True)

    def _repeated(self, folder: Path, pattern: str) -> "list[Paths]":
        return [self.seeded(seed) for seed in sorted(int(p.stem) for p in folder.glob(pattern) if p.stem.isdigit())]

    @property
    def data(self) -> Path:
        """The folder that DVC's cache fills."""
        return self.root / "data" / self.scale

    def prepared(self, dataset: str) -> Path:
        """Folder with images.npz, summary.json and rejected.csv."""
        return self.data / "prepared" / dataset

    def images(self, dataset: str) -> Path:
        """uint8 images, labels and split codes."""
        return self.prepared(dataset) / "images.npz"

    def summary(self, dataset: str) -> Path:
        """Class list, image shape and Table I's row."""
        return self.prepared(dataset) / "summary.json"

    def rejected(self, dataset: str) -> Path:
        """The files that were left out, each with its reason."""
        return self.prepared(dataset) / "rejected.csv"

    def recipe(self, script: str) -> Path:
        """The code and settings that all cells of a script share."""
        return self.data / "recipes" / f"{script}.txt"

    def target(self, cell: str) -> Path:
        """Checkpoint of the trained edge and cloud."""
        return self.started(f"targets/{cell}")

    def started(self, start: str) -> Path:
        """The checkpoint of this repetition in a folder of targets, as a cell's ``start`` names it."""
        return self.data / start / f"{self._repetition}.pt"

    def record(self, cell: str) -> Path:
        """What training noted beside the checkpoint."""
        return self.target(cell).with_suffix(".json")

    def judge(self, dataset: str) -> Path:
        """Checkpoint of a data set's judge; beside it its accuracy, with the suffix ``json``."""
        return self.data / "judges" / f"{dataset}.pt"

    def knowledge(self, cell: str) -> Path:
        """How an attack on a cell fares with fewer and with other auxiliary images."""
        return self.data / "knowledge" / f"{cell}.json"

    def result(self, cell: str, name: str) -> Path:
        """One of a cell's results; ``name`` such as ``mle.json`` or ``mle.npz``."""
        return self.data / "results" / cell / self._repetition / name

    def swept(self, cell: str) -> Path:
        """Folder of what a cell's sweep tried."""
        return self.data / "sweeps" / cell.partition("/")[2]

    def point(self, cell: str, key: str, value: float) -> Path:
        """One repetition of a cell at another value of one of its settings."""
        return self.swept(cell) / f"{key}={value:.12g}" / f"{self._repetition}.json"

    def cost(self, cell: str) -> Path:
        """A cell's latency: its first repetition's, since weights do not change it."""
        return self.data / "costs" / f"{cell}.json"

    @property
    def calibration(self) -> Path:
        """The measures of information on known answers."""
        return self.data / "calibration.json"

    def seconds(self, cell: str, result: str) -> Path:
        """How long the work behind a result took when it last ran here; no output of a stage, as it never repeats."""
        return self.data / "seconds" / cell / self._repetition / f"{result}.json"

    def curve(self, cell: str, name: str) -> Path:
        """One curve, a line per epoch or step: ``target`` of training, what the probes draw beside one another."""
        folder = self.root / "plots" / self.scale / "curves" / cell
        repeated = folder / "target" if name == "target" else folder / "probes" / self._repetition
        return repeated / f"{self._repetition if name == 'target' else name}.csv"

    def figure(self, name: str, suffix: str) -> Path:
        """A figure; ``suffix`` is ``png`` or ``pdf``."""
        return self.root / "plots" / self.scale / f"{name}.{suffix}"

    def table(self, name: str, suffix: str = "") -> Path:
        """A table's Markdown or CSV file or, without a suffix, its folder of one JSON per row."""
        return self.root / "metrics" / self.scale / (f"{name}.{suffix}" if suffix else name)

    @property
    def _repetition(self) -> str:
        if self.seed is None:
            raise ValueError("a cell's artifacts are kept by seed: take paths.seeded(seed)")
        return str(self.seed)


def repetitions(group: str, params: Params, paths: Paths) -> Iterator[tuple[Params, Paths]]:
    """Params and Paths of each repetition that ``scales.<scale>.seeds.<group>`` lists; an empty list leaves it out.

    Raises ParamsError when it is no list of distinct whole numbers of at least 0.
    """
    key = f"scales.{params.scale}.seeds.{group}"
    params.read.add(key)
    seeds = params.raw(key)
    if not isinstance(seeds, list) or len(set(seeds)) < len(seeds):
        raise ParamsError(f"{key} = {seeds!r}: a list of distinct seeds is needed; [] leaves the group out")
    for seed in seeds:
        yield params.seeded(seed, key), paths.seeded(seed)
