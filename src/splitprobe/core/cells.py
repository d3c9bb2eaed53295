"""Cells (one split network to be judged) and every artifact path: the only place with file names."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

# what lies where below data/<scale>, metrics/<scale> and plots/<scale>: the stage that writes it
WRITERS = {
    "recipes/.*": "write_recipes",
    "prepared/([^/]+)/.*": r"prepare@\1",
    r"judges/([^/]+)\.\w+": r"train_judge@\1",
    r"priors/([^/]+)\.\w+": r"train_prior@\1",
    "targets/([^/]+/[^/]+)/.*": r"train_target@\1",
    "decoders/([^/]+/[^/]+)/.*": r"train_generator@\1",
    "(?:results|curves)/([^/]+/[^/]+)/target/.*": r"train_target@\1",
    "(?:results|curves)/([^/]+/[^/]+)/generator/.*": r"train_generator@\1",
    "(?:results|curves)/([^/]+/[^/]+)/mle/.*": r"run_mle@\1",
    "(?:results|curves)/([^/]+/[^/]+)/information/.*": r"train_mine@\1",
    "sweeps/([^/]+)/.*": r"sweep@\1",
    r"knowledge/(.*)\.json": r"measure_knowledge@\1",
    r"releases/(.*)\.json": r"measure_releases@\1",
    r"costs/(.*)\.json": r"measure_cost@\1",
    "calibration/.*": "calibrate_information",
    r"(?:numbers|images)/([^/]+)\.\w+": r"collect_numbers@\1",
}


def writer(path: Path) -> str:
    """The stage that writes an artifact; an empty text for another file."""
    for place, stage in WRITERS.items():
        if found := re.search(rf"(?:^|/)(?:data|metrics|plots)/[^/]+/{place}$", path.as_posix()):
            return found.expand(stage)
    return ""


def is_committed(path: Path) -> bool:
    """Whether an artifact is part of the repository, unlike those below ``data``."""
    return bool(re.search(r"(?:^|/)(?:metrics|plots)/[^/]+/(?:numbers|images|curves)/", path.as_posix()))


@dataclass(frozen=True)
class Cell:
    """One split network to be judged, as a line under ``cells`` of stages/cells.yaml writes it.

    ``name`` is ``<table group>/<row>``; the group says how often it is repeated. ``architecture`` is the defense that
    lends it its networks, ``unprotected`` for the plain ones. ``variant`` is a section of ``variants`` in params.yaml
    that changes some of the defense's settings, ``ablation`` one of ``ablation`` that takes a part of it away, and
    ``title`` what they call the cell; empty: the defense's own title. ``start`` is what lies below ``data/<scale>/``
    and training begins with: the data set's summary for fresh weights, another cell's targets where none is trained.
    """

    name: str
    dataset: str
    model: str
    cut: int
    architecture: str
    defense: str
    variant: str
    ablation: str
    start: str
    title: str

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

    def probed(self, cell: str) -> "list[Paths]":
        """The place of each repetition that was attacked, in the order of their seeds."""
        return self._repeated(self.data / "results" / cell / "mle", "*.json")

    def tried(self) -> list[list[Path]]:
        """The files of each setting that a sweep tried, in the order of their seeds."""
        folders = sorted((self.data / "sweeps").glob("*/*"))
        found = [sorted(folder.glob("*.json"), key=lambda file: int(file.stem)) for folder in folders]
        return [files for files in found if files]

    def _repeated(self, folder: Path, pattern: str) -> "list[Paths]":
        return [self.seeded(seed) for seed in sorted(int(p.stem) for p in folder.glob(pattern) if p.stem.isdigit())]

    @property
    def data(self) -> Path:
        """The folder that DVC's cache fills."""
        return self.root / "data" / self.scale

    def raw(self, dataset: str) -> Path:
        """Folder of a data set's raw data, the one that DVC watches."""
        return self.root / "data" / "raw" / self.scale / dataset

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

    def recipe(self, script: str, key: str) -> Path:
        """Settings and code of a stage, which is named by its script and its key in dvc.yaml."""
        return self.data / "recipes" / script / f"{key}.json"

    def target(self, cell: str) -> Path:
        """Checkpoint of the trained edge and cloud."""
        return self.started(f"targets/{cell}")

    def started(self, start: str) -> Path:
        """The checkpoint of this repetition in a folder of targets, as a cell's ``start`` names it."""
        return self.data / start / f"{self._repetition}.pt"

    def judge(self, dataset: str) -> Path:
        """Checkpoint of a data set's judge; beside it its accuracy, with the suffix ``json``."""
        return self.data / "judges" / f"{dataset}.pt"

    def prior(self, dataset: str) -> Path:
        """Checkpoint of a data set's denoiser, an attacker's prior; beside it its errors, with the suffix ``json``."""
        return self.data / "priors" / f"{dataset}.pt"

    def knowledge(self, cell: str) -> Path:
        """How an attack on a cell fares with fewer and with other auxiliary images."""
        return self.data / "knowledge" / f"{cell}.json"

    def releases(self, cell: str) -> Path:
        """How attacks on a cell fare with several releases of an image."""
        return self.data / "releases" / f"{cell}.json"

    def results(self, cell: str, stage: str) -> Path:
        """Folder of a cell's results of one stage: ``target``, ``generator``, ``mle`` or ``information``."""
        return self.data / "results" / cell / stage

    def result(self, cell: str, name: str) -> Path:
        """One of a cell's results; ``name`` such as ``mle.json``, or ``mle.npz`` for the pictures."""
        stage, _, suffix = name.partition(".")
        return self.results(cell, stage) / f"{self._repetition}.{suffix}"

    def decoders(self, cell: str) -> Path:
        """The fitted decoders that other stages use."""
        return self.data / "decoders" / cell / f"{self._repetition}.pt"

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
        return self.data / "calibration" / "all.json"

    def curve(self, cell: str, stage: str) -> Path:
        """A stage's curve, a line per epoch or step; stages as in :meth:`results`."""
        return self.curves(cell, stage) / f"{self._repetition}.csv"

    def trial(self, cell: str, lr: float) -> Path:
        """The curve of a short training by which one of several learning rates was tried."""
        return self.curves(cell, "target") / f"{self._repetition}@lr={lr:g}.csv"

    def curves(self, cell: str, stage: str) -> Path:
        """Folder of a stage's curves."""
        return self.root / "plots" / self.scale / "curves" / cell / stage

    def figure(self, name: str, suffix: str) -> Path:
        """A figure; ``suffix`` is ``png`` or ``pdf``."""
        return self.root / "plots" / self.scale / f"{name}.{suffix}"

    def table(self, name: str, suffix: str = "") -> Path:
        """A table's Markdown or CSV file or, without a suffix, its folder of one JSON per row."""
        return self.root / "metrics" / self.scale / (f"{name}.{suffix}" if suffix else name)

    def numbers(self, part: str) -> Path:
        """The numbers of one part of the study, a line each; see :mod:`splitprobe.report.frame`."""
        return self.root / "metrics" / self.scale / "numbers" / f"{part}.csv"

    @property
    def _repetition(self) -> str:
        if self.seed is None:
            raise ValueError("a cell's artifacts are kept by seed: take paths.seeded(seed)")
        return str(self.seed)
