import json

import torch

from splitprobe.probes.cost import Settings, latency_ms, measure_cost, measure_target


def test_median_and_tail_come_from_the_timed_runs_alone(monkeypatch):
    ticks = iter([t for i in range(20) for t in (i, i + (i + 1) / 1000)])
    monkeypatch.setattr("splitprobe.probes.cost.time.perf_counter", lambda: next(ticks))
    calls = []
    median, tail = latency_ms(lambda: calls.append(1), torch.device("cpu"), warmup=3, runs=20)
    assert len(calls) == 23
    assert round(median, 6) == 10.5
    assert 19 <= tail <= 20


def test_timing_changes_nothing(make_target):
    target = make_target("siftfunnel")
    before = {k: v.clone() for k, v in target.edge.state_dict().items()}
    result = measure_target(target, Settings(1, 1, 10), 0)
    assert result["edge_latency_ms"] <= result["edge_latency_p95_ms"]
    assert all(torch.equal(before[k], v) for k, v in target.edge.state_dict().items())
    assert not target.edge.training


def test_the_stage_says_why_there_is_no_gpu_number(params, paths, cpu, make_target):
    make_target().save(paths.target("cnn/unprotected"))
    params.tree["cost"] = {"batch": 1, "warmup": 1, "runs": 10}
    measure_cost("cnn/unprotected", params, paths, cpu)
    result = json.loads(paths.cost("cnn/unprotected").read_text())
    assert result["cpu"]["batch"] == 1
    if not torch.cuda.is_available():
        assert result["cuda"] is None
        assert "no GPU" in result["cuda_reason"]
