"""Latency of edge and cloud: warm-up, synchronized, evaluation mode, median and 95th percentile, nothing changed."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from splitprobe.core.artifacts import provenance, write_json
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, bounded
from splitprobe.core.runtime import Runtime
from splitprobe.targets.target import Target, load_target

log = logging.getLogger("splitprobe")


@dataclass(frozen=True)
class Settings:
    """The section ``cost``."""

    batch: int = bounded(1, 65536)
    warmup: int = bounded(1, 100000)
    runs: int = bounded(10, 1_000_000)


def latency_ms(call: Callable[[], object], device: torch.device, warmup: int, runs: int) -> tuple[float, float]:
    """Median and 95th percentile of a call in milliseconds, each run synchronized with the device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(warmup):
        call()
    times = []
    for _ in range(runs):
        wait()
        begin = time.perf_counter()
        call()
        wait()
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


@torch.no_grad()
def measure_target(target: Target, settings: Settings, seed: int) -> dict[str, Any]:
    """Latency of a target's edge (with its release) and cloud on the target's device, in float32."""
    shape, device = target.blueprint.shape, target.runtime.device
    x = torch.rand(settings.batch, shape.channels, shape.side, shape.side, device=device)
    noise = target.runtime.generator(seed, "latency")
    z = target.defense.release(target.edge(x), noise)
    edge = latency_ms(lambda: target.defense.release(target.edge(x), noise), device, settings.warmup, settings.runs)
    cloud = latency_ms(lambda: target.cloud(z), device, settings.warmup, settings.runs)
    return {
        "edge_latency_ms": edge[0],
        "edge_latency_p95_ms": edge[1],
        "cloud_latency_ms": cloud[0],
        "cloud_latency_p95_ms": cloud[1],
        "threads": torch.get_num_threads(),
        "batch": settings.batch,
        "runs": settings.runs,
        "warmup": settings.warmup,
    }


def measure_cost(cell: str, params: Params, paths: Paths, runtime: Runtime) -> dict[str, Any]:
    """The stage ``measure_cost``: latency on the CPU and, where there is one, on the GPU; writes the result."""
    settings = params.section("cost", Settings)
    result: dict[str, Any] = {"provenance": provenance(params.scale, params.seed, runtime.name, cell), "cell": cell}
    for name in ("cpu", "cuda"):
        if name == "cuda" and not torch.cuda.is_available():
            result |= {"cuda": None, "cuda_reason": "no GPU on this machine"}
            continue
        place = Runtime(torch.device(name), "float32", runtime.channels_last, name)
        result[name] = measure_target(load_target(paths.target(cell), place), settings, params.seed)
        log.info("%s on %s: edge %.2f ms", cell, name, result[name]["edge_latency_ms"])
    write_json(paths.cost(cell), result)
    return result
