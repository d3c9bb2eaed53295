"""The command `splitprobe`: reads the command line and connects the parts of this package."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import logging
import math
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import splitprobe
from splitprobe.core.params import Params, ParamsError
from splitprobe.core.runtime import PLACES, SIZE
from splitprobe.engine.devices import gpus, mps_runs
from splitprobe.engine.launcher import quiet_cores
from splitprobe.engine.steps import Busy, DiskFull

if TYPE_CHECKING:
    from splitprobe.engine.cluster import Workers
    from splitprobe.engine.repository import Repository
    from splitprobe.engine.run import Build, Pool
    from splitprobe.engine.steps import Step

USAGE_ERROR, INTERRUPTED = 2, 128
NO_GIT = (
    "is no Git repository (a copy from a ZIP?), which DVC needs: `git init && git add -A && git commit -m copy` makes "
    "it one, `dvc config core.no_scm true` lets DVC do without, but for experiments (-S, --save)"
)
SEVERAL = 16  # stages of narrow networks that one GPU runs at a time
FEW = 2  # stages of wide networks that one GPU runs at a time
WIDE = 64  # a network with this many channels in its first block, or more, counts as wide


class Problem(Exception):
    """A problem that the user can solve; its text is all that is shown."""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line, with one subcommand for each function in COMMANDS."""
    main_parser = argparse.ArgumentParser("splitprobe", description="Build the study of dvc.yaml in parallel.")
    commands = main_parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="what `dvc repro` builds, on all cores")
    run.add_argument("targets", nargs="*", help="stages, as for `dvc repro`; all without any")
    run.add_argument("-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", help="as `dvc exp run -S`")
    run.add_argument("--save", metavar="NAME", help="keep the result as a DVC experiment of this name (implied by -S)")
    plan = commands.add_parser("plan", help="print what is due, for a machine without DVC and Git")
    plan.add_argument("targets", nargs="*", help="stages, as for `dvc repro`; all without any")
    plan.add_argument(
        "--all", action="store_true", help="also what is up to date here: the other machine has only sources"
    )
    plan.add_argument("--estimate", action="store_true", help="print how long all stages of the scale may take instead")
    plan.add_argument(
        "--memory", type=memory, metavar="'24 GiB'", help="print instead what each stage needs on a device of this size"
    )
    plan.add_argument("--scale", help="of --estimate and --memory: another scale than that of params.yaml")
    plan.add_argument("--flops", type=rate, help="of --estimate: operations per second; measured here without it")
    work = commands.add_parser("work", help="run a plan's stages; needs no DVC and no Git")
    work.add_argument("plan", type=absolute, help="what `splitprobe plan` has printed")
    work.add_argument("--out", type=absolute, help="folder for copies of what it makes (this checkout)")
    adopt = commands.add_parser("adopt", help="take over what `splitprobe work` has made")
    adopt.add_argument("folder", type=absolute, help="its --out folder, or the other checkout")
    report = commands.add_parser("report", help="tables and figures of a scale from its committed numbers alone")
    report.add_argument("scale", help="a scale whose metrics/<scale>/numbers are there")
    for subparser in (run, work):
        subparser.add_argument("--workers", type=positive, help="stages at a time (the number of cores)")
        subparser.add_argument(
            "--threads", type=positive, help="threads of each stage (runtime.threads of params.yaml)"
        )
        subparser.add_argument(
            "--per-gpu", type=positive, help=f"stages that share a GPU ({SEVERAL}; {FEW} of wide networks)"
        )
        subparser.add_argument("--fail-fast", action="store_true", help="stop everything at the first failure")
    workers = run.add_mutually_exclusive_group()
    workers.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster that is there, such as tcp://host:8786")
    workers.add_argument("--slurm", dest="jobqueue", action="store_const", const="slurm", help="workers as SLURM jobs")
    workers.add_argument("--jobqueue", metavar="KIND", help="workers as jobs of another batch system of Dask-Jobqueue")
    return main_parser


def absolute(text: str) -> Path:
    """The absolute path of a text, so that a change of the working folder does not move it."""
    return Path(text).absolute()


def positive(text: str) -> int:
    """A whole number of at least 1, from text. Raises ArgumentTypeError for a smaller one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1 is needed")
    return number


def rate(text: str) -> float:
    """A number above 0 that is not infinite, from text. Raises ArgumentTypeError for another."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: a number above 0 is needed, such as 2e13")
    return number


def memory(text: str) -> int:
    """Bytes, from text such as 24 GiB. Raises ArgumentTypeError for another."""
    if not (found := SIZE.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"{text}: a size such as '24 GiB' is needed, with quotes and the unit")
    return round(float(found[1]) * 2**30)


def checkout(start: Path) -> Path:
    """The root of the checkout around a folder. Raises Problem when there is none."""
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "src" / "splitprobe").is_dir():
            return folder
    raise Problem(f"{start} is in no checkout of splitprobe (dvc.yaml and src/splitprobe); go into one")


def use_own_sources(root: Path) -> None:
    """Restart the process with the checkout's own code, when the environment has that of another checkout."""
    source = root / "src"
    if Path(splitprobe.__file__).resolve().parent == (source / "splitprobe").resolve():
        return
    # a new process, because this one has already imported the other checkout's package
    code = f"import sys; sys.path.insert(0, {str(source)!r}); from splitprobe.engine.cli import main; sys.exit(main())"
    os.execv(sys.executable, [sys.executable, "-c", code, *sys.argv[1:]])


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 for a failure, or 128 plus the signal when interrupted."""
    try:
        root = checkout(Path.cwd())
        if arguments is None:
            use_own_sources(root)
            signal.signal(signal.SIGTERM, _terminated)
        options = parser().parse_args(arguments)
        # DVC and params.yaml name files relative to the root
        os.chdir(root)
        return COMMANDS[options.command](options, root)
    except (Problem, ParamsError, DiskFull) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        number = signal.SIGTERM if stopped.args else signal.SIGINT
        print(f"stopped by {number.name}", file=sys.stderr)
        return INTERRUPTED + number


def _terminated(*_: object) -> None:
    """End as by Ctrl-C, so that nothing half written stays."""
    raise KeyboardInterrupt(signal.SIGTERM)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn errors of DVC and of the engine within the block into a Problem; quiet DVC's own messages."""
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    # DVC's messages on each stage and its progress bars: the view has a line for each stage instead
    logging.getLogger("dvc").setLevel(logging.ERROR)
    logging.getLogger("dvc.progress").setLevel(logging.CRITICAL)
    try:
        yield
    except (Busy, DiskFull, DvcException, ConnectionError, ValueError) as error:
        if os.environ.get("SPLITPROBE_TRACEBACK"):
            raise
        if isinstance(error, SCMError) and not is_in_git(Path.cwd()):
            raise Problem(f"{Path.cwd()} {NO_GIT}") from error
        raise Problem(error) from error


def is_in_git(folder: Path) -> bool:
    """Whether a folder or one above it is a Git repository's."""
    return any((place / ".git").exists() for place in (folder, *folder.parents))


def run(options: argparse.Namespace, root: Path) -> int:
    """`splitprobe run`: build what is due and, where asked for, save an experiment. Returns the exit status."""
    # DVC is imported in the commands that use it: `splitprobe work` must run without it
    from splitprobe.engine import experiments
    from splitprobe.engine.repository import Repository

    with explained():
        if options.set_param:
            with Repository(root).claim_params(said()):
                experiments.set_params(options.set_param)
        params = Params.load()
        repository = Repository(root)
        with repository.open():
            status = build(options, root, params, repository)
            if status == 0 and (options.set_param or options.save):
                print(f"saved as an experiment: {experiments.save(repository, options.save)}", file=sys.stderr)
    return status


def said() -> str:
    """The command line, as another command's message names it."""
    return f"splitprobe {' '.join(sys.argv[1:])}"


def plan(options: argparse.Namespace, root: Path) -> int:
    """`splitprobe plan`: print the plan of what is due as JSON. Returns the exit status."""
    from splitprobe.engine.plan import make_plan

    if options.estimate and options.memory:
        raise Problem("--estimate and --memory print a table each: ask for one of them")
    if options.estimate or options.memory:
        if options.targets or options.all:
            raise Problem("--estimate and --memory are of all stages of a scale: leave targets and --all out")
        return estimate(options, root) if options.estimate else memory_table(options, root)
    if options.scale or options.flops:
        raise Problem("--scale and --flops belong to --estimate: `splitprobe plan --estimate`")
    from splitprobe.engine.repository import Repository

    with explained():
        repository = Repository(root)
        with repository.open():
            with repository.locked():
                steps = repository.plan(options.targets)
                settle_first(repository, steps)
                wanted = {step.name for step in (steps if options.all else due(repository, steps))}
                # the other machine makes again what decides about the others: it is not part of the sources
                planned = [step for step in steps if step.name in wanted or (wanted and step.first)]
                json.dump(make_plan(repository, planned), sys.stdout, indent=1)
            repository.write()
    print()
    return 0


def estimate(options: argparse.Namespace, root: Path) -> int:
    """`splitprobe plan --estimate`: print how long the stages of a scale may take. Returns the exit status."""
    from splitprobe.core import runtime
    from splitprobe.core.recipe import Study
    from splitprobe.engine.run import known_seconds
    from splitprobe.probes import workload

    study = Study(root, options.scale)
    own, files = study.params.scale, {name: root / "data" / name / "seconds/stages.json" for name in study.params.names}
    elsewhere = {stage: value for name in files if name != own for stage, value in known_seconds(files[name]).items()}
    place = None if options.flops else runtime.start(study.params.section("runtime", runtime.Settings))
    speed = options.flops or workload.measured_rate(study, place)
    found = list(workload.estimates(study, speed, known_seconds(files[own]), elsewhere))
    print(workload.table(found, own, speed, asked=bool(options.flops)))
    return 0


def memory_table(options: argparse.Namespace, root: Path) -> int:
    """`splitprobe plan --memory`: print what stages need of a device. Returns the exit status."""
    from splitprobe.core.recipe import Study
    from splitprobe.probes import memory as needs

    study = Study(root, options.scale)
    print(needs.table(needs.lines(study), study.params.scale, options.memory))
    return 0


def work(options: argparse.Namespace, root: Path) -> int:
    """`splitprobe work`: run a plan's stages. Needs no DVC, Git and Dask. Returns the exit status."""
    from splitprobe.engine.plan import BadPlan, Work, read_plan
    from splitprobe.engine.run import Build
    from splitprobe.engine.threads import Threads
    from splitprobe.engine.view import View

    try:
        steps, inputs = read_plan(options.plan, root)
        out = (options.out or root).resolve()
        book, params = Work(root, out, inputs), Params.load()
    except BadPlan as error:
        raise Problem(error) from error
    state = Build(book, View(len(steps), {}), out / "logs", fail_fast=options.fail_fast)
    state.logs.mkdir(parents=True, exist_ok=True)
    state.prepare(steps)
    devices, places = on_devices(options, params, state)
    pool = Threads(root / "src", surroundings(options, params, state), places if devices else width(options), devices)
    try:
        return finish(state, pool)
    except DiskFull as error:
        raise Problem(error) from error


def adopt(options: argparse.Namespace, root: Path) -> int:
    """`splitprobe adopt`: take over the results of `splitprobe work`. Returns the exit status."""
    from splitprobe.engine.plan import adopt as take
    from splitprobe.engine.repository import Repository

    with explained():
        repository = Repository(root)
        with repository.open():
            with repository.locked():
                steps = repository.plan([])
                with repository.claim(steps, f"splitprobe adopt {options.folder}"):
                    adopted, refused = take(repository, steps, options.folder)
            repository.write()
    for name, why in refused.items():
        print(f"{name}: not adopted, {why}", file=sys.stderr)
    print(f"{len(adopted)} stages adopted, {len(refused)} refused", file=sys.stderr)
    return 1 if refused else 0


def settle_first(repository: Repository, steps: list[Step]) -> None:
    """Build the steps that decide which others are due, here and at once. Raises Problem when one fails."""
    for step in (step for step in steps if step.first and repository.changed(step)):
        if repository.restore(step):
            continue
        before = repository.inputs(step)
        # the interpreter of this command, whatever `python` is on the path, if any
        command = step.command
        if command.startswith("python "):
            command = f"{shlex.quote(sys.executable)} {command.removeprefix('python ')}"
        how = {"cwd": step.folder, "capture_output": True, "text": True, "check": False}
        done = subprocess.run(command, shell=True, **how)
        if done.returncode:
            raise Problem(f"{step.name} failed:\n{done.stdout}{done.stderr}".rstrip())
        repository.record(step, before)


def due(repository: Repository, steps: list[Step]) -> list[Step]:
    """The steps that have changed, and those that depend on one of them."""
    due_names: set[str] = set()
    # steps come in the order of the graph, so one pass finds all that depend on a changed one
    for step in steps:
        if step.needs & due_names or repository.changed(step):
            due_names.add(step.name)
    return [step for step in steps if step.name in due_names]


def build(options: argparse.Namespace, root: Path, params: Params, repository: Repository) -> int:
    """Find out what is due, start workers if anything is, and build it. Returns the exit status."""
    from splitprobe.engine.run import Build, known_seconds, note_stages
    from splitprobe.engine.view import View

    with repository.locked():
        steps = repository.plan(options.targets)
        settle_first(repository, steps)
        wanted = due(repository, steps)
    repository.write()
    seconds = Path("data", params.scale, "seconds", "stages.json")
    view = View(len(steps), known_seconds(seconds))
    view.skip(len(steps) - len(wanted))
    if not wanted:
        view.say(f"{len(steps)} stages are up to date")
        return 0
    view.say(f"{len(steps)} stages, {len(steps) - len(wanted)} of them up to date")
    state = Build(repository, view, root / ".dvc" / "tmp" / "splitprobe", fail_fast=options.fail_fast)
    state.logs.mkdir(parents=True, exist_ok=True)
    state.prepare(wanted)
    try:
        with repository.claim(wanted, said()):
            # no workers are started where nothing has to run
            if state.settled():
                return 0 if state.report() else 1
            with pool(options, root, params, state) as workers:
                return finish(state, workers)
    finally:
        # after a failure too: the next build's estimate needs them as well
        note_stages(seconds, view.seconds)


def finish(state: Build, pool: Pool) -> int:
    """Run the build in a pool, to its end or until it is stopped; returns the exit status."""
    state.view.slots = pool.slots()
    with state.view.shown():
        state.run(pool)
    state.view.summary()
    all_built = state.report()
    if state.signal:
        state.view.say("stopped; what was finished is recorded, and the same command goes on from there")
        return INTERRUPTED + state.signal
    return 0 if all_built else 1


@contextlib.contextmanager
def pool(options: argparse.Namespace, root: Path, params: Params, state: Build) -> Iterator[Workers]:
    """The Dask workers that the options ask for, ready to run stages of this checkout."""
    from splitprobe.engine import cluster

    # at lower levels Dask reports every worker that is killed or leaves
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if options.scheduler:
        place = cluster.connected(options.scheduler)
    elif options.jobqueue:
        place = cluster.queued(options.jobqueue, width(options))
    else:
        devices, places = on_devices(options, params, state)
        # no more workers than there are steps
        place = cluster.local(min(width(options), len(state.waiting)), places, devices)
    with place as client:
        if importlib.util.find_spec("bokeh"):
            state.view.say(f"Dask's dashboard: {client.dashboard_link}")
        own = not options.scheduler
        yield cluster.Workers(client, root / "src", surroundings(options, params, state), own)


def surroundings(options: argparse.Namespace, params: Params, state: Build) -> dict[str, str]:
    """The environment that workers start with.

    A number of threads given on the command line is passed on to the stages too.
    """
    if options.threads:
        state.environment["SPLITPROBE_THREADS"] = str(options.threads)
    return quiet_cores(options.threads or params.raw("runtime.threads"))


def width(options: argparse.Namespace) -> int:
    """Stages at a time: as many as were asked for, or as many cores as this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return options.workers or cores


def on_devices(options: argparse.Namespace, params: Params, state: Build) -> tuple[list[str], int]:
    """The GPUs to use, and how many stages share each of them; the stages are told how many share their memory.

    The number is what was asked for; else it is small for a scale with wide networks and larger for others.
    """
    devices = gpus() if params.raw("runtime.device") != "cpu" else []
    widest = max(model["width"] for model in params.raw("scales.model").values())
    places = options.per_gpu or (FEW if widest >= WIDE else SEVERAL)
    if devices:
        mps = "under MPS" if mps_runs() else "MPS does not run"
        state.view.say(f"GPUs {', '.join(devices)}: {places} stages on each at a time ({mps})")
    state.environment[PLACES] = str(places if devices else width(options))
    return devices, places


def report(options: argparse.Namespace, root: Path) -> int:
    """`splitprobe report`: build a scale's tables and figures anew from its numbers. Returns the exit status."""
    from splitprobe.core.cells import Paths
    from splitprobe.core.recipe import ALONE, Recipe, Study
    from splitprobe.report.figures import FIGURES, build_figure
    from splitprobe.report.page import write_report
    from splitprobe.report.tables import TABLES, build_table

    study, paths = Study(root, options.scale), Paths(options.scale)
    folder = paths.numbers("prepared").parent
    if not folder.is_dir():
        raise Problem(f"{folder} is missing: `dvc repro` at scale {options.scale} writes it")

    def params(script: str, name: str = ALONE) -> Params:
        return Recipe.of(study.recipe(script, name)).params

    try:
        for name in TABLES:
            build_table(name, params("build_table", name), paths)
        for name in FIGURES:
            build_figure(name, params("build_figure", name), paths)
        print(write_report(params("build_report"), paths, list(TABLES), list(FIGURES)))
    except (OSError, ValueError) as error:
        if os.environ.get("SPLITPROBE_TRACEBACK"):
            raise
        raise Problem(error) from error
    return 0


COMMANDS = {"run": run, "plan": plan, "work": work, "adopt": adopt, "report": report}
