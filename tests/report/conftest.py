"""Fixtures: fabricated studies, one of four cells and three data sets, one of all rows of Table II, a whole one.

Each test gets its own below ``tmp_path`` and may change it; asking it for ``params()`` writes its numbers.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest
import study
from fabricated import GRID, ORDER, OTHERS, Repository

REPORTS = ("table2", "latency", "figure4", "curves", "tradeoff", "leaderboard")


def small(root: Path, rows: Mapping[str, tuple], seeds: tuple = (0,)) -> Repository:
    """Cells of group ``cnn`` under REPORTS, and three data sets."""
    own = Repository(root)
    for row, content in rows.items():
        own.cell(f"cnn/{row}", content, seeds=seeds)
    for name in ("objects", "faces", "xray"):
        own.dataset(name)
    own.rows |= {name: [f"cnn/{row}" for row in rows] for name in REPORTS} | {"table1": ["objects", "faces", "xray"]}
    return own


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Four cells, one seed."""
    return small(tmp_path, GRID)


@pytest.fixture
def thrice(tmp_path: Path) -> Repository:
    """Four cells, three seeds with the same numbers: a test sets what differs."""
    return small(tmp_path, GRID, seeds=(1, 2, 3))


@pytest.fixture
def full(tmp_path: Path) -> Repository:
    """All rows of Table II."""
    return small(tmp_path, {row: (GRID | OTHERS)[row] for row in ORDER})


@pytest.fixture
def whole(tmp_path: Path) -> Repository:
    """The cells of every table and figure."""
    own = Repository(tmp_path)
    study.write(own)
    return own
