import pytest

from splitprobe.attacks.generator import train_generator
from splitprobe.core.artifacts import read_json
from splitprobe.probes.estimate import train_mine


@pytest.mark.slow
def test_the_bound_is_that_of_the_strong_decoder(params, paths, cpu, make_target, judge):
    make_target("vib").save(paths.target("cnn/vib"))
    train_generator("cnn/vib", params, paths, cpu)
    result = train_mine("cnn/vib", params, paths, cpu)
    assert result["mine"]["decoder"] == read_json(paths.result("cnn/vib", "information.json"))["mine"]["decoder"]
    assert 0 <= result["mine"]["decoder"]["mi_nats"] < result["mine"]["decoder"]["cap_nats"]
