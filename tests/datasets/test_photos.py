import socket

import numpy as np
import pytest
from PIL import Image

from splitprobe.core.params import ParamsError
from splitprobe.datasets import ROLES, DataError, crops, load, photos, textures

COUNTS = {"train": 40, "validation": 9, "test": 16, "auxiliary": 24}


@pytest.fixture
def photo_source(make_source):
    return lambda **changes: make_source(**{"source": "photos", "raw": None, "side": 16, **COUNTS, **changes})


@pytest.fixture
def offline(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)


def test_photos_are_balanced_and_never_downloaded(photo_source, settings, rng, tmp_path, offline):
    dataset = load(photo_source(), settings, rng, tmp_path)
    assert dataset.images.shape == (89, 16, 16, 3) and dataset.images.dtype == np.uint8
    assert len(dataset.classes) == 8 and list(dataset.classes) == sorted(dataset.classes)
    assert np.bincount(dataset.role("train")[1]).tolist() == [5] * 8
    assert np.bincount(dataset.role("validation")[1]).tolist() == [2, 1, 1, 1, 1, 1, 1, 1]
    assert dataset.images.mean(3).std((1, 2)).min() >= 8
    assert dataset.kept == 89 and dataset.rejected == []


def test_textures_are_gray(photo_source, settings, rng, tmp_path, offline):
    dataset = load(photo_source(source="textures", channels=1), settings, rng, tmp_path)
    assert dataset.images.shape == (89, 16, 16, 1) and len(dataset.classes) == 4
    assert len(np.unique(dataset.images)) > 150


def test_seed_decides(photo_source, settings, tmp_path):
    first, again, other = (load(photo_source(), settings, np.random.default_rng(s), tmp_path) for s in (1, 1, 2))
    assert (first.images == again.images).all()
    assert (first.images != other.images).mean() > 0.8


def test_no_pixel_is_shared_between_roles(photo_source, settings, rng, monkeypatch):
    """Photographs whose parts are painted in the role's own gray give crops of nothing but that gray."""
    plain = settings.__class__(64, 128, 0.0, "lanczos")

    def painted(file):
        size = original(file).size
        canvas = np.full(size[::-1], 255, np.uint8)
        for code, (left, top, right, bottom) in enumerate(crops.cut(size, COUNTS, plain, file).values()):
            assert (canvas[top:bottom, left:right] == 255).all()
            canvas[top:bottom, left:right] = 40 * code
        assert canvas.max() == 120  # the parts leave nothing out
        return Image.fromarray(canvas)

    original = crops.open_photograph
    monkeypatch.setattr(crops, "open_photograph", painted)
    for module in (photos, textures):
        dataset = module.load(photo_source(channels=1), plain, rng, None)
        for code, role in enumerate(ROLES):
            assert (dataset.role(role)[0] == 40 * code).all()


@pytest.mark.parametrize("file", [*photos.PHOTOGRAPHS.values(), *textures.PHOTOGRAPHS.values()])
def test_every_part_holds_the_largest_crop(settings, file):
    size = crops.open_photograph(file).size
    for counts in (COUNTS, dict.fromkeys(ROLES, 1), {**COUNTS, "train": 10**6}):
        for left, top, right, bottom in crops.cut(size, counts, settings, file).values():
            assert right - left >= settings.crop_max and bottom - top >= settings.crop_max


def test_larger_parts_where_more_crops_are_wanted(settings):
    boxes = crops.cut((1000, 800), {"train": 800, "validation": 100, "test": 50, "auxiliary": 50}, settings, "x")
    area = {role: (right - left) * (bottom - top) for role, (left, top, right, bottom) in boxes.items()}
    assert area["train"] > area["validation"] and area["train"] > area["test"] == area["auxiliary"]
    assert sum(area.values()) == 800_000


@pytest.mark.parametrize("turned", [False, True])
def test_roles_in_other_places_keep_their_sizes_and_share_no_pixel(settings, turned):
    size = (300, 400)
    found = crops.arrangements(size, COUNTS, settings, "x")
    assert found[0] == crops.cut(size, COUNTS, settings, "x") and len({tuple(f.values()) for f in found}) == 16
    sizes = [{role: (r - left, b - top) for role, (left, top, r, b) in boxes.items()} for boxes in found]
    assert all(these == sizes[8 * (i // 8)] for i, these in enumerate(sizes))  # the last eight are turned
    for boxes in found[8 * turned :][:8]:
        canvas = np.zeros(size[::-1], int)
        for left, top, right, bottom in boxes.values():
            canvas[top:bottom, left:right] += 1
            assert min(right - left, bottom - top) >= settings.crop_max
        assert (canvas == 1).all()


def test_roles_change_places_where_a_part_is_flat(photo_source, settings, rng, monkeypatch):
    """A photograph with a plain sky: whoever lies in it goes elsewhere, and the other photographs stay as they are."""
    noise = rng.integers(0, 256, (420, 420), np.uint8).repeat(8, 0).repeat(8, 1)[:420, :420]
    sky = noise.copy()
    sky[:180] = 40
    pictures = {"brick.png": noise, "coins.png": sky}
    monkeypatch.setattr(crops, "open_photograph", lambda file: Image.fromarray(pictures[file]))
    source = photo_source(channels=1, classes=("brick", "coins"), source="textures", test=8, auxiliary=60)
    dataset = textures.load(source, settings, rng, None)
    assert dataset.counts() == {"train": 40, "validation": 9, "test": 8, "auxiliary": 60}
    assert dataset.images.std((1, 2, 3)).min() >= 8


@pytest.mark.parametrize(
    "sizes",
    [{"auxiliary": 120}, {"test": 20}, {"test": 20, "auxiliary": 120, "side": 16}, {"train": 5, "test": 4}],
)
def test_the_demo_in_other_proportions(sizes, photo_source, settings, tmp_path):
    """A twentieth of the demo's crops, of the same parts; in some, test gets nothing but the sky behind the rocket."""
    wanted = {"train": 120, "validation": 15, "test": 30, "auxiliary": 60, **sizes}
    source = photo_source(classes=("coffee", "rocket"), **wanted)
    dataset = load(source, settings, np.random.default_rng(1), tmp_path)
    assert dataset.counts() == {role: wanted[role] for role in ROLES}
    assert dataset.images.mean(3).std((1, 2)).min() >= 8


def test_flat_small_and_absent_photographs_are_refused(photo_source, settings, rng, monkeypatch):
    with pytest.raises(DataError, match=r"nowhere\.png is missing: install the scikit-image wheel"):
        crops.open_photograph("nowhere.png")
    monkeypatch.setattr(crops, "open_photograph", lambda file: Image.new("RGB", (300, 300), (30, 90, 200)))
    with pytest.raises(DataError, match=r"the train part of astronaut\.png is flat: 500 crops .*crop_min_std = 8"):
        photos.load(photo_source(), settings, rng, None)
    monkeypatch.setattr(crops, "open_photograph", lambda file: Image.new("RGB", (300, 100)))
    with pytest.raises(DataError, match=r"300x100 px, too little for four parts of data\.crop_min = 64"):
        photos.load(photo_source(), settings, rng, None)


def test_contradictory_settings_are_refused(photo_source, settings, rng):
    with pytest.raises(ParamsError, match=r"data\.crop_min = 200: must be at most data\.crop_max = 128"):
        photos.load(photo_source(), settings.__class__(200, 128, 8.0, "box"), rng, None)
    with pytest.raises(ParamsError, match="raw = 'x': the source 'photos' is embedded"):
        photos.load(photo_source(raw="x"), settings, rng, None)
    with pytest.raises(ParamsError, match=r"classes = \['astro\*'\]: only astronaut is left, at least two are needed"):
        photos.load(photo_source(classes=("astro*",)), settings, rng, None)


def test_unknown_sources_list_the_known_ones(make_source, settings, rng, tmp_path):
    with pytest.raises(ParamsError, match="'imagenet': choose one of photos, textures, cifar10, folder, celeba"):
        load(make_source(source="imagenet"), settings, rng, tmp_path)
