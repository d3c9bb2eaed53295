import zipfile

import numpy as np
import pytest

from splitprobe.core.params import ParamsError
from splitprobe.datasets import DataError, load
from splitprobe.datasets.base import NO_CLASS

BACKGROUND, FRAME = (200, 0, 0), (35, 70, 143, 178)


@pytest.fixture
def celeba(tmp_path, encoded):
    """12 aligned images of 6 people: the face's square is of gray 10 times the image's number, the rest is red."""
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    left, top, right, bottom = FRAME
    for number in range(1, 13):
        pixels = np.full((218, 178, 3), BACKGROUND, np.uint8)
        pixels[top:bottom, left:right] = 10 * number
        (folder / f"{number:06}.jpg").write_bytes(encoded(pixels, "JPEG", quality=98))
    lines = [f"{number:06}.jpg {100 + number // 2}" for number in range(1, 13)]
    (tmp_path / "celeba" / "identity_CelebA.txt").write_text("\n".join(lines))
    return tmp_path / "celeba"


@pytest.fixture
def source(make_source, make_tree, tmp_path):
    make_tree(tmp_path / "target", {"ann": 9, "bo": 9})
    known = {"raw": "target", "side": 16, "auxiliary_source": "celeba", "auxiliary_raw": "celeba", "auxiliary": 6}
    return lambda **changes: make_source(**{**known, **changes})


def drawn(dataset):
    """The numbers of the auxiliary images, from the gray at their middle."""
    return sorted(np.rint(dataset.role("auxiliary")[0][:, 8, 8, 0] / 10).astype(int).tolist())


def test_the_face_is_cut_out(celeba, source, settings, rng, tmp_path):
    dataset = load(source(auxiliary=12), settings, rng, tmp_path)
    assert drawn(dataset) == list(range(1, 13))
    images, labels = dataset.role("auxiliary")
    assert images.shape == (12, 16, 16, 3) and set(labels) == {NO_CLASS} and dataset.classes == ("ann", "bo")
    spread = images.astype(int).max((1, 2, 3)) - images.astype(int).min((1, 2, 3))
    assert spread.max() <= 60  # a margin of red would spread over 190; JPEG blends colors at the edge
    assert load(source(auxiliary=12, channels=1), settings, rng, tmp_path).images.shape == (26, 16, 16, 1)


def test_only_what_is_asked_for_is_read_and_the_seed_decides(celeba, source, settings, tmp_path):
    first, again, other = (load(source(), settings, np.random.default_rng(s), tmp_path) for s in (1, 1, 2))
    assert first.kept == 18 + 6 and len(drawn(first)) == 6
    assert drawn(first) == drawn(again) != drawn(other)


def test_a_zip_will_do(celeba, source, settings, rng, tmp_path):
    with zipfile.ZipFile(tmp_path / "celeba.zip", "w") as archive:
        for file in celeba.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path).as_posix())
    assert len(drawn(load(source(auxiliary_raw="celeba.zip"), settings, rng, tmp_path))) == 6


def test_excluded_people_and_images_are_left_out_and_listed(celeba, source, settings, rng, tmp_path):
    (tmp_path / "exclude.txt").write_text("# FaceScrub's\n101\n000012.jpg  # by hand\n\n106\n")
    (celeba / "identity_CelebA.txt").write_text(
        (celeba / "identity_CelebA.txt").read_text().replace("000005.jpg 102\n", "")
    )
    dataset = load(source(auxiliary=8, auxiliary_exclude="exclude.txt"), settings, rng, tmp_path)
    assert drawn(dataset) == [1, 4, 6, 7, 8, 9, 10, 11]
    assert {r.file: r.reason for r in dataset.rejected} == {
        "celeba/img_align_celeba/000002.jpg": "excluded, it shows identity 101",
        "celeba/img_align_celeba/000003.jpg": "excluded, it shows identity 101",
        "celeba/img_align_celeba/000005.jpg": "identity_CelebA.txt does not say whether it shows an excluded person",
        "celeba/img_align_celeba/000012.jpg": "excluded by its name",
    }
    with pytest.raises(DataError, match=r"auxiliary asked 9, available 8 \(4 rejected\)"):
        load(source(auxiliary=9, auxiliary_exclude="exclude.txt"), settings, rng, tmp_path)


def test_people_cannot_be_excluded_without_their_identities(celeba, source, settings, rng, tmp_path):
    identities, listed = celeba / "identity_CelebA.txt", source(auxiliary_exclude="exclude.txt")
    with pytest.raises(DataError, match=r"auxiliary_exclude: .*exclude\.txt is missing: write into it whom .*; null"):
        load(listed, settings, rng, tmp_path)
    (tmp_path / "exclude.txt").write_text("101\n")
    identities.write_text("<html>quota exceeded</html>")
    with pytest.raises(DataError, match="is no list of images and identities, it holds '<html>quota exceeded"):
        load(listed, settings, rng, tmp_path)
    identities.unlink()
    with pytest.raises(DataError, match=r"holds no identity_CelebA\.txt, without which the people"):
        load(listed, settings, rng, tmp_path)
    (tmp_path / "exclude.txt").write_text("000001.jpg\n")  # images can be
    assert 1 not in drawn(load(source(auxiliary=11, auxiliary_exclude="exclude.txt"), settings, rng, tmp_path))
    (tmp_path / "exclude.txt").write_text("101\nAnn Lee\n")
    with pytest.raises(DataError, match=r"exclude\.txt:2: 'Ann Lee' is no number of an identity and no image"):
        load(listed, settings, rng, tmp_path)


def test_bad_files_are_listed_and_replaced_by_others(celeba, source, settings, rng, tmp_path, encoded):
    folder = celeba / "img_align_celeba"
    whole = (folder / "000001.jpg").read_bytes()
    bad = {1: whole[: len(whole) // 2], 2: b"", 3: b"<html>", 4: encoded(np.zeros((64, 64, 3), np.uint8), "JPEG")}
    for number, content in bad.items():
        (folder / f"{number:06}.jpg").write_bytes(content)
    dataset = load(source(auxiliary=8), settings, rng, tmp_path)
    assert drawn(dataset) == list(range(5, 13))
    reasons = {int(r.file[-10:-4]): r.reason for r in dataset.rejected}
    wanted = {1: "damaged", 2: "zero bytes", 3: "not an image", 4: "measures 64x64 px and does not hold the box"}
    assert all(reasons[n].startswith(wanted[n]) for n in reasons)
    with pytest.raises(DataError, match=r"celeba: too few images: auxiliary asked 9, available 8 \(4 rejected\)"):
        load(source(auxiliary=9), settings, rng, tmp_path)


def test_a_missing_set_and_other_roles_are_refused(source, make_source, settings, rng, tmp_path):
    with pytest.raises(DataError, match=r"celeba is missing: put CelebA as img_align_celeba/\*\.jpg .*non-commercial"):
        load(source(), settings, rng, tmp_path)
    (tmp_path / "celeba").mkdir()
    (tmp_path / "celeba/img_align_celeba.zip").write_text("<html>quota exceeded</html>")
    with pytest.raises(
        DataError,
        match=r"celeba holds no img_align_celeba/\*\.jpg, it holds 1 \.zip; .*: put CelebA as .* there, unpacked",
    ):
        load(source(), settings, rng, tmp_path)
    with pytest.raises(ParamsError, match="source = 'celeba': it has auxiliary images only; name it in"):
        load(make_source(source="celeba", raw="celeba"), settings, rng, tmp_path)
    with pytest.raises(ParamsError, match=r"classes = \('1',\): the source 'celeba' cannot use it"):
        load(source(auxiliary_classes=("1",)), settings, rng, tmp_path)


def test_suffixes_in_any_case(celeba, source, settings, rng, tmp_path):
    (tmp_path / "exclude.txt").write_text("101\n000012.JPG\n")
    for k, file in enumerate(sorted((celeba / "img_align_celeba").iterdir())):
        file.rename(file.with_suffix((".JPG", ".jpeg", ".Jpg", ".jpg")[k % 4]))
    (celeba / "img_align_celeba").rename(celeba / "Img_Align_CelebA")
    assert drawn(load(source(auxiliary=12), settings, rng, tmp_path)) == list(range(1, 13))
    kept = load(source(auxiliary=9, auxiliary_exclude="exclude.txt"), settings, rng, tmp_path)
    assert drawn(kept) == [1, 4, 5, 6, 7, 8, 9, 10, 11]


def test_what_lies_there_instead_is_said(celeba, source, settings, rng, tmp_path):
    for file in (celeba / "img_align_celeba").iterdir():
        file.rename(file.with_suffix(".gif"))
    (celeba / "img_align_celeba.zip").write_bytes(b"")
    said = r"holds no img_align_celeba/\*\.jpg, it holds 12 \.gif, 1 \.txt, 1 \.zip; unpack img_align_celeba\.zip"
    with pytest.raises(DataError, match=said):
        load(source(), settings, rng, tmp_path)
