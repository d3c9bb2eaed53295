"""Imported first by every stage.

- It runs the sources of its own checkout, whichever one the environment serves.
- A Python that lacks what splitprobe needs ends with one line that says so.
- A stage that is stopped, by Ctrl-C or a signal, ends with one line and status 128 + signal, 130 for Ctrl-C; what is
  half written goes.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NEEDED = ("torch", "numpy", "ruamel", "tqdm")  # by every stage that computes; finding them takes a millisecond
OLDEST = (3, 10)

sys.path.insert(0, str(HERE.parent / "src"))
# OpenMP's threads spin while they wait: two programs on the same cores would slow each other tenfold. Read when torch
# is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def check_environment() -> None:
    """Exit with one line where this Python is too old or lacks a package, as one that is not the environment's does."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if sys.version_info < OLDEST or missing:
        why = f"has no {', '.join(missing)}" if missing else f"is Python {sys.version.split()[0]}"
        sys.exit(
            f"error: `python` is {sys.executable}, which {why}: activate the environment in which splitprobe is "
            "installed (`. <folder of the environment>/bin/activate`), or install it: pip install -e ."
        )


def stop(number: int, _: object) -> None:
    """End this stage because of a signal."""
    os.write(2, f"\nstopped by {signal.Signals(number).name}\n".encode())
    sys.exit(128 + number)  # an exception, so that nothing half written stays


check_environment()
if Path(sys.argv[0]).resolve().parent == HERE:  # a stage, and not something else that imports one
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
