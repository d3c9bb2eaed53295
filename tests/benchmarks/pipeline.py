"""The whole pipeline in fresh clones: `splitprobe run` against `dvc repro`, and two programs on the same cores.

    python tests/benchmarks/pipeline.py [--scale tiny] [--serial]

Needs the committed state and an idle machine; minutes at scale tiny, an hour at demo with ``--serial``, which builds a
second clone by `dvc repro` for comparison. Nothing is asserted.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CIFAR10 = ROOT / "data/raw/small/objects/cifar10.zip"
SPLITPROBE = ["-c", "import sys; from splitprobe.engine.cli import main; sys.exit(main())"]
PATIENCE = 300  # seconds after which two programs on the same cores are given up
STEPS = """
import sys, time, torch
sys.path[:0] = ["src", "tests/benchmarks"]
from steps import BATCH, Params, runtime, trainer
place = runtime.Runtime(torch.device("cpu"), "float32", True, "")
torch.set_num_threads(int(sys.argv[1]))
one = trainer(Params.load(), place, "siftfunnel")
x, y = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8), torch.arange(BATCH) % 10
one.step(x, y)
begin = time.perf_counter()
for _ in range(40):
    one.step(x, y)
print(time.perf_counter() - begin)
"""


def seconds(folder: Path, *command: str, shown: str = "") -> float:
    """Wall time of a command, whose output is shown only when it fails, but for the lines that begin with ``shown``."""
    begin = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    taken = time.perf_counter() - begin
    for line in done.stderr.splitlines():
        if shown and line.startswith(shown):
            print(f"    {line}")
    return taken


def prepare_cifar10(clone: Path) -> None:
    """Time and peak memory of preparing all 60,000 images, the first of this process's large children."""
    raw = clone / "data/raw/small/objects"
    shutil.copy(CIFAR10, raw)
    params = (clone / "params.yaml").read_text()
    changed = params.replace("scale: demo ", "scale: small ", 1)
    changed = re.sub(r"small: \d+, paper: (36000|4000|10000)}", r"small: \1, paper: \1}", changed)
    (clone / "params.yaml").write_text(changed)
    seconds(clone, "stages/write_recipes.py")
    taken = seconds(clone, "stages/prepare.py", "objects")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"60,000 images of cifar10.zip prepared in {taken:.1f} s, {peak:.0f} MB", flush=True)
    (clone / "params.yaml").write_text(params)
    (raw / CIFAR10.name).unlink()


def clone_at(place: Path, scale: str) -> Path:
    """A clone of the committed state, set to a scale."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(place)], check=True)
    text = (place / "params.yaml").read_text()
    (place / "params.yaml").write_text(text.replace("scale: demo ", f"scale: {scale} ", 1))
    subprocess.run(["git", "-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-qam", "scale"], cwd=place)
    return place


def build(place: Path, scale: str, serial: bool) -> None:
    """Build a scale in parallel, again with nothing to do, with one value changed, and serially."""
    first = clone_at(place / "first", scale)
    parallel = seconds(first, *SPLITPROBE, "run", shown="built")
    print(f"splitprobe run, {scale}: {parallel:.0f} s", flush=True)
    again, plain = seconds(first, *SPLITPROBE, "run"), seconds(first, "-m", "dvc", "repro")
    print(f"with nothing to do: splitprobe run {again:.1f} s, dvc repro {plain:.1f} s", flush=True)
    subprocess.run(["git", "-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-qam", "built"], cwd=first)
    changed = seconds(first, *SPLITPROBE, "run", "-S", "loss.lambda_dcor=2.0", "build_table@table2", shown="built")
    print(f"splitprobe run -S loss.lambda_dcor=2.0 build_table@table2: {changed:.0f} s", flush=True)
    if serial:
        alone = seconds(clone_at(place / "second", scale), "-m", "dvc", "repro")
        print(f"dvc repro, {scale}: {alone:.0f} s, {alone / parallel:.2f}x of splitprobe run", flush=True)


def side_by_side(policy: dict[str, str], programs: int, threads: int) -> float:
    """Seconds that 40 training steps of SiftFunnel take in the slowest of some programs that run at once."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")} | policy
    command = [sys.executable, "-c", STEPS, str(threads)]
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(programs)
    ]
    try:
        return max(float(one.communicate(timeout=PATIENCE)[0]) for one in running)
    except subprocess.TimeoutExpired:
        return float("inf")
    finally:
        for one in running:
            one.kill()


def cores() -> None:
    """What waiting threads cost: by OpenMP's default they spin; stages and workers let them sleep."""
    threads = os.cpu_count() or 1
    for name, policy in (("spinning", {}), ("passive, as here", {"OMP_WAIT_POLICY": "passive"})):
        one, two = (side_by_side(policy, programs, threads) for programs in (1, 2))
        print(
            f"40 steps, {threads} threads, {name}: one program {one:.1f} s, two at once {two:.1f} s ({two / one:.1f}x)"
        )
    one, two = (side_by_side({"OMP_WAIT_POLICY": "passive"}, programs, 1) for programs in (1, 2))
    print(f"40 steps, 1 thread, as stages have by default: one program {one:.1f} s, two {two:.1f} s")


def main() -> None:
    """Prepare all of CIFAR-10 where its zip is at hand, then build, then train side by side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", default="tiny")
    parser.add_argument("--serial", action="store_true", help="build by `dvc repro` too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if CIFAR10.exists():
            prepare_cifar10(clone_at(Path(temporary, "cifar10"), "demo"))
        build(Path(temporary), options.scale, options.serial)
    cores()


if __name__ == "__main__":
    main()
