"""`splitprobe run --scheduler` on Dask clusters of real processes: workers and drivers that die, TLS, a GPU to share.

Run by hand, in an environment that the project is installed in, for about four minutes on two cores::

    python tests/cluster/dask_processes.py

Scheduler, workers and drivers are processes of their own, in folders of their own, on free ports of this machine; what
is built is a copy of this checkout, at scale tiny, in a temporary folder. The workers' own splitprobe is broken on
purpose: all that they need of it is to reach them from the driver. Stops with an AssertionError at the first surprise.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = Path(sys.executable).parent  # of dvc, dask and splitprobe
PATIENCE = 240.0  # seconds for whatever is waited for


def copy_checkout(to: Path) -> None:
    """A clone with the working tree's state, at scale tiny, with nothing built and DVC's cache empty."""
    subprocess.run(["git", "clone", "-q", ROOT, to], check=True)
    command = ["git", "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # deleted here, too
            shutil.copy2(ROOT / name, to / name)
    params = to / "params.yaml"
    params.write_text(re.sub(r"(?m)^scale: \w+", "scale: tiny", params.read_text()))


def wait_for(what: str, condition: Callable[[], object], seconds: float = PATIENCE) -> object:
    """The first true value of the condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")


def descendants(process: subprocess.Popen) -> list[psutil.Process]:
    """The processes that it has started, directly or not."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def stages(process: subprocess.Popen) -> dict[str, int]:
    """The stages that run below a process, by name, with their process numbers: they write into their stage's log."""
    found = {}
    for child in descendants(process):
        with contextlib.suppress(OSError):
            output = Path(os.readlink(f"/proc/{child.pid}/fd/1"))
            if output.suffix == ".log" and output.parent.name == "splitprobe":
                found[output.stem.replace("~", "/")] = child.pid
    return found


def trainings(process: subprocess.Popen) -> dict[str, int]:
    """Those of them that train a network."""
    return {name: number for name, number in stages(process).items() if name.startswith("train_")}


class Cluster:
    """A Dask scheduler and its workers, as processes with a folder each."""

    def __init__(self, folder: Path, protocol: str = "tcp", settings: dict[str, str] | None = None) -> None:
        folder.mkdir()
        self.folder = folder
        self.environment = os.environ | {"DASK_CONFIG": str(folder)} | (settings or {})  # nobody's own configuration
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"{protocol}://127.0.0.1:{port}"
        where = ["--protocol", protocol, "--host", "127.0.0.1", "--port", port]
        self.processes = [self.dask("scheduler", "scheduler", *where, "--no-dashboard", "--no-show")]
        wait_for("the scheduler", lambda: "Scheduler at" in self.log("scheduler"))

    def dask(self, name: str, *arguments: object) -> subprocess.Popen:
        """Start a command of Dask's in a folder of its own, where ``import splitprobe`` fails."""
        broken = self.folder / name / "path" / "splitprobe"
        broken.mkdir(parents=True)
        (broken / "__init__.py").write_text("raise ImportError('a worker has its own splitprobe imported')\n")
        with open(self.folder / f"{name}.log", "w") as log:
            return subprocess.Popen(
                [COMMANDS / "dask", *map(str, arguments)],
                cwd=self.folder / name,
                env=self.environment | {"PYTHONPATH": str(broken.parent)},
                stdout=log,
                stderr=log,
            )

    def worker(self, name: str, *options: object) -> subprocess.Popen:
        """Start a worker of one thread, if the options do not say otherwise, and wait until it is there."""
        threads = () if "--nthreads" in options else ("--nthreads", 1)
        process = self.dask(name, "worker", self.address, "--name", name, "--no-dashboard", *threads, *options)
        self.processes.append(process)
        wait_for(f"worker {name}", lambda: "Registered to" in self.log(name))
        return process

    def log(self, name: str) -> str:
        """What a process has printed."""
        return (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        """End all of them, the scheduler last."""
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:  # Dask's own: seen where a worker's two reasons to stop coincide
                process.kill()
                process.wait()


@contextlib.contextmanager
def cluster(folder: Path, protocol: str = "tcp", settings: dict[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster that is ended in any case."""
    started = Cluster(folder, protocol, settings)
    try:
        yield started
    finally:
        started.close()


class Driver:
    """A `splitprobe run` in the background."""

    def __init__(self, checkout: Path, of: Cluster, *targets: str) -> None:
        self.output = of.folder / "driver.log"
        with open(self.output, "w") as log:
            command = [COMMANDS / "splitprobe", "run", "--scheduler", of.address, *targets]
            self.process = subprocess.Popen(command, cwd=checkout, env=of.environment, stdout=log, stderr=log)
        of.processes.append(self.process)

    def alive(self) -> bool:
        """True; an AssertionError once it has ended."""
        assert self.process.poll() is None, f"ended early\n{self.text()}"
        return True

    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text()

    def finish(self) -> str:
        """Wait for it; it must end well. Returns what it has printed."""
        status = self.process.wait(PATIENCE)
        assert status == 0, f"exit status {status}\n{self.text()}"
        return self.text()


def entries(checkout: Path) -> dict[str, object]:
    """The stages of dvc.lock."""
    return yaml.load((checkout / "dvc.lock").read_text(), yaml.CSafeLoader)["stages"]


def clean(checkout: Path, *targets: str) -> None:
    """Check with DVC that the targets are up to date."""
    found = subprocess.run([COMMANDS / "dvc", "status", *targets], cwd=checkout, capture_output=True, text=True)
    assert found.returncode == 0 and "up to date" in found.stdout, found.stdout + found.stderr


def gone(processes: list[int], seconds: float = 15.0) -> None:
    """Wait until none of the processes runs any more."""
    wait_for(f"the end of {processes}", lambda: not any(map(psutil.pid_exists, processes)), seconds)


def workers_die(checkout: Path, folder: Path) -> None:
    """One worker of two is killed in the middle of a stage, then the other one, which its nanny starts again."""
    targets = ["build_table@table1", *(f"train_target@cnn/{name}" for name in ("unprotected", "nls", "vib", "ae"))]
    before = entries(checkout)
    with cluster(folder) as dask:
        alone, nannied = dask.worker("alone", "--no-nanny"), dask.worker("nannied")
        driver = Driver(checkout, dask, *targets)
        wait_for("a training on the first", lambda: driver.alive() and trainings(alone))
        lost = trainings(alone)
        alone.kill()
        alone.wait()
        gone(list(lost.values()))
        wait_for("a training on the second", lambda: driver.alive() and trainings(nannied))
        again = trainings(nannied)
        worker = next(p for p in descendants(nannied) if any(c.pid in again.values() for c in p.children(True)))
        worker.kill()
        gone(list(again.values()))
        output = driver.finish()
    for name in (*lost, *again):
        assert re.search(rf"\] {re.escape(name)} built", output), output
    clean(checkout, *targets)
    after = entries(checkout)
    built = set(re.findall(r"\] (\S+) built", output))
    assert all(after[name] == entry for name, entry in before.items() if name not in built)
    assert after.keys() - before.keys() <= built and len(built) == 9, built
    print(f"  killed with their workers and built again: {', '.join([*lost, *again])}")


def driver_dies(checkout: Path, folder: Path) -> None:
    """The driver is killed: so are its stages; the next one goes on where it stopped, on the same workers."""
    targets = [f"train_target@cnn/{name}" for name in ("unprotected", "nls", "siftfunnel", "nopeek")]
    with cluster(folder) as dask:
        workers = [dask.worker("first"), dask.worker("second", "--no-nanny")]
        driver = Driver(checkout, dask, *targets)
        wait_for("a training on each", lambda: driver.alive() and all(map(trainings, workers)))
        lost = {**stages(workers[0]), **stages(workers[1])}
        driver.process.send_signal(signal.SIGKILL)
        driver.process.wait()
        begun = time.monotonic()
        gone(list(lost.values()))
        seconds = time.monotonic() - begun
        assert not any(map(stages, workers))
        output = Driver(checkout, dask, *targets).finish()
    assert all(f"{name} built" in output for name in lost), output
    clean(checkout, *targets)
    print(f"  {', '.join(lost)} ended {seconds:.1f} s after their driver, and were built by the next one")


def tls(checkout: Path, folder: Path) -> None:
    """Scheduler, workers and driver with one certificate, in one file of configuration; a stranger is turned away."""
    keys = folder.parent / "tls"
    keys.mkdir()
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=splitprobe -keyout key.pem -out cert.pem"
    subprocess.run(make.split(), cwd=keys, check=True, capture_output=True)
    pair = {"cert": str(keys / "cert.pem"), "key": str(keys / "key.pem")}
    encryption = {"ca-file": pair["cert"], "scheduler": pair, "worker": pair, "client": pair}
    comm = {"require-encryption": True, "tls": encryption}
    (keys / "dask.yaml").write_text(yaml.safe_dump({"distributed": {"comm": comm}}))
    target = "train_target@cnn/gaussian_noise"
    with cluster(folder, "tls", {"DASK_CONFIG": str(keys)}) as dask:
        dask.worker("nannied")
        dask.worker("alone", "--no-nanny")
        output = Driver(checkout, dask, target).finish()
        dask.environment["DASK_CONFIG"] = str(folder)
        stranger = Driver(checkout, dask, "train_target@cnn/dropout")
        assert stranger.process.wait(PATIENCE) == 1, stranger.text()
        assert stranger.text().splitlines()[-1].startswith(f"error: --scheduler {dask.address}: "), stranger.text()
    assert f"{target} built" in output, output
    clean(checkout, target)
    print(f"  built over {dask.address}; without the certificate: {stranger.text().splitlines()[-1][:100]}")


def gpu(checkout: Path, folder: Path) -> None:
    """A worker of four threads with one unit of a GPU, another without: trainings run on the first, one at a time."""
    targets = [*(f"train_target@faces/{name}" for name in ("nls", "ae", "vib")), "calibrate_information"]
    on_gpu, beside = [], set()
    with cluster(folder) as dask:
        has, without = dask.worker("gpu", "--nthreads", 4, "--resources", "GPU=1"), dask.worker("cpu")
        driver = Driver(checkout, dask, *targets)
        while driver.process.poll() is None:
            now = {*trainings(has)}
            assert not trainings(without), "a training on the worker without a GPU"
            assert len(now) <= 1, f"{now} share a GPU's only unit"
            on_gpu.extend(now - {*on_gpu})
            beside |= {*stages(has), *stages(without)} - now if now else set()
            time.sleep(0.02)
        driver.finish()
    assert sorted(on_gpu) == sorted(target for target in targets if target.startswith("train_"))
    clean(checkout, *targets)
    print(f"  one after the other: {', '.join(on_gpu)}; beside them: {', '.join(beside) or 'nothing'}")


CASES = {case.__name__: case for case in (workers_die, driver_dies, tls, gpu)}


def main(names: list[str]) -> None:
    """Run the cases named, or all of them."""
    os.environ.update(OMP_WAIT_POLICY="passive", OMP_NUM_THREADS="1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that clusters are ended
    for name in names or CASES:
        case = CASES[name]
        print(f"{name}: {case.__doc__}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            begun, checkout = time.monotonic(), Path(folder, "checkout")
            copy_checkout(checkout)
            case(checkout, Path(folder, "cluster"))
            print(f"  passed, {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
