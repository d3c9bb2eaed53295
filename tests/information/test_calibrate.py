import copy
import json
import math

import pytest

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.information.calibrate import calibrate_information
from splitprobe.information.gaussian import mutual_information
from splitprobe.information.settings import Plan


@pytest.fixture(scope="module")
def small(tree):
    """Two correlations, two widths, few numbers."""
    params = Params(copy.deepcopy(tree))
    params.tree["calibration"] |= {"side": 4, "rho": [0.0, 0.9], "images": 32, "widths": [1.0, 20.0]}
    mine = params.tree["scales"]["mine"]
    mine["calibrated"] |= {"fit_images": 1000, "held_out_images": 400, "steps": 42, "patience": 42, "null_steps": 14}
    return params


@pytest.fixture(scope="module")
def calibrated(small, cpu, tmp_path_factory):
    """What the stage gives, and what it has written."""
    paths = Paths("demo", tmp_path_factory.mktemp("calibrated"))
    return calibrate_information(small, paths, cpu), json.loads(paths.calibration.read_text())


def test_estimates_stand_beside_the_truth(calibrated):
    found, written = calibrated
    assert written == json.loads(json.dumps(found))
    nothing, much = found["mutual_information"]
    truth = mutual_information(0.9, 16)
    assert (nothing["truth_nats"], much["truth_nats"]) == (0, pytest.approx(truth))
    for name in ("calibrated", "infonce", "decoder_fitted", "decoder_mmse"):
        assert nothing[name]["mi_nats"] == pytest.approx(0, abs=0.1)
        assert much[name]["mi_nats"] < min(truth + 0.5, much[name]["cap_nats"])
        for record in (nothing[name], much[name]):
            assert record["null_nats"] == pytest.approx(0, abs=0.3)
    assert much["decoder_mmse"]["mi_nats"] == pytest.approx(truth, rel=0.05)
    assert much["decoder_fitted"]["mi_nats"] == pytest.approx(truth, rel=0.05)
    assert much["infonce"]["mi_nats"] >= much["calibrated"]["mi_nats"] > 3
    assert much["calibrated"]["cap_nats"] == pytest.approx(math.log(400))
    assert much["paper"]["mi_nats"] < 0.98


def test_entropy_and_dependence_meet_their_closed_forms(small, calibrated):
    found, _ = calibrated
    for record in found["entropy"]:
        assert record["coded_bits"] == pytest.approx(record["truth_bits"], abs=0.03)
        assert record["deflate_bits"] > record["truth_bits"]
    assert [record["width"] for record in found["entropy"]] == [1.0, 20.0]
    for record in found["dependence"]:
        assert record["dcor_squared"] == pytest.approx(record["truth_dcor_squared"], abs=0.03)
        assert record["plain_dcor_squared"] > record["dcor_squared"]
        assert record["images"] == small.scaled("mine", Plan).calibrated.held_out_images


def test_the_same_seed_gives_the_same_file(small, calibrated, paths, cpu):
    assert (calibrate_information(small, paths, cpu), json.loads(paths.calibration.read_text())) == calibrated
