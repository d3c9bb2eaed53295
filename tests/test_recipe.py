import pytest

from splitprobe.cells import Paths
from splitprobe.params import Params, ParamsError
from splitprobe.recipe import digest, write_recipe

SOURCE = '''"""A module."""
x = "# no remark"


def f(a):
    """Say something."""
    return a + 1
'''
SAME = '''"""Another text,

longer."""
x = "# no remark"  # but this is one
def f(a):
    # and this

    return a + 1
'''


def test_words_do_not_change_a_digest():
    assert digest(SOURCE) == digest(SAME)


@pytest.mark.parametrize(("old", "new"), [("a + 1", "a + 2"), ("# no remark", "# no"), ("def f(a)", "def g(a)")])
def test_code_does(old, new):
    assert digest(SOURCE) != digest(SOURCE.replace(old, new))


def test_a_string_that_is_no_docstring_counts():
    assert digest('def f():\n    return "a"\n') != digest('def f():\n    return "b"\n')


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A definition with one recipe, and what it names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code").mkdir()
    for name in ("b", "a"):
        (tmp_path / "code" / f"{name}.py").write_text(SOURCE)
    (tmp_path / "one.py").write_text(SOURCE)
    text = 'stages:\n  recipe_work:\n    deps: [one.py, code]\n    params: [seed, "scales.${scale}.mle"]\n'
    (tmp_path / "dvc.yaml").write_text(text)
    return tmp_path


def params(steps: int = 3) -> Params:
    return Params({"scale": "demo", "seed": 7, "scales": {"demo": {"mle": {"steps": steps}}}})


def test_a_recipe_lists_files_and_values(repository):
    known, paths = params(), Paths("demo")
    text = write_recipe("work", known, paths).read_text()
    code = digest(SOURCE)
    assert text.splitlines() == [
        f"one.py {code}", f"code/a.py {code}", f"code/b.py {code}", "seed = 7", 'scales.demo.mle = {"steps": 3}',
    ]  # fmt: skip
    assert known.read == {"seed", "scales.demo.mle"}


def test_only_what_matters_changes_a_recipe(repository):
    paths = Paths("demo")
    before = write_recipe("work", params(), paths).read_text()
    (repository / "one.py").write_text(SAME)
    assert write_recipe("work", params(), paths).read_text() == before
    assert write_recipe("work", params(steps=4), paths).read_text() != before


def test_an_unknown_script_is_named(repository):
    with pytest.raises(ParamsError, match=r"rest: dvc\.yaml has no stage recipe_rest; known scripts: work"):
        write_recipe("rest", params(), Paths("demo"))
