"""A process that has imported torch and other slow modules, and forks a child for each stage.

A stage then starts in milliseconds, in a process of its own: generators, flags, modules, figures and memory of one
stage cannot reach the next. :class:`splitprobe.engine.launcher.Launcher` runs this file by its path, with the standard
library alone. splitprobe itself is never imported here, since each stage takes the sources of its own checkout.

Requests are JSON lines on standard input:

- ``{"start": NUMBER, "command", "folder", "environment", "log", "outs"}`` runs a stage;
- ``{"stop": NUMBER}`` ends it.

Answers are JSON lines on standard output:

- ``{"ready": PID}``, once;
- ``{"started": NUMBER, "pid"}`` and ``{"ended": NUMBER, "status", "seconds", "memory_mb"}`` for each stage. A negative
  status is the signal that ended the stage.

When standard input closes, all stages are killed, so that none outlives its worker.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

# the slow ones among the modules that stages import, the first before any stage, the others while the first stages run;
# SPLITPROBE_PRELOAD names others, or none
PRELOADED = (
    "torch,tqdm,ruamel.yaml,PIL.Image,torch.utils.flop_counter,skimage.metrics,pandas,matplotlib.pyplot,"
    "fontTools.subset,opacus"
)
IDLE = 600.0  # seconds without a stage after which a server ends: a killed driver cannot tell it to
GRACE = 3.0  # seconds that a stopped stage has to tidy up before it is killed


def remove(outs: list[str], folder: str) -> None:
    """Delete outputs of a stage, and half-written files beside them that have temporary names."""
    for out in outs:
        path = os.path.join(folder, out)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        parent, name = os.path.split(path)
        if os.path.isdir(parent):
            for other in os.listdir(parent):
                if other.startswith(f".{name}."):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(parent, other))


def execute(request: dict, leash: int) -> int:
    """Run the stage of a ``start`` request in this process, which was forked for it; returns its exit status."""
    os.setsid()  # Ctrl-C on the terminal then reaches the driver alone, which decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an exit, so that `finally` blocks run
    threading.Thread(target=_die_with_server, args=(leash,), daemon=True).start()
    os.chdir(request["folder"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    no_input = os.open(os.devnull, os.O_RDONLY)
    for source, number in ((no_input, 0), (log, 1), (log, 2)):
        os.dup2(source, number)
    os.environ.update(request["environment"])
    remove(request["outs"], request["folder"])
    words = shlex.split(request["command"])
    if len(words) < 2 or words[0] != "python" or not words[1].endswith(".py"):
        return subprocess.call(["/bin/sh", "-c", request["command"]])  # no Python script: run as DVC runs it
    sys.argv, sys.path[:0] = words[1:], [os.path.join(request["folder"], os.path.dirname(words[1]))]
    try:
        runpy.run_path(words[1], run_name="__main__")
        return 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()


def _die_with_server(leash: int) -> None:
    """Wait until the server is gone, which closes the other end of the pipe ``leash``, then kill this stage."""
    os.read(leash, 1)
    os.killpg(0, signal.SIGKILL)


class Server:
    """Starts, stops and waits for stages until standard input closes."""

    def __init__(self) -> None:
        # answers have their own descriptor, so that nothing a library prints can break them
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.leash, self.held = os.pipe()
        self.numbers: dict[int, int] = {}  # process to stage
        self.begun: dict[int, float] = {}
        self.stopped: dict[int, float] = {}  # process to the time at which it is killed
        self.pending = b""
        self.modules = [name for name in os.environ.get("SPLITPROBE_PRELOAD", PRELOADED).split(",") if name]
        self.used = time.monotonic()

    def answer(self, **message: object) -> None:
        """Write one answer; does nothing when nobody listens any more."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(message), file=self.answers, flush=True)

    def serve(self) -> None:
        """Handle requests and ends of stages; returns when standard input closes and every stage is killed."""
        woken, wake = os.pipe()
        for end in (woken, wake):
            os.set_blocking(end, False)
        # the end of a child writes to this pipe and so wakes `select`
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.answer(ready=os.getpid())
        while True:
            wait = min(self.stopped.values(), default=time.monotonic() + IDLE) - time.monotonic()
            readable, _, _ = select.select([0, woken], [], [], 0 if self.modules else max(0.0, wait))
            if not readable:
                self.preload()
            if woken in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
            self.collect()
            for process, deadline in list(self.stopped.items()):
                if time.monotonic() >= deadline:
                    self.signal(process, signal.SIGKILL)
            if 0 in readable and not self.read():
                break
            if self.numbers or readable:
                self.used = time.monotonic()
            elif time.monotonic() - self.used > IDLE:
                break
        for process in self.numbers:
            self.signal(process, signal.SIGKILL)
        for process in self.numbers:
            os.waitpid(process, 0)

    def preload(self) -> None:
        """Import the next of the modules, if one is left."""
        if not self.modules:
            return
        # a parent that has initialized CUDA would leave its children without it: imports ask NVML instead
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        with contextlib.suppress(ImportError):  # a stage that needs it will say so
            importlib.import_module(self.modules.pop(0))
        del os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"]
        gc.collect()
        gc.freeze()  # children leave these objects' pages shared

    def read(self) -> bool:
        """Carry out the requests that have arrived; returns False once standard input is closed."""
        data = os.read(0, 1 << 16)
        *lines, self.pending = (self.pending + data).split(b"\n")
        for request in map(json.loads, lines):
            if "start" in request:
                self.start(request)
            else:
                self.stop(request["stop"])
        return bool(data)

    def start(self, request: dict) -> None:
        """Fork a child that runs the stage of a request."""
        process = os.fork()
        if process == 0:
            status = 1
            try:
                # only the server may hold this end: the stage dies when it closes
                os.close(self.held)
                os.close(self.answers.fileno())
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                status = execute(request, self.leash)
                if status < 0:  # a shell command that was killed: end by the same signal
                    os.kill(os.getpid(), -status)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)  # skips exit handlers, which belong to the server
        self.numbers[process], self.begun[process] = request["start"], time.monotonic()
        self.answer(started=request["start"], pid=process)

    def stop(self, number: int) -> None:
        """Ask a stage, by its number, to end; it is killed after a while if it does not."""
        for process, known in self.numbers.items():
            if known == number and process not in self.stopped:
                self.stopped[process] = time.monotonic() + GRACE
                self.signal(process, signal.SIGTERM)

    def signal(self, process: int, number: int) -> None:
        """Send a signal to a stage's process and to what that has started."""
        for send in (os.killpg, os.kill):  # both: before setsid there is no group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(process, number)

    def collect(self) -> None:
        """Report the stages that have ended."""
        while self.numbers:
            process, status, usage = os.wait4(-1, os.WNOHANG)
            if not process:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process, signal.SIGKILL)  # processes that it started and left behind
            self.stopped.pop(process, None)
            number, begun = self.numbers.pop(process, None), self.begun.pop(process, 0.0)
            self.answer(
                ended=number,
                status=os.waitstatus_to_exitcode(status),
                seconds=time.monotonic() - begun,
                memory_mb=usage.ru_maxrss / 1024,
            )


def main() -> None:
    """Import the first module, then serve."""
    sys.path.pop(0)  # the folder of this file, whose modules must not be importable in stages
    server = Server()
    server.preload()
    server.serve()
    os._exit(0)  # at once: tearing down the imported modules would take a second


if __name__ == "__main__":
    main()
