"""Fixtures: fabricated repositories, one of four cells and three data sets, one of all sixteen rows of Table II."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import study
from fabricated import GRID, ORDER, OTHERS, Repository

REPORTS = ("table2", "latency", "figure4", "curves", "tradeoff", "leaderboard")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fabricated once; each test gets a copy to change."""
    made = Repository(tmp_path_factory.mktemp("fabricated"))
    for row, content in (GRID | OTHERS).items():
        made.cell(f"cnn/{row}", content)
    for name in ("objects", "faces", "xray"):
        made.dataset(name)
    return made.paths.root


def copied(template: Path, root: Path, rows: Sequence[str]) -> Repository:
    shutil.copytree(template, root, dirs_exist_ok=True)
    made = Repository(root)
    made.rows |= {name: [f"cnn/{row}" for row in rows] for name in REPORTS}
    made.rows["table1"] = ["objects", "faces", "xray"]
    return made


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Repository:
    return copied(template, tmp_path, list(GRID))


@pytest.fixture
def full(template: Path, tmp_path: Path) -> Repository:
    return copied(template, tmp_path, ORDER)


@pytest.fixture(scope="session")
def whole_template(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = Repository(tmp_path_factory.mktemp("study"))
    study.write(made)
    return made


@pytest.fixture
def whole(whole_template: Repository, tmp_path: Path) -> Repository:
    """The cells of every table and figure."""
    shutil.copytree(whole_template.paths.root, tmp_path, dirs_exist_ok=True)
    made = Repository(tmp_path)
    made.rows |= whole_template.rows
    return made
