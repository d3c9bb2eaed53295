"""Random sets and random settings: what comes out is a right data set, or one line that names file or key.

The suite takes the same few examples each time; with SPLITPROBE_EXAMPLES=20000 in the environment, it takes as many
others as that says.
"""

import os
import tempfile
import zipfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.datasets import ROLES, DataError
from splitprobe.datasets.base import NO_CLASS, open_dataset
from splitprobe.datasets.prepare import prepare

ASKED = int(os.environ.get("SPLITPROBE_EXAMPLES", "0"))
GIVEN = {"deadline": None, "database": None, "suppress_health_check": list(hypothesis.HealthCheck)}
examples = hypothesis.settings(max_examples=ASKED or 60, derandomize=not ASKED, **GIVEN)

LAYOUTS = (  # folders of class and half
    {"cat": "", "dog": ""}, {"set/a/cat": "", "set/a/dog": "", "set/a/eel": ""},
    {"train/cat": "train", "train/dog": "train", "test/cat": "test", "test/dog": "test"},
    {"x/Training/cat": "train", "x/Training/dog": "train", "x/TEST/cat": "test", "x/TEST/dog": "test"},
    {"cat/train": "train", "dog/train": "train", "cat/test": "test", "dog/test": "test"},
    {"A/cat": "", "A/dog": "", "B/cat": "", "B/dog": ""}, {"cat/face": "", "dog/face": ""},
)  # fmt: skip
KNOWN = {
    "source": "folder", "title": "a set", "raw": "raw", "channels": 3, "side": 16, "min_mean": 0.0, "train": 8,
    "validation": 2, "test": 4, "auxiliary": 2, "download": False,
}  # fmt: skip
DATA = {"crop_min": 64, "crop_max": 128, "crop_min_std": 8.0, "resize": "box"}


class Pool(dict):
    """Files of every sort by a name; short in reports."""

    def __repr__(self) -> str:
        return "the pool"


@pytest.fixture
def pool(encoded):
    ramp = np.arange(256).reshape(16, 16)
    palette = Image.fromarray(ramp.astype(np.uint8)).convert("P")
    nan = np.where(ramp == 3, np.nan, ramp).astype(np.float32)
    whole = {
        "gray16": encoded((ramp * 200).astype(np.uint16)), "float": encoded(ramp.astype(np.float32), "TIFF"),
        "nan": encoded(nan, "TIFF"), "palette": encoded(palette, transparency=3), "gif": encoded(palette, "GIF"),
        "cmyk": encoded(Image.new("CMYK", (9, 5), (1, 2, 3, 4)), "JPEG"),
        "line": encoded(np.zeros((1, 3000), np.uint8)),
        "pixel": encoded(np.zeros((1, 1, 3), np.uint8)), "bit": encoded(Image.new("1", (5, 9), 1), "TIFF"),
        "webp": encoded(np.zeros((4, 4, 3), np.uint8), "WEBP"), "empty": b"", "page": b"<html>\nquota</html>",
    }  # fmt: skip
    return Pool(whole | {f"cut {name}": data[: len(data) // 2] for name, data in whole.items()})


names = st.one_of(
    st.sampled_from(
        ["cat", "dog", "train", "Test", "val", "A", "images", "faces", "face", "MANIFEST", "..", ".x", "é"]
    ),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8),
    st.binary(min_size=1, max_size=5).map(lambda b: os.fsdecode(b.replace(b"/", b"-").replace(b"\0", b"-"))),
)
suffixes = st.sampled_from([".png", ".JPG", ".tif", ".gif", "", ".csv", ".zip", ".txt"])
kinds = st.sampled_from(["gray16", "float", "nan", "palette", "gif", "cmyk", "line", "pixel", "bit", "webp", "page"])
extra = st.tuples(
    st.lists(names, max_size=3), names, suffixes,
    st.one_of(kinds, kinds.map(lambda k: f"cut {k}"), st.sampled_from(["empty", "dead", "up", "pipe"]), st.binary()),
)  # fmt: skip
readable = st.tuples(
    st.sampled_from(["path", "File Name", "name"]), st.sampled_from(["Patient ID", "subject", "who"]),
    st.sampled_from(",;\t"), st.sampled_from(["\n", "\r", "\r\n"]), st.integers(1, 4),
)  # fmt: skip
tables = st.one_of(st.binary(max_size=40), st.text(max_size=60))


@st.composite
def sets(draw):
    """A layout, images a folder, what lies there besides, a manifest, a .zip or a folder, and how a .zip is damaged."""
    damage = draw(st.sampled_from([None] * 6 + ["cut", "flip", "text"]))
    return (
        draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from([9, 12, 5, 0])), draw(st.lists(extra, max_size=4)),
        draw(st.one_of(st.none(), st.none(), readable, tables)),
        draw(st.booleans()), damage,
    )  # fmt: skip


changes = st.fixed_dictionaries(
    {},
    optional={
        "channels": st.sampled_from([1, 3]), "side": st.sampled_from([8, 16, 30, 32, 48]),
        "min_mean": st.sampled_from([0.0, 2.0, 254.0]), "train": st.integers(1, 20), "validation": st.integers(0, 3),
        "test": st.integers(3, 6), "auxiliary": st.integers(1, 4),
        "classes": st.sampled_from([None, None, ["cat", "d*"], ["*"], ["cow"], ["cat"], []]),
    },
)  # fmt: skip


def tabulated(table, files: list[str]) -> bytes:
    """A manifest: as it is, or rows of the files with so many images for each patient."""
    if not isinstance(table, tuple):
        return table if isinstance(table, bytes) else table.encode()
    path, person, separator, end, each = table
    rows = [f"{file}{separator}P{k // each}" for k, file in enumerate(files)]
    return end.join([f"{path}{separator}{person}", *rows]).encode()


def write(root: Path, made, pool, numbered) -> tuple[str, dict[int, tuple[str, str, int | None]]]:
    """Write a set below ``root``; returns ``raw``, and class, half and patient of the images that say their number."""
    layout, count, extras, table, as_zip, damage = made
    files, known = {}, {}
    for folder, half in layout.items():
        label = "cat" if "cat" in folder else "dog" if "dog" in folder else "eel"
        for i in range(count):
            # a manifest lists files in this order
            known[len(known)] = (label, half, len(known) // table[-1] if isinstance(table, tuple) else None)
            files[f"{folder}/{i}.png"] = numbered(len(known) - 1)
    regular = list(files)
    for parts, stem, suffix, kind in extras:
        files.setdefault("/".join([*parts, stem + suffix]), pool.get(kind, kind))
    if table is not None:
        files["MANIFEST.csv"] = tabulated(table, regular)
    if as_zip:
        with zipfile.ZipFile(root / "raw.zip", "w") as archive:
            for name, content in {n.encode("utf-8", "replace").decode(): c for n, c in files.items()}.items():
                archive.writestr(name, content if isinstance(content, bytes) else b"")
        data = (root / "raw.zip").read_bytes()
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
        damaged = {None: data, "cut": data[:middle], "flip": flipped, "text": b"<html>"}[damage]
        (root / "raw.zip").write_bytes(damaged)
        return "raw.zip", known
    (root / "raw").mkdir()
    for name, content in files.items():
        put(root / "raw", name, content)
    return "raw", known


def put(top: Path, name: str, content: bytes | str) -> None:
    """Write a file, a link or a pipe, unless its place is taken or it would lie outside."""
    path = top / name
    if ".." in path.parts or os.path.lexists(path) or len(os.fsencode(name)) > 200:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return
    if content == "dead":
        path.symlink_to("nowhere")
    elif content == "up":
        path.symlink_to(top, target_is_directory=True)
    elif content == "pipe":
        os.mkfifo(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)


def outcome(root: Path, section: dict, data: dict):
    """The prepared set, checked against what was asked for; None where it was refused in one line."""
    paths = Paths("demo", root)
    tree = {"scale": "demo", "seed": 1, "data": data, "scales": {"data": {"pets": section}}}
    try:
        summary = prepare("pets", Params(tree), paths)
    except (DataError, ParamsError) as error:
        message = str(error)
        assert message.startswith(("scales.data.pets", "data.")) and len(message.splitlines()) == 1, message
        assert len(message) < 4000 and not paths.prepared("pets").exists()
        hypothesis.event("refused")
        return None
    hypothesis.event("prepared")
    dataset, again = open_dataset(paths, "pets")
    assert again == summary and summary["counts"] == {role: section[role] for role in ROLES}
    total, side = sum(summary["counts"].values()), section["side"]
    assert dataset.images.shape == (total, side, side, section["channels"]) and dataset.images.dtype == np.uint8
    assert len(dataset.classes) >= 2 and list(dataset.classes) == sorted(set(dataset.classes))
    assert set(dataset.labels) <= {NO_CLASS, *range(len(dataset.classes))}
    assert dataset.kept >= total and summary["rejected"] == len(dataset.rejected)
    assert len({r.file for r in dataset.rejected}) == len(dataset.rejected)
    assert all(len(f"{r.file} {r.reason}".splitlines()) == 1 for r in dataset.rejected)
    return dataset


def check_numbered(dataset, known: dict[int, tuple[str, str, int | None]]) -> None:
    """Images that say their number have their folder's class, keep to their half and patient, and are used once."""
    seen, roles = [], {}
    for image, label, code in zip(dataset.images, dataset.labels, dataset.split, strict=True):
        red, green, blue = image[0, 0].tolist()
        if blue != 7 or red + 256 * green not in known or (image != image[0, 0]).any():
            continue
        seen.append(red + 256 * green)
        wanted, half, patient = known[seen[-1]]
        assert patient is None or roles.setdefault(patient, code) == code
        assert dataset.classes[label] == wanted
        assert not half or (half == "test") == (ROLES[code] == "test")
    assert len(seen) == len(set(seen))


@examples
@hypothesis.given(made=sets(), changed=st.one_of(st.just({}), changes.map(lambda c: dict([*c.items()][:2]))))
def test_any_tree_of_files(made, changed, pool, numbered):
    with tempfile.TemporaryDirectory() as folder:
        raw, known = write(Path(folder), made, pool, numbered)
        section = {**KNOWN, **changed, "raw": raw}
        dataset = outcome(Path(folder), section, DATA)
        if dataset is not None and section["channels"] == 3:
            check_numbered(dataset, known)


anything = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 40), st.just(10**12), st.floats(), st.text(max_size=9),
    st.lists(st.one_of(st.text(max_size=5), st.integers(0, 3)), max_size=3),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)  # fmt: skip
places = st.sampled_from([None, "", "raw", "gone", "raw/cat", "a\0b", "two\nlines", "~nobody/x", "x" * 3000, 5, []])
SPECIAL = {
    "raw": places, "auxiliary_raw": places, "auxiliary_exclude": places,
    "source": st.sampled_from(["folder", "photos", "textures", "celeba", "cifar10", "imagenet", None, 3]),
    "auxiliary_source": st.sampled_from(["folder", "photos", "celeba", "cifar10", "imagenet", None, 3]),
    "download": st.sampled_from([False, None, "yes"]),  # true would ask the network
    "classes": st.one_of(anything, st.sampled_from([["cat", "dog"], ["rocket", "retina"], ["*"]])),
}  # fmt: skip
KEYS = [*KNOWN, "classes", "auxiliary_source", "auxiliary_raw", "auxiliary_classes", "auxiliary_exclude", "stranger"]
sections = st.fixed_dictionaries({}, optional={key: SPECIAL.get(key, anything) for key in KEYS})
few_changes = st.one_of(
    sections.map(lambda s: dict(list(s.items())[:2])),
    st.fixed_dictionaries({"source": st.sampled_from(["photos", "textures"]), "raw": st.none()}, optional={
        key: SPECIAL.get(key, anything) for key in ("classes", "side", "channels", "auxiliary", "auxiliary_source")
    }),
)  # fmt: skip
crops = st.fixed_dictionaries({}, optional={
    "crop_min": st.integers(0, 400), "crop_max": st.integers(0, 400),
    "crop_min_std": st.sampled_from([0, 8.0, 127.0, -1]),
    "resize": st.sampled_from(["bilinear", "lanczos", "nearest"]),
})  # fmt: skip


@examples
@hypothesis.given(changed=few_changes, cropped=st.one_of(st.just({}), crops))
def test_any_settings(changed, cropped, make_tree):
    with tempfile.TemporaryDirectory() as folder:
        make_tree(Path(folder) / "raw", {"cat": 10, "dog": 10})
        outcome(Path(folder), {**KNOWN, **changed}, {**DATA, **cropped})
