"""The whole pipeline in a fresh clone: the first `dvc repro` against a second, and the reading of CIFAR-10's zip.

    python tests/benchmarks/pipeline.py

Needs the committed state and a few minutes. Nothing is asserted.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def seconds(folder: Path, *command: str) -> float:
    """Wall time of a command, whose output is shown only when it fails."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - begin


def prepare_cifar10(clone: Path) -> None:
    """Time and peak memory of preparing all 60,000 images, the first of this process's large children."""
    shutil.copy(ROOT / "data/raw/cifar10.zip", clone / "data/raw")
    params = (clone / "params.yaml").read_text()
    changed = params.replace("scale: demo ", "scale: small ", 1)
    for few, all_of_them in (
        ("train: 10000", "train: 36000"), ("validation: 1000", "validation: 4000"),
        ("test: 2000", "test: 10000"), ("auxiliary: 4000", "auxiliary: 10000"),
    ):  # fmt: skip
        changed = changed.replace(few, all_of_them)
    (clone / "params.yaml").write_text(changed)
    taken = seconds(clone, "stages/prepare.py", "objects")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"60,000 images of cifar10.zip prepared in {taken:.1f} s, {peak:.0f} MB", flush=True)
    (clone / "params.yaml").write_text(params)
    (clone / "data/raw/cifar10.zip").unlink()


def main() -> None:
    """Prepare all of CIFAR-10 where its zip is at hand, then build the default scale twice."""
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        if (ROOT / "data/raw/cifar10.zip").exists():
            prepare_cifar10(clone)
        first, second = (seconds(clone, "-m", "dvc", "repro") for _ in range(2))
        print(f"dvc repro, default scale: {first:.0f} s; with nothing to do: {second:.1f} s ({first / second:.0f}x)")


if __name__ == "__main__":
    main()
