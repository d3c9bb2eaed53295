"""Settings given on the command line, and saving their results as DVC experiments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from splitprobe.core.params import Params

if TYPE_CHECKING:
    from splitprobe.engine.repository import Repository


def set_params(values: list[str]) -> None:
    """Change params files as `dvc exp run -S` does; where one value cannot be set, all files stay as they were.

    Raises ValueError naming the values.
    """
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides

    overrides = to_path_overrides(values)
    before: dict[str, str] = {}
    try:
        before |= {name: Path(name).read_text(encoding="utf-8") for name in overrides}
        for name, changes in overrides.items():
            apply_overrides(name, changes)
        Params.load()  # raises for a value that params.yaml must not have
    except Exception as error:
        for name, text in before.items():
            Path(name).write_text(text, encoding="utf-8")
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise ValueError(f"-S {' -S '.join(values)}: {error}{cause}") from error


def save(repository: Repository, wanted: str | None) -> str:
    """Keep the workspace as a DVC experiment, which `dvc exp show` lists.

    Returns its name, which DVC chooses where ``wanted`` is None.
    """
    # one stage is enough: all stages of the plan are recorded already, and other stages are not in this experiment
    last = next(reversed(repository.stages))
    experiments = repository.repo.experiments
    revision = experiments.save(targets=[last], name=wanted, force=True)
    return experiments.get_exact_name([revision])[revision]
