"""The GPUs of this machine, found without loading torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

MPS = Path("/", "tmp", "nvidia-mps")  # folder of MPS's pipes, unless the environment names another


def gpus() -> list[str]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES or else nvidia-smi names them; only visible ones."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True
    )
    return listed.stdout.split() if listed.returncode == 0 else []


def mps_runs() -> bool:
    """Whether NVIDIA's multi-process service runs.

    Only under it do the stages on one GPU truly run side by side.
    """
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", MPS), "control").exists()
