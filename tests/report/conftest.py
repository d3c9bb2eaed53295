"""Fixtures: a fabricated repository of four cells and three data sets."""

from pathlib import Path

import pytest
from fabricated import GRID, Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    for row, content in GRID.items():
        made.cell(f"cnn/{row}", content)
    for name in ("objects", "faces", "xray"):
        made.dataset(name)
    cells = [f"cnn/{row}" for row in GRID]
    made.rows |= {name: list(cells) for name in ("table2", "latency", "figure4", "curves")}
    made.rows["table1"] = ["objects", "faces", "xray"]
    return made
