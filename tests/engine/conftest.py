"""Fixtures: throw-away repositories, whose processes end with the module that made them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from throwaway import Graph


@pytest.fixture(scope="module")
def make_graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Graph]]:
    """``make_graph(*stages, files=...)`` makes a repository, ``make_graph(copy_of=graph)`` copies one."""
    made: list[Graph] = []

    def make(*entries: dict[str, Any], files: dict[str, str] | None = None, copy_of: Graph | None = None) -> Graph:
        root = Path(tmp_path_factory.mktemp("graph")).resolve() / "repository"
        made.append(copy_of.copy(root) if copy_of else Graph.create(root, *entries, files=files))
        return made[-1]

    yield make
    for graph in made:
        graph.close()
