import io
import pickle
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from splitprobe.datasets import DataError, load
from splitprobe.datasets.cifar10 import CLASSES, TRAIN_BATCHES, BatchUnpickler

ASKED = {"source": "cifar10", "side": 32, "train": 30, "validation": 10, "test": 20, "auxiliary": 10}


@pytest.fixture
def tiny(rng):
    """Batches of pixels (n, 32, 32, 3) and labels: five of 10 images, and 20 test images; class balanced."""
    sizes = dict.fromkeys(TRAIN_BATCHES, 10) | {"test_batch": 20}
    return {k: (rng.integers(0, 256, (n, 32, 32, 3), np.uint8), np.arange(n) % 10) for k, n in sizes.items()}


def pickled(pixels, labels) -> bytes:
    """As numpy under Python 2 wrote the official files: old module name, dtype flags 0 and 1 as whole numbers."""
    data = {"data": pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1), "labels": labels.tolist()}
    text = pickle.dumps(data, protocol=2)
    return text.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n").replace(
        b"\x89\x88\x87", b"K\0K\1\x87"
    )


def batches(tiny, root):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, batch in tiny.items():
        (folder / name).write_bytes(pickled(*batch))
    return root


def archive(tiny, root):
    folder = batches(tiny, root / "unpacked") / "cifar-10-batches-py"
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-py")
    for file in folder.iterdir():
        file.unlink()
    return root


def archive_file(tiny, root):
    return archive(tiny, root) / "cifar-10-python.tar.gz"


def parquet(tiny, root, encoded, columns=("img", "label")):
    import pyarrow
    import pyarrow.parquet

    (root / "plain_text").mkdir(parents=True)
    for half, names in (("train", TRAIN_BATCHES), ("test", ("test_batch",))):
        cells = [{"bytes": encoded(x), "path": None} for name in names for x in tiny[name][0]]
        labels = [int(y) for name in names for y in tiny[name][1]]
        table = pyarrow.table(dict(zip(columns, (cells, labels), strict=True)))
        pyarrow.parquet.write_table(table, root / "plain_text" / f"{half}-00000-of-00001.parquet")
    return root


def folders(tiny, root, encoded):
    for name, (pixels, labels) in tiny.items():
        for i, (x, y) in enumerate(zip(pixels, labels, strict=True)):
            folder = root / "cifar10" / ("test" if name == "test_batch" else "train") / CLASSES[y]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}_{i}.png").write_bytes(encoded(x))
    return root


def zipped(tiny, root, encoded):
    folder = folders(tiny, root, encoded)
    with zipfile.ZipFile(root / "cifar10.zip", "w") as file:
        for path in folder.rglob("*.png"):
            file.write(path, path.relative_to(folder).as_posix())
    return root / "cifar10.zip"


def content(dataset, halves):
    """All (image, label) pairs of some roles, whatever their order."""
    pairs = [(x.tobytes(), int(y)) for role in halves for x, y in zip(*dataset.role(role), strict=True)]
    assert len(set(pairs)) == len(pairs)
    return set(pairs)


def test_classes_are_sorted():
    assert list(CLASSES) == sorted(CLASSES) and len(CLASSES) == 10


@pytest.mark.parametrize("layout", [batches, archive, archive_file, parquet, folders, zipped])
def test_all_layouts_give_the_same_images(tiny, layout, tmp_path, encoded, make_source, settings, rng):
    extra = (encoded,) if layout in (parquet, folders, zipped) else ()
    raw = layout(tiny, tmp_path / "any where", *extra)
    dataset = load(make_source(raw=str(raw.relative_to(tmp_path)), **ASKED), settings, rng, tmp_path)
    expected = {(x.tobytes(), int(y)) for n in TRAIN_BATCHES for x, y in zip(*tiny[n], strict=True)}
    assert content(dataset, ("train", "validation", "auxiliary")) == expected
    assert content(dataset, ("test",)) == {(x.tobytes(), int(y)) for x, y in zip(*tiny["test_batch"], strict=True)}
    assert dataset.classes == CLASSES and dataset.kept == 70 and dataset.rejected == []
    assert np.bincount(dataset.role("train")[1]).tolist() == [3] * 10
    assert np.bincount(dataset.role("validation")[1]).tolist() == [1] * 10


def test_the_folder_of_batches_itself_and_another_size(tiny, tmp_path, make_source, settings, rng):
    raw = batches(tiny, tmp_path / "raw") / "cifar-10-batches-py"
    dataset = load(make_source(raw=str(raw), **{**ASKED, "side": 64, "channels": 1}), settings, rng, tmp_path)
    assert dataset.images.shape == (70, 64, 64, 1)
    assert abs(dataset.images.mean() - np.concatenate([x for x, _ in tiny.values()]).mean()) < 2


def test_a_missing_set_says_what_where_and_how(tmp_path, make_source, settings, rng):
    (tmp_path / "empty").mkdir()
    for raw, what in (("nowhere", "nowhere is missing"), ("empty", "empty holds no CIFAR-10")):
        with pytest.raises(DataError, match=f"{what}: put cifar-10-batches-py/ or .*kriz/cifar.*download: true"):
            load(make_source(raw=raw, **ASKED), settings, rng, tmp_path)


def test_download_goes_through_torchvision(tiny, tmp_path, make_source, settings, rng, monkeypatch):
    class Fake:
        def CIFAR10(self, root, download):
            assert download
            batches(tiny, root)

    monkeypatch.setitem(sys.modules, "torchvision.datasets", Fake())
    source = make_source(raw="raw/cifar-10-batches-py", **{**ASKED, "download": True})
    assert load(source, settings, rng, tmp_path).kept == 70
    monkeypatch.setattr(Fake, "CIFAR10", lambda *a, **k: (_ for _ in ()).throw(OSError("no route to host")))
    with pytest.raises(DataError, match=r"downloading CIFAR-10 to .* failed \(no route to host\); put"):
        load(make_source(raw="other", **{**ASKED, "download": True}), settings, rng, tmp_path)
    with pytest.raises(DataError, match="needs the name of a folder"):
        load(make_source(raw="other.zip", **{**ASKED, "download": True}), settings, rng, tmp_path)


def test_incomplete_and_damaged_batches_are_named(tiny, tmp_path, make_source, settings, rng):
    folder = batches(tiny, tmp_path / "raw") / "cifar-10-batches-py"
    source = make_source(**ASKED)
    for name, data in (("test_batch", None), ("data_batch_3", b"<html>"), ("data_batch_2", b"")):
        whole = (folder / name).read_bytes()
        (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name} is missing or no batch of CIFAR-10"):
            load(source, settings, rng, tmp_path)
        (folder / name).write_bytes(whole)
    (folder / "data_batch_5").write_bytes(pickled(tiny["data_batch_5"][0], np.full(10, 42)))
    with pytest.raises(DataError, match="labels run from 0 to 42"):
        load(source, settings, rng, tmp_path)
    (folder / "data_batch_5").write_bytes(pickled(tiny["data_batch_5"][0], np.arange(3)))
    with pytest.raises(DataError, match="data_batch_5 holds 10 images and 3 labels"):
        load(source, settings, rng, tmp_path)
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b\x08\0")
    with pytest.raises(DataError, match=r"cut\.tar\.gz is no whole \.tar\.gz"):
        load(make_source(raw="cut.tar.gz", **ASKED), settings, rng, tmp_path)


def test_a_pickle_cannot_run_code(tiny, tmp_path, make_source, settings, rng):
    class Malice:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",)

    folder = batches(tiny, tmp_path / "raw") / "cifar-10-batches-py"
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": Malice(), "labels": []}))
    with pytest.raises(DataError, match=r"builtins\.exec has no place in a batch of CIFAR-10"):
        load(make_source(**ASKED), settings, rng, tmp_path)
    assert not (tmp_path / "owned").exists()
    with pytest.raises(pickle.UnpicklingError, match="an array of object has no place"):
        BatchUnpickler(io.BytesIO(pickle.dumps(np.array([None]), protocol=2))).load()


def test_parquet_faults(tiny, tmp_path, encoded, make_source, settings, rng, monkeypatch):
    tiny["data_batch_1"][0][0] = 0
    root = parquet(tiny, tmp_path / "raw", lambda x: encoded(x) if x.any() else b"")
    source = make_source(**{**ASKED, "train": 29})
    dataset = load(source, settings, rng, tmp_path)
    assert [(r.file, r.reason) for r in dataset.rejected] == [
        ("plain_text/train-00000-of-00001.parquet#0", "zero bytes")
    ]
    test = root / "plain_text/test-00000-of-00001.parquet"
    test.write_bytes(b"<html>")
    with pytest.raises(DataError, match="is no parquet file of uoft-cs/cifar10"):
        load(source, settings, rng, tmp_path)
    test.unlink()
    with pytest.raises(DataError, match=r"holds no test-\*\.parquet"):
        load(source, settings, rng, tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match="pip install pyarrow"):
        load(source, settings, rng, tmp_path)


def test_other_columns_and_other_classes_are_refused(tiny, tmp_path, encoded, make_tree, make_source, settings, rng):
    parquet(tiny, tmp_path / "other", encoded, ("pic", "y"))
    with pytest.raises(DataError, match="is no parquet file of uoft-cs/cifar10"):
        load(make_source(raw="other", **ASKED), settings, rng, tmp_path)
    make_tree(tmp_path / "pets", {"train/cat": 3, "train/dog": 3, "test/cat": 3, "test/dog": 3})
    with pytest.raises(DataError, match="of cat, dog; needed: both, of airplane, automobile"):
        load(make_source(raw="pets", **ASKED), settings, rng, tmp_path)


def test_labels_and_images_that_are_none_are_refused(tiny, tmp_path, encoded, make_source, settings, rng):
    parquet(tiny, tmp_path / "other", lambda x: None)
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet is no parquet file of uoft-cs/cifar10"):
        load(make_source(raw="other", **ASKED), settings, rng, tmp_path)
    folder = batches(tiny, tmp_path / "raw") / "cifar-10-batches-py"
    data = {"data": np.zeros((10, 3072), np.uint8), "labels": [[k, k] for k in range(10)]}
    (folder / "data_batch_1").write_bytes(pickle.dumps(data))
    with pytest.raises(DataError, match="data_batch_1 holds 10 images and 20 labels"):
        load(make_source(**ASKED), settings, rng, tmp_path)


def test_a_damaged_stream_in_the_archive_is_refused(tiny, tmp_path, make_source, settings, rng):
    (tmp_path / "raw").mkdir()
    file = archive_file(tiny, tmp_path / "raw")
    data = bytearray(file.read_bytes())
    data[len(data) // 2 :][:100] = bytes(100)
    data[100:400] = bytes(300)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"is no whole \.tar\.gz") as error:
        load(make_source(**ASKED), settings, rng, tmp_path)
    assert len(str(error.value).splitlines()) == 1
