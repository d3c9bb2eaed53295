"""A process that has imported torch and the like, and forks a child for each stage.

A stage so starts in milliseconds, and in a process of its own: generators, flags, modules, figures and memory of one
stage cannot reach the next. Run by its path, with the standard library alone, by :class:`splitprobe.engine.launcher.
Launcher`; splitprobe itself is never imported here, since each stage takes the sources of its own checkout.

Requests are JSON lines on standard input: ``{"start": NUMBER, "command", "folder", "environment", "log", "outs"}`` runs
a stage, ``{"stop": NUMBER}`` ends it. Answers are JSON lines on standard output: ``{"ready": PID}`` once, and for each
stage ``{"started": NUMBER, "pid"}`` and ``{"ended": NUMBER, "status", "seconds", "memory_mb"}``; a negative status is
the signal that ended the stage. When standard input closes, all stages are killed: nothing goes on without its worker.
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

# what stages import, as far as it is slow; SPLITPROBE_PRELOAD names others, or none
PRELOADED = "torch,torch.utils.flop_counter,opacus,matplotlib.pyplot,skimage.metrics,PIL.Image,tqdm,ruamel.yaml"
IDLE = 600.0  # seconds without a stage after which a server ends: a driver that was killed cannot ask for it
GRACE = 3.0  # seconds that a stopped stage has to tidy up before it is killed


def remove(outs: list[str], folder: str) -> None:
    """Delete outputs of a stage, and what was half written beside them under a temporary name."""
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
    """Run one stage in this process, which was forked for it; returns its exit status."""
    os.setsid()  # Ctrl-C on the terminal reaches the driver alone, which decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that `finally` tidies up
    threading.Thread(target=_die_with, args=(leash,), daemon=True).start()
    os.chdir(request["folder"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, number)
    os.environ.update(request["environment"])
    remove(request["outs"], request["folder"])
    words = shlex.split(request["command"])
    if len(words) < 2 or words[0] != "python" or not words[1].endswith(".py"):
        return subprocess.call(["/bin/sh", "-c", request["command"]])  # not one of ours: as DVC runs it
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


def _die_with(leash: int) -> None:
    """Wait for the end of the pipe whose other end only the server holds; then end this stage too."""
    os.read(leash, 1)
    os.killpg(0, signal.SIGKILL)


class Server:
    """Starts, stops and waits for stages until standard input closes."""

    def __init__(self) -> None:
        # the answers' own descriptor, so that whatever a library prints cannot break them
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.leash, self.held = os.pipe()
        self.numbers: dict[int, int] = {}  # process to stage
        self.begun: dict[int, float] = {}
        self.stopped: dict[int, float] = {}  # process to the time at which it is killed
        self.pending = b""
        self.used = time.monotonic()

    def answer(self, **message: object) -> None:
        """Write one line, unless nobody listens any more."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(message), file=self.answers, flush=True)

    def serve(self) -> None:
        """Handle requests and ends of stages; returns when standard input closes and everything is killed."""
        woken, wake = os.pipe()
        for end in (woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.answer(ready=os.getpid())
        while True:
            wait = min(self.stopped.values(), default=time.monotonic() + IDLE) - time.monotonic()
            found, _, _ = select.select([0, woken], [], [], max(0.0, wait))
            if woken in found:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
            self.collect()
            for process, deadline in list(self.stopped.items()):
                if time.monotonic() >= deadline:
                    self.signal(process, signal.SIGKILL)
            if 0 in found and not self.read():
                break
            if self.numbers or found:
                self.used = time.monotonic()
            elif time.monotonic() - self.used > IDLE:
                break
        for process in self.numbers:
            self.signal(process, signal.SIGKILL)
        for process in self.numbers:
            os.waitpid(process, 0)

    def read(self) -> bool:
        """Take the requests that have arrived; False once standard input is closed."""
        data = os.read(0, 1 << 16)
        *lines, self.pending = (self.pending + data).split(b"\n")
        for request in map(json.loads, lines):
            if "start" in request:
                self.start(request)
            else:
                self.stop(request["stop"])
        return bool(data)

    def start(self, request: dict) -> None:
        """Fork a child for the stage."""
        process = os.fork()
        if process == 0:
            status = 1
            try:
                os.close(self.held)
                os.close(self.answers.fileno())
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                status = execute(request, self.leash)
                if status < 0:  # a command of its own that was killed
                    os.kill(os.getpid(), -status)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)  # without this process's exit handlers, which belong to the server
        self.numbers[process], self.begun[process] = request["start"], time.monotonic()
        self.answer(started=request["start"], pid=process)

    def stop(self, number: int) -> None:
        """Ask a stage to end; it is killed if it does not."""
        for process, known in self.numbers.items():
            if known == number and process not in self.stopped:
                self.stopped[process] = time.monotonic() + GRACE
                self.signal(process, signal.SIGTERM)

    def signal(self, process: int, number: int) -> None:
        """Send a signal to a stage and to what it has started."""
        for send in (os.killpg, os.kill):  # the group is not there before setsid
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(process, number)

    def collect(self) -> None:
        """Report the stages that have ended."""
        while self.numbers:
            process, status, usage = os.wait4(-1, os.WNOHANG)
            if not process:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process, signal.SIGKILL)  # what it has started and left
            self.stopped.pop(process, None)
            number, begun = self.numbers.pop(process, None), self.begun.pop(process, 0.0)
            self.answer(
                ended=number,
                status=os.waitstatus_to_exitcode(status),
                seconds=time.monotonic() - begun,
                memory_mb=usage.ru_maxrss / 1024,
            )


def main() -> None:
    """Import what stages need, then serve."""
    sys.path.pop(0)  # the folder of this file, whose modules are none of a stage's business
    server = Server()
    # a parent that has asked CUDA itself would leave its children without it: NVML is asked instead
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    for name in filter(None, os.environ.get("SPLITPROBE_PRELOAD", PRELOADED).split(",")):
        with contextlib.suppress(ImportError):  # whoever needs it will say so
            importlib.import_module(name)
    del os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"]
    gc.collect()
    gc.freeze()  # children leave these objects' pages shared
    server.serve()
    os._exit(0)  # tearing down all that was imported would take a second


if __name__ == "__main__":
    main()
