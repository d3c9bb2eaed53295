"""MANIFEST.csv in the spellings that it comes in; one that cannot be used stops the run."""

import logging

import numpy as np
import pytest

from splitprobe.datasets import DataError, load
from splitprobe.datasets.archive import Tree
from splitprobe.datasets.manifest import PATHS, PEOPLE, read_groups, read_rows

FILES = [f"{label}/{i}.png" for label in "ab" for i in range(4)]  # of a patient two images each
ROWS = [(file, f"P{k // 2}") for k, file in enumerate(FILES)]
GROUPS = [8, 8, 9, 9, 10, 10, 11, 11]


def tree(**manifests):
    content = {name.replace("__", "/") + ".csv": text for name, text in manifests.items()}
    names = sorted([*FILES, *content])
    encoded = {name: text if isinstance(text, bytes) else text.encode() for name, text in content.items()}
    return Tree(names, encoded.__getitem__, [])


def groups(**manifests):
    return read_groups(tree(**manifests), FILES).tolist()


def table(columns="path,patient", separator=",", end="\n", rows=ROWS):
    return end.join([columns.replace(",", separator), *(separator.join(row) for row in rows)])


@pytest.mark.parametrize("column", ["patient", "patient_id", "Patient ID", "PatientID", "subject", "Person-Nr", "pid"])
@pytest.mark.parametrize("path", ["path", "filename", "File Name", "file", "image", "Image Index", "image_path"])
def test_common_names_of_columns(column, path):
    assert groups(MANIFEST=table(f"{path},{column}")) == GROUPS


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separators_line_ends_and_marks(separator, end, mark):
    assert groups(MANIFEST=mark + table(separator=separator, end=end) + end * 2) == GROUPS
    assert groups(MANIFEST=mark + "sep=;\n" + table(separator=";")) == GROUPS


def test_quotes_other_columns_and_spaces():
    rows = [f'"{file}";"x, y";  {who} ' for file, who in ROWS]
    assert groups(Manifest="\n".join(['"path";"a, b";"Patient ""ID"""', *rows])) == GROUPS


@pytest.mark.parametrize(
    "change",
    [
        lambda p: f"./{p}", lambda p: p.replace("/", "\\"), lambda p: f"/data/set/{p}", lambda p: f"C:\\set\\{p}",
        lambda p: f"../{p}", lambda p: f"set//{p}",
    ],
)  # fmt: skip
def test_paths_from_elsewhere(change):
    assert groups(MANIFEST=table(rows=[(change(file), who) for file, who in ROWS])) == GROUPS


def test_bare_names_are_found_where_there_is_one_of_each(tmp_path):
    files = ["a/0.png", "a/1.png", "b/2.png", "b/3.png"]
    text = b"filename,patient\n0.png,P\n1.png,Q\n2.png,Q\n3.png,P\n"
    found = read_groups(Tree([*files, "MANIFEST.csv"], lambda _: text, []), files)
    assert found.tolist() == [4, 5, 5, 4]
    with pytest.raises(DataError, match=r"names a patient for none of the images: a path is 0\.png, a file is"):
        groups(MANIFEST="filename,patient\n0.png,P\n1.png,P")  # both classes have such a file


def test_manifests_beside_each_other_count_together():
    parts = {f"{label}__MANIFEST": table(rows=[r for r in ROWS if r[0][0] == label]) for label in "ab"}
    assert groups(**parts) == GROUPS
    assert groups(**parts, MANIFEST=table(rows=[(f, "P") for f in FILES])) == [8] * 8  # the outermost


def test_rows_without_files_and_files_without_rows_are_warned_of(caplog):
    rows = [*ROWS[:6], ("a/9.png", "P0"), ("gone/0.png", "P7"), (FILES[6], "")]
    with caplog.at_level(logging.WARNING, "splitprobe"):
        assert groups(MANIFEST=table(rows=rows)) == [8, 8, 9, 9, 10, 10, 6, 7]
    assert "MANIFEST.csv: 2 of 9 rows name no file here" in caplog.text
    assert "MANIFEST.csv names no patient for 2 of 8 images, such as b/2.png: each counts as one" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no column of paths that is known here; its columns: none: call its columns path and patient"),
        ("path,class\na/0.png,a", "has no column of patients that is known here; its columns: path, class: call"),
        ("Datei;Kranker\na/0.png;P", "has no column of paths that is known here; its columns: Datei, Kranker: call"),
        ("a/0.png,P0\na/1.png,P0", r"has no column of paths .*; its columns: a/0\.png, P0"),
        ("path,patient", "names a patient for none of the images: it has no row with a path"),
        ("path,patient\nx/0.jpg,P", r"names a patient for none of the images: a path is x/0\.jpg"),
        ("path,patient\na/0.png,", "names a patient for none of the images, such as a/0.png"),
        ("path,patient\na/0.png,P\na/0.png,Q", r"names two patients for a/0\.png: 'P' and 'Q'"),
        ("path,patient\na/0.png,Lee, Ann", "has 3 fields in line 2 and 2 in its first; its columns: path, patient"),
        ('path,patient\na/0.png,"P\na/1.png,P', "cannot be read in line 3 .*; its columns: path, patient"),
        ("path,patient,note\na/0.png,P," + "x" * 200_000, "cannot be read in line 2 .*field larger.*path, patient, no"),
        ("path,patient" + "y" * 200_000, "has no column of paths that is known here"),
        (table("path,patient,größe").encode("latin-1"), r"is not UTF-8 text \(byte 15\).*path,patient,gr\\xf6\\xdfe"),
        (table().encode("utf-16"), r"is not UTF-8 text \(byte 0\)"),
        (table().encode("utf-16-le"), r"is not UTF-8 text \(byte 1\)"),
    ],
)
def test_what_cannot_be_used_stops_in_one_line(content, said):
    with pytest.raises(DataError, match=f"MANIFEST.csv {said}") as error:
        groups(MANIFEST=content)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 1500


def test_the_path_of_the_set_is_named_and_a_dead_link_stops_too(tmp_path, make_tree, make_source, settings, rng):
    root = make_tree(tmp_path / "raw", {"a": 9, "b": 9})
    (root / "MANIFEST.csv").write_text("path;Fall\na/0.png;P")
    with pytest.raises(DataError, match=r"raw: MANIFEST\.csv has no column of patients .*path, Fall"):
        load(make_source(), settings, rng, tmp_path)
    (root / "MANIFEST.csv").unlink()
    (root / "MANIFEST.csv").symlink_to("nowhere.csv")
    with pytest.raises(DataError, match=r"MANIFEST\.csv cannot be used: a link to nowhere\.csv, which is not there"):
        load(make_source(), settings, rng, tmp_path)


def test_without_a_manifest_each_image_is_its_own_patient():
    assert groups() == list(range(8))


def test_names_of_columns_are_plain_and_apart():
    names = [*PATHS, *PEOPLE]
    assert all(name.isalnum() and name == name.casefold() for name in names) and len(set(names)) == len(names)


def test_a_row_may_end_early_or_in_empty_fields():
    assert read_rows(b"path,x,patient\na,1,P\nb\nc,2,Q,,\n,3,R\n") == [("a", "P"), ("b", ""), ("c", "Q")]
    assert np.array_equal(groups(MANIFEST="path,patient\na/0.png,P\na/1.png"), [8, 1, 2, 3, 4, 5, 6, 7])
