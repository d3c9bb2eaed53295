"""All of params.yaml, read as the stages will read it, before the first of them runs.

A stage reads the sections of its own recipe alone, so that a mistake elsewhere would stop the study hours later, or
never. Here every section is read that is there, used or not: unknown keys, wrong types, values out of range, and those
that do not fit one another or the cells of stages/cells.yaml. What belongs to other scales is read too, as far as it is
there. The networks of the cells that run are built without memory for their weights, so that a side, a cut or a number
of channels which does not fit is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

import torch

from splitprobe.attacks import APART, ATTACKS, generator, mle, query_free
from splitprobe.attacks import prior as attack_prior
from splitprobe.core import runtime
from splitprobe.core.cells import Cell
from splitprobe.core.params import Params, ParamsError, check, refuse_unknown, shown, typed
from splitprobe.core.recipe import CELLS, Study, checked_repeats, left_out, listed
from splitprobe.core.registry import lookup
from splitprobe.datasets import SOURCES, sections
from splitprobe.defenses import DEFENSES
from splitprobe.defenses.siftfunnel import Loss
from splitprobe.information import calibrate
from splitprobe.information import settings as information
from splitprobe.models import MODELS
from splitprobe.models.denoiser import Denoiser
from splitprobe.models.split import Normalization, Shape
from splitprobe.probes import cost, knobs, knowledge, releases
from splitprobe.targets import judge_training, prior, second_judge, training
from splitprobe.targets.target import Blueprint

SECTIONS: dict[str, type] = {
    "runtime": runtime.Settings,
    "data": sections.Settings,
    "normalization": Normalization,
    "training": training.Settings,
    "loss": Loss,
    "mine": information.Settings,
    "information": information.Information,
    "calibration": calibrate.Calibration,
    "judge": judge_training.Settings,
    "knowledge": knowledge.Settings,
    "releases": releases.Settings,
    "cost": cost.Settings,
}
SCALED: dict[str, type] = {
    "judge": judge_training.Plan,
    "second_judge": second_judge.Settings,
    "mine": information.Plan,
    "generator": generator.Plan,
    "strong": generator.Strong,
    "query_free": query_free.Plan,
    "prior": prior.Plan,
    "mle": mle.Plan,
}
MANY = 10  # classes of the networks that are only built to see whether they can be


def preflight(study: Study, more: Mapping[str, type]) -> None:
    """Read every section of params.yaml; ``more`` are further sections and their dataclasses.

    Raises ParamsError for the first mistake, naming key and value.
    """
    params, groups = study.params, {name.partition("/")[0] for name in study.cells}
    for key, cls in {**SECTIONS, **more}.items():
        params.section(key, cls)
    _read_methods(params)
    for part in ("variants", "ablation"):
        changes = params.raw(part)
        refuse_unknown(changes, changes if isinstance(changes, Mapping) else (), part)  # any name, but names
        for key in (f"{part}.{name}" for name in changes):
            _located(key, lambda key=key: _read_methods(params.varied(key)))
            _read_training(params, key)
    for name, cls in SCALED.items():
        params.scaled(name, cls)
    for name in params.names:
        where = "" if name == params.scale else f"at scale {name}"
        _located(where, lambda name=name: _read_scale(params.scales(name), {*groups, "sweeps"}, study))
    _read_rows(study)
    _build_networks(study)
    _read_sweeps(study)
    _read_knowledge(study)
    _read_prior(study)


def _located(where: str, read: Callable[[], None]) -> None:
    """Call a function, and say in the ParamsErrors that it raises where their mistake stands."""
    try:
        read()
    except ParamsError as error:
        raise ParamsError(f"{where}: {error}" if where else str(error)) from error


def _read_methods(params: Params) -> None:
    """The sections of networks, defenses, their losses, and attacks, each by the registry that it belongs to."""
    params.section("loss", Loss)
    attacks = {**ATTACKS, **APART}
    for part, registry in (("model", MODELS), ("defense", DEFENSES), ("attack", attacks)):
        refuse_unknown(params.raw(part), registry, part)
    for name in params.raw("model"):
        params.section(f"model.{name}", lookup(MODELS, name, "model").Settings)
    for name in params.raw("defense"):
        lookup(DEFENSES, name, "defense").from_params(name, params)
    for name in params.raw("attack"):
        params.section(f"attack.{name}", import_module(attacks[name].partition(":")[0]).Settings)


def _read_training(params: Params, key: str) -> None:
    """What a section of ``variants`` or ``ablation`` changes of the training, at each scale."""
    for name in params.names:
        changes = params.at(params.raw(key), name)
        check(training.Settings, changes.get("training", {}), f"{key}.training")
        check(training.Plan, changes.get("target", {}), f"{key}.target")
        if "flip" in changes.get("training", {}):
            why = "decoders are fitted on flipped images too, and all on the same ones: change training.flip itself"
            raise ParamsError(f"{key}.training.flip = {shown(changes['training']['flip'])}: {why}")


def _check_start(study: Study, cell: Cell) -> None:
    """Raise ParamsError for a cell that reuses weights, where its training is varied or it has more seeds than they."""
    if not cell.reuses_weights:
        return
    for key in (f"variants.{cell.variant}", f"ablation.{cell.ablation}"):
        for part in ("training", "target"):
            if study.params.raw(key).get(part):
                raise ParamsError(f"{key}.{part}: {cell.name} has this variant, but trains nothing: see its `start`")
    source = cell.start.removeprefix("targets/")
    own, theirs = (len(study.seeds("train_target", study.cell("train_target", name))) for name in (cell.name, source))
    if own > theirs:
        why = f"{cell.name} has {own} seeds and starts from the weights of {source}, which has {theirs}"
        raise ParamsError(f"scales.repeats or scales.left_out: {why}")


def _read_scale(scales: Mapping[str, Any], groups: set[str], study: Study) -> None:
    """One scale's part of the section ``scales``, which may lack keys."""
    for name, cls in SCALED.items():
        if name in scales:
            check(cls, scales[name], f"scales.{name}")
    several = {
        "data": (study.variables["datasets"], sections.Source),
        "model": (MODELS, training.Width),
        "target": (MODELS, training.Plan),
    }
    for part, (known, cls) in several.items():
        refuse_unknown(scales.get(part, {}), known, f"scales.{part}")
        for name, value in scales.get(part, {}).items():
            check(cls, value, f"scales.{part}.{name}")
    for name, values in scales.get("data", {}).items():
        for key in {"source", "auxiliary_source"} & values.keys():
            if values[key] is not None:
                lookup(SOURCES, values[key], f"scales.data.{name}.{key}")
    repeats = scales.get("repeats", {})
    own = {*study.cells} & {*repeats} if isinstance(repeats, Mapping) else set()  # cells with a number of their own
    refuse_unknown(repeats, [*sorted(groups), *sorted(own)], "scales.repeats")
    for name, number in repeats.items():
        checked_repeats(number, f"scales.repeats.{name}")
    left_out(scales, study.cells)


def _read_rows(study: Study) -> None:
    """What tables and figures show: known ones alone, and of names that are no cells' known ones too."""
    lists = {
        "table1": study.variables["datasets"],
        "report": [*study.variables["tables"], *study.variables["figures"]],
    }
    read = (study.sections(script, key, study.cell(script, key)) for script, key in study.instances())
    known = {section.partition(".")[2] for sections in read for section in sections if section.startswith("rows.")}
    refuse_unknown(study.params.raw("rows"), sorted(known), "rows")
    for name in study.params.raw("rows"):
        for row in listed(f"rows.{name}", study.params.raw(f"rows.{name}"), study.cells):
            if name in lists and row not in lists[name]:
                raise ParamsError(f"rows.{name}: {row!r} is unknown; known here: {', '.join(lists[name])}")


def _read_sweeps(study: Study) -> None:
    """Each value of each sweep, in the range of its key."""
    refuse_unknown(study.params.raw("sweeps"), study.variables["swept"], "sweeps")
    for row in study.params.raw("sweeps"):
        cell, params, images = _opened(study, "sweep", row)
        for _, _, changed in knobs.settings(cell, params):
            defense = lookup(DEFENSES, cell.defense, "defense").from_params(cell.defense, changed)
            _located(f"sweeps.{row}", lambda defense=defense, images=images: defense.check(images))


def _read_knowledge(study: Study) -> None:
    """The decoder and the other data set of the section ``knowledge``, which must be among what there is."""
    settings, attack = (
        study.params.section(*section)
        for section in (("knowledge", knowledge.Settings), ("attack.generator", generator.Settings))
    )
    if settings.decoder not in attack.decoders:
        listed = ", ".join(attack.decoders)
        raise ParamsError(f"knowledge.decoder = {settings.decoder!r}: attack.generator.decoders lists only {listed}")
    if settings.other not in study.variables["datasets"]:
        known = ", ".join(study.variables["datasets"])
        raise ParamsError(f"knowledge.other = {settings.other!r}: choose one of {known}")
    for name in (
        name
        for name in study.variables["known"]
        if study.seeds("measure_knowledge", study.cell("measure_knowledge", name))
    ):
        cell, params, _ = _opened(study, "measure_knowledge", name)
        own, other = (params.scaled(f"data.{data}", sections.Source) for data in (cell.dataset, settings.other))
        if settings.other == cell.dataset:
            raise ParamsError(f"knowledge.other = {settings.other!r}: the data set of {name} itself; name another one")
        if other.side != own.side or other.channels not in (1, own.channels):
            ours, theirs = (f"{source.channels}x{source.side}x{source.side}" for source in (own, other))
            raise ParamsError(f"knowledge.other = {settings.other!r}: its images are {theirs}, those of {name} {ours}")


def _read_prior(study: Study) -> None:
    """The prior attack: rows that there are, noise levels that the denoiser knows, images that it can take."""
    settings, plan = (
        study.params.section("attack.prior", attack_prior.Settings), study.params.scaled("prior", prior.Plan)
    )  # fmt: skip
    rows = {name.partition("/")[2] for name in study.cells}
    for row in settings.rows.split():
        if row not in rows:
            raise ParamsError(
                f"attack.prior.rows: {row!r} is no row of {CELLS}; choose among {', '.join(sorted(rows))}"
            )
    settings.within(plan.high, plan.low)
    for dataset in study.variables["datasets"]:
        source = study.params.scaled(f"data.{dataset}", sections.Source)
        try:
            with torch.device("meta"):
                Denoiser(source.channels, source.side, plan.width)
        except ValueError as error:
            raise ParamsError(f"scales.data.{dataset}.side = {source.side}: {error}") from None


def _opened(study: Study, script: str, key: str) -> tuple[Cell, Params, int]:
    """A stage's cell, its params after variant and ablation, and the number of its training images."""
    cell = typed(Cell, study.cell(script, key), f"{CELLS}: {key}")
    params = study.varied(asdict(cell))
    return cell, params, params.scaled(f"data.{cell.dataset}", sections.Source).train


def _build_networks(study: Study) -> None:
    """The networks of every cell that runs, and of its data set's judge."""
    built: set[str] = set()
    for blueprint, images in _blueprints(study):
        plain = blueprint.plain()
        name = plain["cell"].pop("name")
        key = json.dumps([plain["cell"] | {"start": "", "title": ""}, plain, images])
        if key in built:
            continue
        built.add(key)
        with torch.device("meta"):
            _located(name, blueprint.build)
        _located(name, lambda defense=blueprint.defense, images=images: defense.check(images))


def _blueprints(study: Study) -> Iterator[tuple[Blueprint, int]]:
    """Blueprints with the number of images that they are trained on."""
    running = [name for name in study.cells if study.seeds("train_target", study.cell("train_target", name))]
    for name in running:
        cell, params, images = _opened(study, "train_target", name)
        _check_start(study, cell)
        width = params.scaled(f"model.{cell.model}", training.Width).width
        _located(name, params.scaled(f"target.{cell.model}", training.Plan).check)
        yield _blueprint(cell, width, params), images
    settings = study.params.section("judge", judge_training.Settings)
    width = study.params.scaled("judge", judge_training.Plan).width
    for dataset in study.variables["datasets"]:
        source = study.params.scaled(f"data.{dataset}", sections.Source)
        _located(f"scales.data.{dataset}", source.halves)
        yield _blueprint(judge_training.judge_cell(dataset, settings), width, study.params), source.train


def _blueprint(cell: Cell, width: int, params: Params) -> Blueprint:
    source = params.scaled(f"data.{cell.dataset}", sections.Source)
    return Blueprint.from_params(cell, Shape(source.channels, source.side, MANY, width), params)
