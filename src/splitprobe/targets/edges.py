"""The edges of the paper's rows at the paper's width and image size: what they cost, without a training.

``python -m splitprobe.targets.edges``, run where params.yaml lies, writes report/paper/edges.csv anew. It is part of
the repository, so that every scale can print the paper's sizes beside its own; a test compares it with what the code
builds.
"""

from pathlib import Path
from typing import Any

import torch

from splitprobe.core.artifacts import write_csv
from splitprobe.core.cells import Cell
from splitprobe.core.params import typed
from splitprobe.core.recipe import Study
from splitprobe.models import count
from splitprobe.models.split import Shape
from splitprobe.targets.target import Blueprint
from splitprobe.targets.training import Width

FILE = Path("src/splitprobe/report/paper/edges.csv")
GROUPS = ("cnn", "resnet18", "faces", "vgg16")
ROWS = ("unprotected", "ae", "siftfunnel")  # each edge of Tables II to VI is one of these
CLASSES = 10  # of the cloud alone: any number gives the same edge


def edges(study: Study) -> list[str]:
    """The cells of a study whose edges are listed."""
    return [cell for cell in study.cells if cell.partition("/")[0] in GROUPS and cell.partition("/")[2] in ROWS]


@torch.no_grad()
def measure(study: Study, name: str) -> dict[str, Any]:
    """A cell's line: parameters by our count and by the paper's, multiply-accumulates of one image, bytes of its z."""
    cell = typed(Cell, study.cell("train_target", name), "cell")
    params = study.varied(study.cell("train_target", name))
    data = {key: study.params.raw(f"scales.data.{cell.dataset}.{key}") for key in ("channels", "side")}
    width = params.scaled(f"model.{cell.model}", Width).width
    blueprint = Blueprint.from_params(cell, Shape(**data, classes=CLASSES, width=width), params)
    edge = blueprint.build()[0].eval()
    x = torch.zeros(1, data["channels"], data["side"], data["side"])
    return {
        "row": name,
        "edge_parameters": count.parameters(edge),
        "edge_parameters_paper": count.parameters_per_call(edge, x),
        "edge_macs": count.macs(edge, x),
        "z_bytes": edge(x).numel() * 4,
    }


def main() -> None:
    """Write FILE below the current folder."""
    study = Study(scale="paper")
    lines = [measure(study, name) for name in edges(study)]
    write_csv(FILE, lines, list(lines[0]))


if __name__ == "__main__":
    main()
