"""What each stage is made of: its settings and a digest of its code, as one small file on which the stage depends.

``write_recipes`` works it out from stages/cells.yaml (the cells, and which sections of params.yaml each script reads)
and params.yaml. A cell's settings stand there as its variant and its ablation leave them, so that a value which
they replace changes nothing for the cell. The code is what a script imports, followed through the registries' lines
``"module:object"`` that the settings name; it counts without remarks and docstrings, so that a better sentence
retrains nothing.

A stage reads its settings from its recipe and not from params.yaml: what is not written there it cannot read.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from splitprobe.core.artifacts import atomic, read_json, write_json
from splitprobe.core.cells import Cell, Paths
from splitprobe.core.params import Params, ParamsError, read_yaml, shown, typed
from splitprobe.core.sources import SOURCE, Sources, digest

CELLS = Path("stages/cells.yaml")
CHECKED = Path("data/checked")  # git-ignored: a digest of the settings that were found right on this machine
ALONE = "all"  # the recipe of a script that has one stage


@dataclass(frozen=True)
class Recipe:
    """A stage's recipe: its params, its cell (None where it has none) and the seeds it runs with ([]: left out)."""

    params: Params
    cell: Cell | None
    seeds: tuple[int, ...]

    @classmethod
    def load(cls, script: str, key: str = ALONE) -> "Recipe":
        """The recipe of a stage at the scale that params.yaml chooses, below the current folder.

        Raises ParamsError where it is missing, which names the command that writes it.
        """
        paths = Paths(Params.load().scale)
        file = paths.recipe(script, key)
        if not file.is_file():
            raise ParamsError(
                f"{file} is missing: `dvc repro write_recipes` writes it, where dvc.yaml has such a stage"
            )
        record = read_json(file)
        written = file.stat().st_mtime_ns
        for name, noted in record["code"].items():
            source = Path(name)
            # reading the time is cheap, and code that is older than the recipe is what it was made of
            new = not source.is_file() or source.stat().st_mtime_ns > written
            if new and not (source.is_file() and digest(source.read_text(encoding="utf-8")) == noted):
                raise ParamsError(f"{name} has changed since {file} was written: run the same command again")
        return cls.of(record)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Recipe":
        """The recipe that a record of :func:`recipe` describes."""
        cell = record["cell"]
        return cls(Params(record["params"]), cell and typed(Cell, cell, "cell"), tuple(record["seeds"]))

    def promise(self, *parts: str) -> None:
        """Make the folders that dvc.yaml promises of a cell's stage: where it is left out, it writes nothing there.

        A part is ``targets``, ``decoders``, ``sweeps``, or a stage's results, beside which its curves lie.
        """
        paths, name = self.paths, self.cell.name
        places = {
            "targets": [paths.data / "targets" / name],
            "decoders": [paths.data / "decoders" / name],
            "sweeps": [paths.swept(name)],
        }
        for part in parts:
            for folder in places.get(part, [paths.results(name, part), paths.curves(name, part)]):
                folder.mkdir(parents=True, exist_ok=True)

    @property
    def paths(self) -> Paths:
        """Where the scale's artifacts lie."""
        return Paths(self.params.scale)

    def repetitions(self) -> Iterator[tuple[Params, Paths]]:
        """Params and paths of each seed."""
        for seed in self.seeds:
            yield self.params.seeded(seed, "seed"), self.paths.seeded(seed)

    def first(self) -> tuple[Params, Paths]:
        """Those of the first seed, for what is measured once; raises ParamsError where the cell is left out."""
        for params, paths in self.repetitions():
            return params, paths
        name = self.cell.name if self.cell else "this stage"
        raise ParamsError(f"{name} is left out at this scale: scales.left_out or a 0 in scales.repeats says so")


class Study:
    """The cells and params of a repository, and the recipes that follow from them."""

    def __init__(self, root: Path = Path("."), scale: str | None = None) -> None:
        self.root, self.sources = root, Sources(root)
        self.variables: Mapping[str, Any] = read_yaml(root / CELLS)
        self.params = Params.load(root / "params.yaml", scale)
        self.cells = list(self.variables["cells"])

    def instances(self) -> Iterator[tuple[str, str]]:
        """(script, key) of every stage that has a recipe."""
        for script in (script for script in self.variables["reads"] if " " not in script):
            items = self.variables["over"].get(script)
            yield from ((script, key) for key in (self.variables[items] if items else [ALONE]))

    def recipe(self, script: str, key: str = ALONE) -> dict[str, Any]:
        """A stage's recipe as plain types: cell, seeds, params (only what it reads) and code (file to digest)."""
        cell = self.cell(script, key)
        seeds = self.seeds(script, cell) if cell else []
        if cell and not seeds:  # nothing of it is used, so no change of a setting concerns it
            return {"script": script, "cell": cell, "seeds": [], "params": {"scale": self.params.scale}, "code": {}}
        varied = self.varied(cell) if cell else self.params
        sections = self.sections(script, key, cell)
        chosen: dict[str, Any] = {"scale": self.params.scale}
        for section in sections:
            _put(chosen, section, self._value(varied, section))
        # what a registry's line may be called by: a defense, a network, a source of images, a table, a figure
        methods = (section.split(".")[1] for section in sections if section.startswith(("defense.", "model.")))
        names = {*_texts(chosen), *methods, *(str(value) for value in (cell or {}).values()), key}
        code = self.sources.digests(script, names)
        return {"script": script, "cell": cell, "seeds": seeds, "params": chosen, "code": code}

    def varied(self, cell: Mapping[str, Any]) -> Params:
        """The params as a cell's variant and its ablation leave them."""
        model = cell["model"]
        return self.params.varied(f"variants.{cell['variant']}", model).varied(f"ablation.{cell['ablation']}", model)

    def cell(self, script: str, key: str) -> dict[str, Any] | None:
        """The facts of a stage's cell, its title among them; None for a stage without a cell."""
        name = f"cnn/{key}" if script == "sweep" else key
        facts = self.variables["cells"].get(name)
        if facts is None:
            return None
        parts = (f"ablation.{facts['ablation']}", f"variants.{facts['variant']}")
        title = next(filter(None, map(self.params.title, parts)), "")
        return {"name": name, **facts, "title": title}

    def seeds(self, script: str, cell: Mapping[str, Any]) -> list[int]:
        """The seeds that a cell's stage runs with: 1 up to its own repeats or else its group's, for a sweep of sweeps.

        None for a cell that the scale leaves out. Raises ParamsError for a number of repeats that is none, where a
        sweep has more than its cells, and for patterns of ``left_out`` that match nothing.
        """
        if cell["name"] in left_out(self.params.raw("scales"), self.cells):
            return []
        name, group = cell["name"], cell["name"].partition("/")[0]
        own = self._repeats(name if name in self.params.raw("scales.repeats") else group)
        if script == "sweep":
            swept = self._repeats("sweeps")
            if swept > own:
                raise ParamsError(
                    f"scales.repeats.sweeps = {swept}: accuracy is compared with the unprotected network of the same "
                    f"seed, and scales.repeats.cnn = {own}"
                )
            own = swept
        return list(range(1, own + 1))

    def _repeats(self, group: str) -> int:
        key = f"scales.repeats.{group}"
        return checked_repeats(self.params.raw(key), key)

    def sections(self, script: str, key: str, cell: Mapping[str, Any] | None) -> list[str]:
        """The sections of params.yaml that a stage reads, as ``reads`` in stages/cells.yaml lists them.

        Raises ParamsError for a script that is not listed there.
        """
        reads = self.variables["reads"]
        if script not in reads:
            raise ParamsError(f"{CELLS}: `reads` lists no {script}; it names the sections of params.yaml it reads")
        facts = {"key": key, "row": key, "judge": self.params.raw("judge.model"), **(cell or {})}
        patterns = [*reads[script], *reads.get(f"{script} {key}", [])]
        if any("<defense>" in pattern for pattern in patterns):
            patterns += reads.get(f"defense {facts['defense']}", [])
        filled = []
        for pattern in patterns:
            for name, value in facts.items():
                pattern = pattern.replace(f"<{name}>", str(value))
            filled.append(pattern)
        return list(dict.fromkeys(filled))

    def _value(self, params: Params, section: str) -> Any:
        """A section's value; the rows of a table or figure as a list of names."""
        value = params.raw(section)
        return listed(section, value, self.cells) if section.startswith("rows.") else value

    def checked(self, script: str, check: Callable[[], None]) -> None:
        """Call a check of all settings that ``script`` makes, unless it passed here with the same settings and code.

        What passed is noted in CHECKED, outside DVC's reach.
        """
        files = sorted((self.root / SOURCE / "splitprobe/core").glob("*.py"))
        code = [
            self.sources.digests(script, set()),
            *(self.sources.module(f.relative_to(self.root)).digest for f in files),
        ]
        settings = [(self.root / file).read_text(encoding="utf-8") for file in ("params.yaml", CELLS)]
        mark = hashlib.sha256(json.dumps([settings, code]).encode()).hexdigest()
        note = self.root / CHECKED
        if note.is_file() and note.read_text(encoding="utf-8") == mark:
            return
        check()
        with atomic(note) as stream:
            stream.write(mark)

    def write(self) -> None:
        """Write all recipes of the scale, and delete those of stages that are gone."""
        paths = Paths(self.params.scale, self.root)
        shutil.rmtree(paths.data / "recipes", ignore_errors=True)
        for script, key in self.instances():
            write_json(paths.recipe(script, key), self.recipe(script, key))


def checked_repeats(number: Any, key: str) -> int:
    """How often a group of cells is repeated, as it stands at ``key``; raises ParamsError for what is no number."""
    if type(number) is not int or not 0 <= number <= 1000:
        raise ParamsError(f"{key} = {shown(number)}: a whole number from 0 (left out) to 1000 is needed")
    return number


def left_out(scales: Mapping[str, Any], cells: list[str]) -> list[str]:
    """The cells that one scale's part of ``scales`` leaves out, if any; raises ParamsError as :func:`listed` does."""
    return listed("scales.left_out", scales["left_out"], cells) if scales.get("left_out") else []


def listed(key: str, value: Any, cells: list[str]) -> list[str]:
    """Names out of a text, or several, of names and patterns: ``cnn/*`` gives cells in order, ``!cnn/ae`` drops one.

    Raises ParamsError for what is neither, for a cell or pattern that matches none, and for a name that is there twice.
    """
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts) or not " ".join(parts).split():
        raise ParamsError(f"{key} = {shown(value)}: names or patterns such as cnn/* are needed, separated by spaces")
    names: list[str] = []
    for word in " ".join(parts).split():
        pattern = word.removeprefix("!")
        matching = [cell for cell in cells if fnmatchcase(cell, pattern)] if "/" in pattern else [pattern]
        if not matching:
            raise ParamsError(f"{key}: {word!r} matches no cell of {CELLS}")
        if word.startswith("!"):
            names = [name for name in names if name not in matching]
            continue
        for name in matching:
            if name in names:
                raise ParamsError(f"{key}: {name!r} is listed twice")
            names.append(name)
    return names


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, and what is above it where it is not there."""
    *above, last = key.split(".")
    for part in above:
        tree = tree.setdefault(part, {})
    tree[last] = value


def _texts(value: Any) -> Iterator[str]:
    """All texts in a tree of settings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
