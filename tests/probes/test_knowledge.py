"""Fewer and foreign auxiliary images: how many, in how many steps, in which shape; and the stage on tiny data."""

import json

import numpy as np
import pytest
import torch

from splitprobe.attacks import generator
from splitprobe.core.artifacts import write_csv, write_json, write_npz
from splitprobe.core.params import ParamsError
from splitprobe.probes.knowledge import decoder, few, keep_steps, measure_knowledge, other_images


@pytest.fixture
def others(paths):
    """A second data set, gray, whose auxiliary images are more than the first one's 64; and what it is."""

    def write(side: int = 32, channels: int = 1, count: int = 80, **more) -> None:
        images = np.random.default_rng(1).integers(0, 256, (count, side, side, channels), np.uint8)
        split = np.full(count, 3, np.uint8)
        write_npz(paths.images("xray"), images=images, labels=np.zeros(count, np.int64), split=split)
        plain = {"classes": ["C", "z"], "auxiliary_source": None, "auxiliary_classes": None, "kept": count}
        plain |= {"side": side, "channels": channels}
        write_json(paths.summary("xray"), {"title": "gray noise", "rejected": 0, **plain, **more})
        write_csv(paths.rejected("xray"), [], ["file", "reason"])

    write()
    return write


@pytest.fixture
def target(make_target, paths):
    made = make_target("siftfunnel")
    made.save(paths.target("cnn/siftfunnel"))
    return made


def test_one_percent_means_one_percent():
    images = torch.arange(1200)
    assert [len(few(images, share)) for share in (0.01, 0.1, 1.0)] == [12, 120, 1200]
    assert torch.equal(few(images, 0.01), few(images, 0.1)[:12])
    assert len(few(images[:75], 0.01)) == 2  # one to learn from, one to choose on


@pytest.mark.parametrize(("images", "epochs"), [(64, 2), (40, 3), (7, 6), (2, 6)])
def test_every_fit_takes_as_many_steps_as_the_whole_set(make_target, params, monkeypatch, images, epochs):
    """Of 64 images 58 are for fitting: 3 batches of 16 in each of 2 epochs, 6 steps."""
    params.tree["attack"]["generator"] |= {"batch_size": 16, "plateau_patience": 4}
    pictures, sizes = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8), []
    attack, _ = decoder("black_box", make_target(), params, pictures)
    keep_steps(attack, images, 64)
    real = generator.Generator.step
    monkeypatch.setattr(generator.Generator, "step", lambda self, z, x: sizes.append(len(x)) or real(self, z, x))
    attack.fit(pictures)
    assert attack.plan.epochs == epochs
    assert attack.settings.plateau_patience == 2 * epochs
    assert sizes == [min(16, images - attack.sizes[1])] * 6
    assert attack.sizes[1] == max(1, round(images / 10))
    assert attack.holdout_mse < float("inf")


def test_gray_images_get_the_targets_channels_and_number(others, target, paths):
    whole = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    images, told = other_images(target, "xray", whole, list("abcd"), paths)
    assert images.shape == (64, 3, 32, 32)
    assert torch.equal(images[:, 0], images[:, 2])
    assert told == {"dataset": "xray", "title": "gray noise", "shared_classes": 1}  # c, in whatever case
    others(count=5, auxiliary_source="folder", auxiliary_classes=["x", "y"])
    images, told = other_images(target, "xray", whole, list("abcd"), paths)
    assert (len(images), told["shared_classes"]) == (5, 0)


def test_images_that_do_not_fit_are_refused(others, target, paths):
    whole = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ParamsError, match=r"knowledge\.other = 'objects': the target's own data set"):
        other_images(target, "objects", whole, [], paths)
    others(side=16)
    with pytest.raises(ParamsError, match=r"'xray': its images are 3x16x16, those of cnn/siftfunnel 3x32x32"):
        other_images(target, "xray", whole, [], paths)


@pytest.mark.slow
def test_the_whole_set_scores_as_the_attack_itself(others, target, params, paths, cpu, judge):
    params.tree["knowledge"]["shares"] = [0.02, 1.0]
    result = measure_knowledge("cnn/siftfunnel", params, paths, cpu)
    assert result == json.loads(paths.knowledge("cnn/siftfunnel").read_text())
    assert [point["auxiliary_images"] for point in (*result["shares"], result["other"])] == [2, 64, 64]
    generator.train_generator("cnn/siftfunnel", params, paths, cpu)
    attacked = json.loads(paths.result("cnn/siftfunnel", "generator.json").read_text())
    whole = result["shares"][1]

    def kept(scores):
        """All but what compares it with MLE, and what the cell's second judge says."""
        return {key: value for key, value in scores.items() if not key.startswith("shared_") and "adapted" not in key}

    assert {key: whole[key] for key in kept(attacked["decoders"]["strong"])} == kept(attacked["decoders"]["strong"])
    assert whole["floors"] == {name: kept(floor) for name, floor in attacked["floors"].items()}
    assert result["judge"] == kept(attacked["judge"])
    assert result["shares"][0]["floors"]["gray"] == whole["floors"]["gray"]
    assert result["shares"][0]["floors"]["mean_image"]["mse"] > whole["floors"]["mean_image"]["mse"]
    assert {"psnr_db", "ssim", "identified", "recognized"} <= result["other"].keys()
    blind = result["query_free"]
    assert (blind["auxiliary_images"], blind["queries"], blind["access"]) == (64, 0, "query-free")
    assert blind["intercepted"] == result["images"] == 32
    assert blind["floors"] == whole["floors"]
    assert {"psnr_db", "ssim", "identified", "recognized", "failed"} <= blind.keys()


def test_a_decoder_that_the_cell_has_not_is_named(make_target, params):
    with pytest.raises(ParamsError, match=r"knowledge\.decoder = 'gray_box': cnn/unprotected has only black_box"):
        decoder("gray_box", make_target(), params, torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
