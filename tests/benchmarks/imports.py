"""What each stage's imports take: seconds, modules, and which of the slow packages are among them.

    python tests/benchmarks/imports.py

Each script is measured in fresh processes, with all that it imports, in its functions too; what a method imports when
it is chosen is not counted (opacus by DP-SGD, matplotlib by a figure). Nothing is asserted.
"""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROUNDS = 3
SLOW = (
    "torch", "torch.utils.flop_counter", "torch._dynamo", "torchvision", "opacus", "matplotlib", "pandas", "skimage",
    "scipy", "PIL", "dvc", "distributed",
)  # fmt: skip
CODE = """
import sys, time
sys.path.insert(0, "stages")
sys.argv = sys.argv[1:]
begin, before = time.perf_counter(), len(sys.modules)
exec(sys.stdin.read())
print(time.perf_counter() - begin, len(sys.modules) - before, *(name for name in sys.argv if name in sys.modules))
"""


def imports(script: Path) -> str:
    """All import statements of a script, those in its functions too, one a line."""
    tree = ast.parse(script.read_text())
    return "\n".join(ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def measured(statements: str) -> tuple[float, int, list[str]]:
    """Seconds that import statements take, how many modules they load, and which of SLOW."""
    command, seconds = [sys.executable, "-c", CODE, *SLOW], []
    for _ in range(ROUNDS):
        done = subprocess.run(command, input=statements, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        taken, modules, *slow = done.stdout.split()
        seconds.append(float(taken))
    return statistics.median(seconds), int(modules), slow


def main() -> None:
    """A line for torch alone, then one for each stage."""
    print(f"{'':<24}{'seconds':>8}{'modules':>9}  slow ones")
    scripts = {"import torch": "import torch"}
    scripts |= {script.stem: imports(script) for script in sorted((ROOT / "stages").glob("*.py"))}
    for name, statements in scripts.items():
        seconds, modules, slow = measured(statements)
        print(f"{name:<24}{seconds:8.2f}{modules:9}  {' '.join(slow)}", flush=True)


if __name__ == "__main__":
    main()
