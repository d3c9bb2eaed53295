"""More releases of an image: which decoder reads them, what it sees, and the stage on tiny data."""

import json

import pytest
import torch

from splitprobe.attacks import generator, mle
from splitprobe.attacks.base import Scene, assess, intercepted
from splitprobe.core.artifacts import strict
from splitprobe.core.params import ParamsError
from splitprobe.probes.releases import measure_releases, read_by


@pytest.fixture
def fitted(make_target, params, paths, cpu, judge):
    """A random cell whose decoders are saved: its target."""

    def make(name: str):
        target = make_target(name)
        target.save(paths.target(f"cnn/{name}"))
        params.tree["attack"]["generator"]["decoders"] = ["strong", "strong_repeated"]
        generator.train_generator(f"cnn/{name}", params, paths, cpu)
        return target

    return make


def test_one_release_and_as_many_as_were_fitted_on_score_as_the_attacks_do(fitted, params, paths, cpu):
    params.tree["scales"]["generator"]["images"] = params.tree["scales"]["mle"]["images"]  # hence the same noise
    fitted("gaussian_noise")
    params.tree["releases"]["queries"] = [64, 1, 4, 16]
    result = measure_releases("cnn/gaussian_noise", params, paths, cpu)
    assert strict(result) == json.loads(paths.releases("cnn/gaussian_noise").read_text())
    points = {point["queries"]: point for point in result["points"]}
    assert [(number, point["fitted_on"]) for number, point in points.items()] == [(1, 1), (4, 1), (16, 16), (64, 16)]
    attacked = json.loads(paths.result("cnn/gaussian_noise", "generator.json").read_text())
    for number, name in ((1, "strong"), (16, "strong_repeated")):
        assert points[number]["strong"]["psnr_db"] == attacked["decoders"][name]["shared_psnr_db"]
    scene = Scene.open("cnn/gaussian_noise", paths, cpu)
    (_, tuned), images = mle.build(scene.target, params, scene.test, {})
    _, alone, _ = assess([tuned], scene.auxiliary, images, scene.labels[: len(images)], scene.judge)
    assert strict(points[1]["tuned"]) == strict(alone["tuned"])
    assert points[64]["tuned"]["psnr_db"] != points[1]["tuned"]["psnr_db"]
    assert result["network"] == "cnn/gaussian_noise"  # nothing was lent


def test_a_saved_decoder_sees_as_many_releases_as_it_is_given(fitted, paths):
    target = fitted("dropout")
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    z = target.features(images)
    for queries in (1, 100):
        attack = read_by(generator.load_decoders(target, 1, paths)["strong_repeated"], queries)
        values, came = next(intercepted(attack, images)).chunk(2, 1)
        assert torch.equal(values, z * came)
        assert came[z != 0].mean().item() == pytest.approx(1 - 0.8**queries, abs=0.02)
        assert attack.reconstruct(torch.cat((values, came), 1), (3, 32, 32)).shape == (8, 3, 32, 32)


def test_a_cell_that_is_not_random_is_refused(make_target, params, paths, cpu, judge):
    make_target("siftfunnel").save(paths.target("cnn/siftfunnel"))
    with pytest.raises(ParamsError, match=r"`released` lists cnn/siftfunnel, whose releases of an image are all the"):
        measure_releases("cnn/siftfunnel", params, paths, cpu)
