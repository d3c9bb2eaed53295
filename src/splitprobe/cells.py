"""Cells (one split network to be judged) and every artifact path: the only place with file names."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cell:
    """One split network to be judged, as a line under ``vars: cells:`` in dvc.yaml writes it.

    ``name`` is ``<table group>/<row>``; ``start`` is the file below ``data/<scale>/`` that training begins with:
    the data set's summary for fresh weights, another cell's target for a method that acts at inference only.
    ``variant`` is a section of ``variants`` in params.yaml that changes some of the defense's settings, ``ablation``
    one of ``ablation`` that takes a part of the method away.
    """

    name: str
    dataset: str
    model: str
    cut: int
    defense: str
    variant: str
    ablation: str
    tune: str
    start: str

    @property
    def reuses_weights(self) -> bool:
        """Whether the weights come from another cell's target."""
        return self.start.endswith(".pt")


@dataclass(frozen=True)
class Paths:
    """Where the artifacts of one scale lie, below ``root`` (the repository)."""

    scale: str
    root: Path = Path(".")

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
        return self.data / "targets" / f"{cell}.pt"

    def result(self, cell: str, name: str) -> Path:
        """One stage's result; ``name`` such as ``mle.json`` or ``mle.npz``."""
        return self.data / "results" / cell / name

    def seconds(self, cell: str, result: str) -> Path:
        """How long the work behind a result took when it last ran here; no output of a stage, as it never repeats."""
        return self.data / "seconds" / cell / f"{result}.json"

    def curve(self, cell: str, name: str) -> Path:
        """One stage's curve, one line per epoch or step."""
        return self.root / "plots" / self.scale / "curves" / cell / f"{name}.csv"

    def figure(self, name: str, suffix: str) -> Path:
        """A figure; ``suffix`` is ``png`` or ``pdf``."""
        return self.root / "plots" / self.scale / f"{name}.{suffix}"

    def table(self, name: str, suffix: str = "") -> Path:
        """A table's Markdown or CSV file or, without a suffix, its folder of one JSON per row."""
        return self.root / "metrics" / self.scale / (f"{name}.{suffix}" if suffix else name)
