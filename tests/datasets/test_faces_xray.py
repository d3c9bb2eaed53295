"""The layouts and faults of the face sets and of the X-rays, read by the source ``folder``."""

import zipfile

import numpy as np
import pytest

from splitprobe.core.params import ParamsError
from splitprobe.datasets import ROLES, DataError, load
from splitprobe.datasets.folder import find

PEOPLE = ("Ann Lee", "Bo_Q", "Zoë (1)")
FACE_LAYOUTS = {
    "both genders": ("actor_faces/Bo_Q", "actress_faces/Ann Lee", "actress_faces/Zoë (1)"),
    "faces inside": ("actors/faces/Bo_Q", "actresses/faces/Ann Lee", "actresses/faces/Zoë (1)"),
    "face below": tuple(f"{name}/face" for name in PEOPLE),
    "plain": PEOPLE,
}
XRAY = ("COVID-19", "Normal", "Pneumonia-Bacterial", "Pneumonia-Viral")


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path.name


@pytest.mark.parametrize("layout", FACE_LAYOUTS)
@pytest.mark.parametrize("archive", [False, True])
def test_facescrub_layouts_give_one_sorted_class_list(
    tmp_path, make_tree, make_source, settings, rng, numbers, layout, archive
):
    root = make_tree(tmp_path / "facescrub", dict.fromkeys(FACE_LAYOUTS[layout], 6))
    raw = zipped(root, tmp_path / "facescrub.zip") if archive else "facescrub"
    dataset = load(make_source(raw=raw), settings, rng, tmp_path)
    assert dataset.classes == PEOPLE and dataset.kept == 18 and dataset.rejected == []
    person = {n: folder for k, folder in enumerate(FACE_LAYOUTS[layout]) for n in range(6 * k, 6 * k + 6)}
    for number, label in zip(numbers(dataset), dataset.labels, strict=True):
        assert PEOPLE[label] in person[number].split("/")


def test_a_person_under_both_genders_is_one_class():
    merged = ["actor_faces/Zoe/1.jpg", "actress_faces/Ann/1.jpg", "actress_faces/Zoe/2.jpg"]
    assert [(i.label, i.half) for i in find(merged)[0]] == [("Zoe", ""), ("Ann", ""), ("Zoe", "")]


@pytest.mark.parametrize(
    ("crop", "photograph"),
    [("actors/faces/Ann/{}.jpg", "actors/images/Ann/{}.jpg"), ("Ann/face/{}.jpg", "Ann/{}.jpg")],
)
def test_photographs_beside_their_crops_are_left_out(crop, photograph):
    names = [
        n.format(i).replace("Ann", person) for n in (crop, photograph) for i in range(3) for person in ("Ann", "Bo")
    ]
    listed, rejected = find(sorted(names))
    assert {i.file for i in listed} == set(names[:6]) and {i.label for i in listed} == {"Ann", "Bo"}
    assert {r.file for r in rejected} == set(names[6:])
    assert {r.reason for r in rejected} == {"a photograph beside a folder of face crops"}


def test_classes_called_face_and_images_are_classes():
    assert [i.label for i in find(["face/1.jpg", "scene/1.jpg"])[0]] == ["face", "scene"]
    assert [i.label for i in find(["faces/1.jpg", "images/1.jpg"])[0]] == ["faces", "images"]
    assert [i.label for i in find(["set/images/a/1.jpg", "set/images/b/1.jpg"])[0]] == ["a", "b"]


def test_dead_links_are_listed_and_the_rest_goes_on(tmp_path, make_tree, make_source, settings, rng, encoded):
    """A person of whom nothing is readable is no class."""
    root = make_tree(tmp_path / "raw/actor_faces", {"Ann": 9, "Bo": 9, "Cy": 0})
    noise = encoded(rng.integers(0, 256, (32, 32, 3), np.uint8), "JPEG")
    bad = {"Ann/cut.jpg": noise[: len(noise) // 2], "Bo/zero.jpg": b"", "Cy/page.jpg": b"<html>404</html>"}
    for name, content in bad.items():
        (root / name).write_bytes(content)
    dataset = load(make_source(channels=1), settings, rng, tmp_path)
    reasons = {r.file: r.reason for r in dataset.rejected}
    assert dataset.classes == ("Ann", "Bo") and dataset.kept == 18
    assert dataset.images.shape == (16, 8, 8, 1) and dataset.images.dtype == np.uint8
    assert reasons.keys() == {f"actor_faces/{name}" for name in bad}
    assert reasons["actor_faces/Ann/cut.jpg"].startswith("damaged")
    assert reasons["actor_faces/Bo/zero.jpg"] == "zero bytes"
    assert reasons["actor_faces/Cy/page.jpg"].startswith("not an image")


def test_patterns_choose_the_people(tmp_path, make_tree, make_source, settings, rng, numbers):
    make_tree(tmp_path / "raw", {"yaleB01": 9, "yaleB11": 9, "yaleB20": 9})
    (tmp_path / "raw/yaleB01/0.png").write_bytes(b"")  # not asked for, so not read
    dataset = load(make_source(classes=("yaleB1[1-9]", "yaleB2*")), settings, rng, tmp_path)
    assert dataset.classes == ("yaleB11", "yaleB20") and dataset.kept == 18 and dataset.rejected == []
    assert min(numbers(dataset)) >= 9
    with pytest.raises(DataError, match=r"raw: classes: 'yaleB3\*' matches none of the 3 classes here \(yaleB01, "):
        load(make_source(classes=("yaleB2*", "yaleB3*")), settings, rng, tmp_path)
    with pytest.raises(DataError, match="only the class 'yaleB11'"):
        load(make_source(classes=("yaleB11",)), settings, rng, tmp_path)


@pytest.mark.parametrize("suffix", ["png", "pgm"])
def test_dark_images_are_rejected_with_their_mean(tmp_path, make_source, settings, rng, encoded, suffix):
    for label in "ab":
        (tmp_path / "raw" / label).mkdir(parents=True)
        for i in range(9):
            content = encoded(np.full((10, 8), 19 if i == 0 else 20 + i, np.uint8), "PPM" if suffix == "pgm" else "PNG")
            (tmp_path / "raw" / label / f"{i}.{suffix}").write_bytes(content)
    dataset = load(make_source(channels=1, min_mean=20.0), settings, rng, tmp_path)
    assert dataset.kept == 16 and dataset.images.shape == (16, 8, 8, 1) and dataset.images.min() == 21
    assert [(r.file, r.reason) for r in dataset.rejected] == [
        (f"{label}/0.{suffix}", "too dark: mean 19.0 of 255, min_mean = 20") for label in "ab"
    ]
    assert load(make_source(channels=1), settings, rng, tmp_path).kept == 18


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("archive", [False, True])
def test_curated_xrays_nested_twice(tmp_path, make_source, settings, rng, encoded, side, archive):
    """Gray of 8 and 16 bits; names with spaces and parentheses; patients of a manifest in one role each."""
    top = tmp_path / "curated-xray"
    root, rows = top / "Curated X-Ray Dataset" / "Curated X-Ray Dataset", ["path,patient"]
    ramp = np.linspace(0, 1, 40 * 40).reshape(40, 40)
    for k, label in enumerate(XRAY):
        (root / label).mkdir(parents=True)
        for i in range(8):
            # a few 16-bit values only: clipped they would be white, unscaled black
            pixels = (ramp * 300 + 500 * i).astype(np.uint16) if i % 2 else np.uint8(200 * ramp + i + k)
            file = root / label / f"{label} ({i}).jpg"
            file.write_bytes(encoded(pixels, "PNG" if i % 2 else "JPEG"))
            rows.append(f"{file.relative_to(root).as_posix()},{label} {i // 2}")
    (root / "MANIFEST.csv").write_text("\n".join(rows))
    raw = zipped(top, tmp_path / "curated-xray.zip") if archive else "curated-xray"
    wanted = {"train": 16, "validation": 4, "test": 6, "auxiliary": 6}
    dataset = load(make_source(raw=raw, channels=1, side=side, **wanted), settings, rng, tmp_path)
    assert dataset.classes == XRAY and dataset.kept == 32 and dataset.rejected == []
    assert dataset.images.shape == (32, side, side, 1)
    assert [int((dataset.split == k).sum()) for k in range(4)] == list(wanted.values())
    assert (dataset.images.min((1, 2, 3)) < 20).all() and (dataset.images.max((1, 2, 3)) > 190).all()
    assert np.abs(dataset.images.mean((1, 2, 3)) - 115).max() < 25


def test_patients_are_divided_among_xray_roles(tmp_path, make_tree, make_source, settings, rng, numbers):
    root = make_tree(tmp_path / "raw/chestxray", dict.fromkeys(XRAY, 20))
    rows = [f"chestxray/{label}/{i}.png,{label},{k} {i // 4}" for k, label in enumerate(XRAY) for i in range(20)]
    (root / "MANIFEST.csv").write_text("\n".join(["path,class,patient", *rows]))
    dataset = load(make_source(train=24, validation=8, test=12, auxiliary=12), settings, rng, tmp_path)
    patients = [{n // 4 for n in numbers(dataset, role)} for role in ROLES]
    assert sum(map(len, patients)) == len(set.union(*patients))


@pytest.mark.parametrize(
    ("raw", "terms"),
    [
        ("faces_yaleb.zip", "put Extended Yale B, .*not to be passed on"),
        ("faces_att.zip", "put AT&T's Database of Faces .*Olivetti"),
        ("facescrub", "put FaceScrub's faces as .*for research only"),
        ("chestxray.zip", "put chest X-rays .*CC BY 4.0"),
        ("curated-xray", "put `Curated X-Ray Dataset/.*9xkhgts2s6"),
    ],
)
def test_a_missing_set_says_what_where_and_how(tmp_path, make_source, settings, rng, raw, terms):
    with pytest.raises(DataError, match=f"{raw} is missing: {terms}.* there, or change `raw` in params.yaml"):
        load(make_source(raw=raw), settings, rng, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_refuses_a_list_of_exclusions(tmp_path, make_tree, make_source, settings, rng):
    make_tree(tmp_path / "raw", {"a": 9, "b": 9})
    with pytest.raises(ParamsError, match="auxiliary_exclude = 'x': the source 'folder' cannot use it; set it to null"):
        load(make_source(auxiliary_source="folder", auxiliary_exclude="x"), settings, rng, tmp_path)
