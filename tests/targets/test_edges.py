"""The committed sizes at the paper's width are those of the networks that the code builds."""

import pytest
from graph_tools import ROOT

from splitprobe.core.artifacts import read_csv
from splitprobe.core.recipe import Study
from splitprobe.targets import edges

STUDY = Study(ROOT, "paper")
LINES = {line["row"]: line for line in read_csv(ROOT / edges.FILE)}


def test_every_edge_is_listed():
    assert list(LINES) == edges.edges(STUDY)
    assert len(LINES) == 11  # VGG16 has no autoencoder


@pytest.mark.parametrize("cell", LINES)
def test_the_file_has_what_the_code_builds(cell):
    built = edges.measure(STUDY, cell)
    assert {key: str(value) for key, value in built.items()} == LINES[cell]


def test_the_papers_counts_are_met():
    printed = {"cnn/unprotected": 299_520, "cnn/ae": 2_365_056, "resnet18/unprotected": 149_824}
    printed |= {"resnet18/ae": 279_136, "resnet18/siftfunnel": 78_864, "vgg16/siftfunnel": 52_086}
    assert {cell: int(LINES[cell]["edge_parameters_paper"]) for cell in printed} == printed
    # 27 more than the paper's: the nearest that its text allows
    assert int(LINES["cnn/siftfunnel"]["edge_parameters_paper"]) == 14_911 + 27
