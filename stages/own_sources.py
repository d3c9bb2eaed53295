"""Imported first by every stage: it runs the sources of its own checkout, whichever one the environment serves."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
# OpenMP's threads spin while they wait: two programs on the same cores would slow each other tenfold. Read when torch
# is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
