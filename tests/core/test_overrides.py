"""`-S` on the project's own params.yaml: what DVC writes there, as for `dvc exp run`, stays readable."""

import shutil
from pathlib import Path

import pytest
from graph_tools import ROOT, get_key, read_yaml
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow  # a whole file written anew for each


def scalars(tree, above=()):
    """Of a params file, as ruamel reads it for an update: path, value and line of every value."""
    for key, value in tree.items():
        path = (*above, key)
        if isinstance(value, dict):
            yield from scalars(value, path)
        elif not isinstance(value, list) and not {".", "/"} & {*"".join(path)}:  # which -S cannot name
            yield path, value, tree.lc.data[key][0]


def another(value):
    """Another value of the same kind, as -S takes it."""
    if isinstance(value, bool):
        return "false" if value else "true"
    if isinstance(value, int | float):
        return str(value + 1)
    return "other" if isinstance(value, str) else "0.125"


def overridden(path: Path, *overrides: str) -> tuple[list[str], list[str]]:
    """The lines of params.yaml before and after `dvc exp run -S` has written it."""
    from dvc.utils.hydra import apply_overrides

    shutil.copy(ROOT / "params.yaml", path)
    before = path.read_text().splitlines()
    apply_overrides(path, list(overrides))
    return before, path.read_text().splitlines()


@pytest.mark.parametrize(
    "override", ["loss.lambda_dcor=2.0", "scale=small", "training.draws=4", "training.amsgrad=false"]
)
def test_an_override_on_the_command_line_changes_one_line(tmp_path, override):
    """`dvc exp run -S` writes params.yaml anew: remarks and layout must stay."""
    before, after = overridden(tmp_path / "params.yaml", override)
    key, value = override.split("=")
    assert str(get_key(read_yaml(tmp_path / "params.yaml"), key)).lower() == value
    assert len(before) == len(after) and sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_no_override_changes_the_line_of_another_key(tmp_path):
    """Every value at once: each changes its own line, and no other line changes."""
    tree = YAML().load(ROOT / "params.yaml")
    lines = (ROOT / "params.yaml").read_text().splitlines()
    found = [(path, value, line) for path, value, line in scalars(tree) if not lines[line].endswith(">-")]
    assert len(found) > 350
    overrides = [f"{'.'.join(path)}={another(value)}" for path, value, _ in found]
    before, after = overridden(tmp_path / "params.yaml", *overrides)
    assert len(before) == len(after)
    assert {i for i, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1} == {f[2] for f in found}


@pytest.mark.parametrize(
    ("override", "added"),
    [("+training.more=1", ["  more: 1"]), ("+defens.vibb.more=1", ["defens:", "  vibb:", "    more: 1"])],
)
def test_a_key_more_adds_its_lines_alone(tmp_path, override, added):
    before, after = overridden(tmp_path / "params.yaml", override)
    assert [line for line in after if line in added] == added
    assert [line for line in after if line not in added] == before
