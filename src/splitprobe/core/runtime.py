"""Device, precision, threads, seeds, and the frame every stage script runs in. torch is imported only when needed."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import logging
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from splitprobe.core.artifacts import no_room, read_json, write_json
from splitprobe.core.params import ParamsError, bounded

if TYPE_CHECKING:
    import torch

log = logging.getLogger("splitprobe")
MACHINE = Path("data/machine.json")  # git-ignored: what was measured on this machine
PLAIN = "{desc}: {n_fmt}/{total_fmt} {unit}{postfix}"  # of a progress bar that another program reads
AUTO, SIZE = "auto", re.compile(r"(\d+(?:\.\d+)?) ?GiB")  # values of runtime.memory
SHARE = 0.5  # of the memory that features may take; networks and batches have the rest
PLACES = "SPLITPROBE_PLACES"  # in the environment: how many stages share a device, as `splitprobe run` sets it
GAIN = 1.2  # the other precision must be this much faster to be chosen, so that noise never flips the choice
WARM_UP, TIMED = 6, 5  # steps before the clock starts, in which a CUDA graph is recorded too, and timed steps
# gives a function that makes one training step under a runtime
Build = Callable[["Runtime"], Callable[[], object]]


@dataclass(frozen=True)
class Settings:
    """The section ``runtime``."""

    device: str = bounded(choices=("auto", "cpu", "cuda"))
    precision: str = bounded(choices=("auto", "float32", "bfloat16"))
    channels_last: bool
    threads: int = bounded(1, 1024)
    graphs: bool
    repeatable: bool
    compile: int | None = bounded(1, 1_000_000_000)
    memory: str

    def __post_init__(self) -> None:
        if self.memory != AUTO and not SIZE.fullmatch(self.memory):
            raise ParamsError(
                f"runtime.memory = {self.memory!r}: write {AUTO} or a size such as '24 GiB', with quotes and the unit"
            )

    @property
    def most(self) -> int | None:
        """Bytes of ``memory``; None for what the device has free."""
        return None if self.memory == AUTO else round(float(SIZE.fullmatch(self.memory)[1]) * 2**30)


@dataclass(frozen=True)
class Runtime:
    """A device with the precision that networks are trained in. Losses and distances are float32 everywhere.

    ``precision`` is "auto" until :meth:`settled` has decided it; what is not decided is float32. ``graphs`` says that
    training steps may be replayed as CUDA graphs (learning/replay.py). Networks are compiled for trainings of at least
    ``compile`` steps; None: for none.
    """

    device: torch.device
    precision: str
    channels_last: bool
    name: str
    graphs: bool = False
    memory: int | None = None  # bytes of the device that a stage may use; None: what is free
    compile: int | None = None

    def keeps(self, size: int) -> bool:
        """Whether so many bytes are kept on the device that could be computed anew: at most SHARE of the memory."""
        return size <= SHARE * (free(self.device) if self.memory is None else self.memory)

    def autocast(self) -> contextlib.AbstractContextManager:
        """The autocast context for forward passes; does nothing but in bfloat16."""
        import torch

        if self.precision != "bfloat16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def at(self, precision: str) -> Runtime:
        """The same device in a given precision."""
        if precision == self.precision:
            return self
        return replace(self, precision=precision, name=f"{self.name.removesuffix(f', {self.precision}')}, {precision}")

    def compiled(self, function: Callable, steps: int) -> Callable:
        """A function of tensors, compiled where so many calls are worth it on a GPU; else as it is.

        Where the compiler fails, as for want of a C compiler, the log says so and the function runs as it is.
        """
        if self.device.type != "cuda" or self.compile is None or steps < self.compile:
            return function
        import torch

        chosen = [torch.compile(function, dynamic=False)]

        def run(*inputs: object) -> object:
            try:
                return chosen[0](*inputs)
            except torch._dynamo.exc.TorchDynamoException as error:
                log.warning("a network is not compiled: %s", str(error).strip().split("\n")[0])
                chosen[0] = function
                return function(*inputs)

        return run

    def settled(self, work: str, build: Build) -> Runtime:
        """This runtime with its precision decided, where it is "auto": the faster one, measured by steps of ``build``.

        The choice is noted in data/machine.json and never measured again there. The key is torch's version, the
        processor, what of the section ``runtime`` changes speed, and ``work``: what is trained, with all sizes.
        """
        return self if self.precision != "auto" else self.at(_faster_precision(self, work, build))

    def place(self, module: torch.nn.Module) -> torch.nn.Module:
        """Move a network to the device, in the chosen memory format."""
        import torch

        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return module.to(self.device).to(memory_format=layout)

    def images(self, array: object) -> torch.Tensor:
        """uint8 images (N, H, W, C) as a resident tensor (N, C, H, W) whose memory is already channels last."""
        import torch

        tensor = torch.as_tensor(array).to(self.device).permute(0, 3, 1, 2)
        return tensor if self.channels_last else tensor.contiguous()

    def generator(self, seed: int, *names: object) -> torch.Generator:
        """A generator on the device, seeded by the run's seed and the purpose it serves."""
        import torch

        return torch.Generator(self.device).manual_seed(derive(seed, *names))

    @contextlib.contextmanager
    def seeded(self, seed: int, *names: object) -> Iterator[None]:
        """Seed torch's global generators within the block: weight initialization and nn.Dropout know no other."""
        import torch

        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(derive(seed, *names))
            yield


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed out of the run's seed and a purpose; the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def start(settings: Settings) -> Runtime:
    """Choose device and precision, set the threads, ask for repeatable kernels.

    Raises ParamsError when the device asked for is absent.
    """
    import torch

    # `splitprobe run --threads` has the last word: how many are best depends on what else runs
    torch.set_num_threads(int(os.environ.get("SPLITPROBE_THREADS", settings.threads)))
    cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not cuda:
        raise ParamsError("runtime.device = 'cuda': no GPU is usable here; set it to auto or cpu")
    device = torch.device("cuda" if cuda and settings.device != "cpu" else "cpu")
    repeat(settings.repeatable, device)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # on by default: a GPU's convolutions would keep 10 bits of float32's 23
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {threads} thread{'s' * (threads > 1)}"
    undecided = Runtime(device, "auto", settings.channels_last, name, settings.graphs, settings.most, settings.compile)
    if settings.precision == "auto" and device.type == "cpu":
        return undecided.at("float32")  # a clock must not decide the digits of results that any CPU can make again
    return undecided.at(settings.precision)


def free(device: torch.device) -> float:
    """Bytes that a device has free, divided by the number of stages that share it; infinite where nothing tells."""
    import torch

    places = int(os.environ.get(PLACES, 1))
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for what comes
        return (torch.cuda.mem_get_info(device)[0] + held) / places
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024 / places
    return math.inf


def repeat(repeatable: bool, device: torch.device) -> None:
    """Ask a GPU for kernels that give the same digits in each run, or for the fastest ones; a CPU's always repeat."""
    import torch

    torch.backends.cudnn.benchmark = not repeatable
    torch.backends.cudnn.deterministic = repeatable
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # matrix products repeat with this alone
        torch.use_deterministic_algorithms(repeatable, warn_only=True)  # a kernel that has no such form says so
        torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a kernel per tensor


def _faster_precision(runtime: Runtime, work: str, build: Build) -> str:
    """The faster precision of some work on this machine, measured once and remembered, so that later stages agree."""
    key = f"{_machine(runtime)}, {work}"
    with _other_processes_wait():  # stages that start together must not choose differently
        try:
            known = dict(read_json(MACHINE))
        except (FileNotFoundError, ValueError):
            known = {}
        noted = known.get(key)
        if not isinstance(noted, dict) or noted.get("precision") not in ("float32", "bfloat16"):
            with runtime.seeded(0, "precision"):  # what is trained next must not depend on whether this was measured
                seconds = {name: _step_seconds(runtime.at(name), build) for name in ("float32", "bfloat16")}
            gc.collect()  # networks that were measured, and recorded steps, may hold one another in a GPU's memory
            ratio = seconds["float32"] / seconds["bfloat16"]
            known[key] = {"precision": "bfloat16" if ratio > GAIN else "float32", "bfloat16_speedup": ratio}
            log.info("%s: bfloat16 runs at %.2fx the speed of float32 here: %s", work, ratio, known[key]["precision"])
            write_json(MACHINE, known)
    return known[key]["precision"]


@contextlib.contextmanager
def _other_processes_wait() -> Iterator[None]:
    """Keep other processes of this checkout out of the block."""
    MACHINE.parent.mkdir(parents=True, exist_ok=True)
    with open(MACHINE.with_suffix(".lock"), "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _step_seconds(runtime: Runtime, build: Build) -> float:
    """The best time of a training step."""
    import torch

    step, best = build(runtime), float("inf")
    for i in range(WARM_UP + TIMED):
        begin = time.perf_counter()
        step()
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()
        if i >= WARM_UP:
            best = min(best, time.perf_counter() - begin)
    return best


def _machine(runtime: Runtime) -> str:
    """What a step's time depends on beside the work."""
    import torch

    repeatable = torch.are_deterministic_algorithms_enabled()
    here = f"torch {torch.__version__}, {_processor(runtime.device)}, {torch.get_num_threads()} threads"
    return f"{here}, channels_last={runtime.channels_last}, graphs={runtime.graphs}, {repeatable=}"


def _processor(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, float32 without TF32"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    import platform

    return platform.processor() or platform.machine()


def run_stage(main: Callable[[list[str]], None]) -> None:
    """Run a stage script: log to stderr.

    A mistake in the user's files, a damaged file or a full disk ends in one line and exit status 1; Ctrl-C in status
    130.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    begin = time.perf_counter()
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        if os.environ.get("SPLITPROBE_TRACEBACK"):
            raise
        full = isinstance(error, OSError) and error.filename and no_room(error)
        text = f"{full}: there is no space for {error.filename}" if full else error
        sys.exit(f"error: {text}\n(SPLITPROBE_TRACEBACK=1 shows where it came from)")
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    log.info("done in %.1f s", time.perf_counter() - begin)


def progress(steps: range, label: str, unit: str = "epoch") -> tqdm:
    """A progress bar with time left on a terminal, nothing in a log file; ``set_postfix`` shows the loss terms.

    Under ``splitprobe run`` it goes to a file that the live view reads.
    """
    file = os.environ.get("SPLITPROBE_PROGRESS")
    if file:
        return _Reported(steps, desc=label, file=open(file, "w"), mininterval=1, unit=unit, bar_format=PLAIN)
    return tqdm(steps, desc=label, disable=None, leave=False, dynamic_ncols=True, unit=unit)


class _Reported(tqdm):
    """A progress bar in a file, which it closes."""

    def close(self) -> None:
        super().close()
        self.fp.close()
