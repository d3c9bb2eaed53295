"""Fixtures: a fabricated repository of four cells and three data sets."""

import shutil
from pathlib import Path

import pytest
from fabricated import GRID, Repository


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fabricated once; each test gets a copy to change."""
    made = Repository(tmp_path_factory.mktemp("fabricated"))
    for row, content in GRID.items():
        made.cell(f"cnn/{row}", content)
    for name in ("objects", "faces", "xray"):
        made.dataset(name)
    return made.paths.root


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Repository:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    made = Repository(tmp_path)
    cells = [f"cnn/{row}" for row in GRID]
    made.rows |= {name: list(cells) for name in ("table2", "latency", "figure4", "curves")}
    made.rows["table1"] = ["objects", "faces", "xray"]
    return made
