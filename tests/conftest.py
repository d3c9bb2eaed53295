"""Fixtures: a tiny scale of the real params.yaml, a tiny data set on disk, a trained-for-nothing target."""

import copy
import gc
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import own_sources  # noqa: F401  before torch, as in every stage
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from splitprobe.attacks.base import assess
from splitprobe.core import runtime as runtimes
from splitprobe.core.artifacts import write_csv, write_json, write_npz
from splitprobe.core.cells import Cell, Paths
from splitprobe.core.params import Params
from splitprobe.learning import optimizers
from splitprobe.learning.schedule import Course
from splitprobe.models.split import Shape
from splitprobe.targets.prior import Prior, load_prior, train_prior
from splitprobe.targets.target import Blueprint, Target
from splitprobe.targets.training import Settings, Trainer

ROOT = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(
    map(str, (ROOT / "src", ROOT / "stages"))
)  # for the programs that tests start
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / ".pytest_cache" / "hypothesis"))
if "PYTEST_XDIST_WORKER" in os.environ:  # one core each
    torch.set_num_threads(1)
TINY = {
    "model": {"cnn": {"width": 8}},
    "target": {
        "cnn": {
            "epochs": 2,
            "lr": 1e-3,
            "schedule": "cosine",
            "least_steps": 0,
            "warmup": 0.0,
            "trial_epochs": 1,
            "select_after": 0,
            "estimator_steps": 2,
        }
    },
    "judge": {"width": 8, "epochs": 1, "lr": 3e-3, "schedule": "cosine", "least_steps": 0, "warmup": 0.0},
    "second_judge": {"steps": 2, "lr": 1e-3, "images": 8},
    "generator": {"epochs": 2, "lr": 1e-3, "schedule": "cosine", "least_steps": 0, "images": 32},
    "strong": {"steps": 2, "patience": 2, "cooldown": 0.5, "lr": 1e-3, "width": 16, "blocks": 1},
    "query_free": {"steps": 2, "images": 8, "lr": 1e-3},
    "prior": {"steps": 2, "patience": 1, "cooldown": 0.4, "lr": 1e-3, "batch_size": 16, "width": 8, "average": 0.9}
    | {"holdout": 0.2, "high": 1.0, "low": 0.01},
    "mle": {
        "images": 4,
        "steps": 8,
        "most_steps": 8,
        "trial_images": 2,
        "trial_steps": 4,
        "finalists": 2,
        "final_images": 2,
    },
    "mine": {
        "paper": {"epochs": 2, "least_steps": 0, "null_epochs": 2, "fit_images": 16, "held_out_images": 16},
        "calibrated": {
            "steps": 6,
            "patience": 3,
            "cooldown": 0.5,
            "null_steps": 3,
            "fit_images": 64,
            "held_out_images": 32,
        },
    },
}
SHAPE = Shape(3, 32, 4, 8)
COUNTS = {"train": 64, "validation": 32, "test": 32, "auxiliary": 64}


def pytest_collection() -> None:
    """Torch and all test modules are a million objects, which stay: none is looked at while they are made."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Nor is any of them in the collections that follow."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def tree() -> dict:
    """The real params.yaml with its demo scale shrunk; copy before changing."""
    tree = copy.deepcopy(Params.load(ROOT / "params.yaml", "demo").tree)
    tree["scales"] |= copy.deepcopy(TINY)
    tree["training"] = {**tree["training"], "batch_size": 16}
    tree["defense"]["dpsgd"] |= {"batch_size": 8, "physical_batch_size": 4}
    return tree


@pytest.fixture(scope="session")
def pickled(tree: dict) -> bytes:
    return pickle.dumps(tree)


@pytest.fixture
def params(pickled: bytes) -> Params:
    return Params(pickle.loads(pickled))  # a deep copy takes five times as long


@pytest.fixture(scope="session")
def cpu() -> runtimes.Runtime:
    return runtimes.Runtime(torch.device("cpu"), "float32", True, "CPU, test")


@pytest.fixture
def make_cell():
    def make(
        defense: str = "unprotected",
        cut: int = 2,
        start: str = "prepared/objects/summary.json",
        architecture: str = "unprotected",
    ) -> Cell:
        place = {"dataset": "objects", "model": "cnn", "cut": cut, "start": start}
        how = {"architecture": architecture, "defense": defense, "variant": "none", "ablation": "none", "title": ""}
        return Cell(name=f"cnn/{defense}", **place, **how)

    return make


@pytest.fixture
def make_blueprint(params: Params, make_cell):
    """The networks of a cell, small ones, under a variant's settings."""

    def make(
        defense: str = "unprotected", variant: str = "none", model: str = "cnn", shape: Shape = SHAPE, **cell
    ) -> Blueprint:
        cell = replace(make_cell(defense, **cell), model=model)
        return Blueprint.from_params(cell, shape, params.varied(f"variants.{variant}"))

    return make


@pytest.fixture
def make_trainer(params: Params, cpu: runtimes.Runtime, make_blueprint):
    """A trainer on 16 images, with the learning rate that stays the same."""

    def make(defense: str, epochs: int = 1, lr: float = 1e-3, place: runtimes.Runtime = cpu, **how) -> Trainer:
        settings, schedule = params.section("training", Settings), Course(epochs, lr, "constant", 0, 0.0)
        return Trainer(make_blueprint(defense, **how), settings, schedule, place, 1, 16)

    return make


class Waits(TorchDispatchMode):
    """Notes operations at which Python would wait for a GPU: a result becomes a number or a shape, or begins as one."""

    NAMES = (
        "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim",
        "unique_consecutive", "bincount", "lift_fresh", "_linalg_check_errors",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        index = args[1] if name.startswith(("index", "_index")) and isinstance(args[1], list | tuple) else ()
        masked = any(isinstance(part, torch.Tensor) and part.dtype in (torch.bool, torch.uint8) for part in index)
        if name in self.NAMES or masked:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch) -> Waits:
    """What is run under it; optimizers do nothing, because on a CPU Adam counts its steps with numbers."""
    for kind in (optimizers.Adam, optimizers.AdamW, optimizers.SGD):
        monkeypatch.setattr(kind, "step", lambda self: None)
    return Waits()


@pytest.fixture
def undecided(cpu: runtimes.Runtime, tmp_path: Path, monkeypatch) -> tuple[runtimes.Runtime, list]:
    """A runtime as on a GPU, where both precisions are as fast, and the result of each step that was measured."""
    measured = []

    def step_seconds(place: runtimes.Runtime, build: runtimes.Build) -> float:
        measured.append(build(place)().item())
        return 1.0

    monkeypatch.setattr(runtimes, "MACHINE", tmp_path / "machine.json")
    monkeypatch.setattr(runtimes, "_step_seconds", step_seconds)
    return runtimes.Runtime(cpu.device, "auto", True, "GPU"), measured


@pytest.fixture
def make_target(cpu: runtimes.Runtime, make_blueprint):
    """An untrained target of a defense, frozen."""

    def make(*what, **how) -> Target:
        blueprint = make_blueprint(*what, **how)
        with cpu.seeded(0, "test"):
            edge, cloud = (cpu.place(half) for half in blueprint.build())
        return Target(blueprint, edge, cloud, cpu, {"scale": "demo", "seed": 1, "training": {}}).freeze()

    return make


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A root with a prepared data set of four classes that differ in color, 32x32; copy before changing."""
    paths = Paths("demo", tmp_path_factory.mktemp("prepared"), 1)
    rng = np.random.default_rng(0)
    total = sum(COUNTS.values())
    labels = np.arange(total) % 4
    colors = rng.integers(40, 216, (4, 1, 1, 3))
    images = np.clip(colors[labels] + rng.normal(0, 20, (total, 32, 32, 3)), 0, 255).astype(np.uint8)
    split = np.repeat(np.arange(4, dtype=np.uint8), list(COUNTS.values()))
    write_npz(paths.images("objects"), images=images, labels=labels, split=split)
    summary = {
        "name": "objects", "title": "colored noise", "source": "test", "classes": list("abcd"), "channels": 3,
        "side": 32, "counts": COUNTS, "kept": total, "rejected": 0,
    }  # fmt: skip
    write_json(paths.summary("objects"), summary)
    write_csv(paths.rejected("objects"), [], ["file", "reason"])
    return paths.root


@pytest.fixture
def paths(prepared: Path, tmp_path: Path) -> Paths:
    """A root of its own with the prepared data set."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return Paths("demo", tmp_path, 1)


@pytest.fixture
def judge(paths: Paths, make_target) -> Target:
    """An untrained judge of the tiny data set, where the stages look for it."""
    judge = make_target(cut=1)
    judge.save(paths.judge("objects"))
    return judge


@pytest.fixture
def prior(params: Params, paths: Paths, cpu: runtimes.Runtime) -> Prior:
    """A denoiser of the tiny data set after two steps, where the stages look for it."""
    train_prior("objects", params, paths, cpu)
    return load_prior(paths, "objects", cpu)


@pytest.fixture
def assessed(judge):
    """Attacks fitted on some images and scored on others, which take turns in the judge's four classes."""

    def run(attacks, auxiliary, attacked):
        return assess(attacks, auxiliary, attacked, torch.arange(len(attacked)) % 4, judge)

    return run
