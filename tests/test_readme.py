"""README.md opens with claim, results and a command, and nothing it names is missing: paths, commands, keys, stages."""

import argparse
import contextlib
import csv
import fnmatch
import io
import json
import re
import shlex
from collections.abc import Callable

import pytest
import tomlkit
from graph_tools import CELLS, ROOT, get_key, read_yaml

from splitprobe.engine import cli

SHELLS = {"", "bash", "sh", "shell", "console"}
PLACEHOLDER = re.compile(r"[<>{}*…]|\.\.\.")
FIRST_COMMAND = 25  # the line before which it must come
STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]
FOREACH = {name: stage["foreach"][2:-1] for name, stage in STAGES.items() if "foreach" in stage}
INSTANCES = {f"{name}@{key}" for name, group in FOREACH.items() for key in read_yaml(ROOT / CELLS)[group]}
OUTPUTS = ("data/", "metrics/", "plots/", ".dvc/tmp/")  # may be named before they are built, but not linked


def blocks(text: str) -> list[tuple[int, list[str]]]:
    """Shell blocks: the number of their first line in the text, and their lines with continued ones joined."""
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if match[1] in SHELLS:
            lines = [line.removeprefix("$ ") for line in match[2].replace("\\\n", " ").splitlines()]
            found.append((text[: match.start(2)].count("\n") + 1, lines))
    return found


def split(line: str) -> list[list[str]]:
    """The commands of a shell line as words, without remarks and what may precede a command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split, commands = True, [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            commands.append([])
        elif commands[-1] or not re.match(r"\w+=|do$|time$", word):
            commands[-1].append(word)
    return [command for command in commands if command]


def commands(text: str) -> list[list[str]]:
    """All commands of the shell blocks."""
    return [command for _, lines in blocks(text) for line in lines for command in split(line)]


def spans(text: str) -> list[str]:
    """What stands in backticks outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def opening_problems(text: str) -> list[str]:
    """Title, one sentence, a table and an image, then a command, all on the first screen."""
    found = [number for number, lines in blocks(text) if any(map(split, lines))]
    if not found:
        return ["no code block holds a command"]
    lines = text.splitlines()[: found[0] - 1]
    paragraphs = [part.replace("\n", " ") for part in re.split(r"\n\s*\n", "\n".join(lines[1:]).strip())]
    claim = next((part.strip("*_ ") for part in paragraphs if part and part[0] not in "#|![<`"), "")
    problems = []
    if found[0] >= FIRST_COMMAND:
        problems.append(f"the first command stands in line {found[0]}, not before {FIRST_COMMAND}")
    if not (lines and lines[0].startswith("# ")):
        problems.append("the first line is no title")
    if not re.fullmatch(r"[^.!?]+[.!?]", re.sub(r"(?<=\w)\.(?=\w)", "", claim)):
        problems.append("the first paragraph is not one sentence")
    if not any(re.match(r"\|\s*:?-+", line) for line in lines):
        problems.append("no table before the first command")
    if not any("![" in line or "<img" in line for line in lines):
        problems.append("no image before the first command")
    return problems


def is_path(word: str) -> bool:
    """Whether a word looks like a path of this repository."""
    if PLACEHOLDER.search(word) or not re.fullmatch(r"[\w.@/-]+", word):
        return False
    names = {path.name for path in ROOT.iterdir()} | {"stages", "src", "tests", "data", "metrics", "plots", "dvc.lock"}
    return word.split("/")[0] in names and ("/" in word or "." in word)


def path_problems(text: str) -> list[str]:
    """Links, and words in backticks or commands, that name no file or folder."""
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    links = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    problems = [f"link to {link}: no such file" for link in links if not (ROOT / link).exists()]
    words = [word for span in spans(text) for word in span.split()]
    words += [word for command in commands(text) for word in command]
    for word in filter(is_path, words):
        if not (ROOT / word).exists() and not word.startswith(OUTPUTS):
            problems.append(f"{word}: no such file or folder")
    return problems


def parsed(arguments: list[str]) -> str:
    """What DVC's own parser objects to in a command line, which is not run."""
    from dvc.cli import DvcParserError, parse_args

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            parse_args(arguments)
        except DvcParserError:
            return f"dvc {shlex.join(arguments)}: DVC knows no such command or option"
        except SystemExit:  # --help, --version
            pass
    return ""


def known_command(words: list[str]) -> bool:
    """Whether the plain words after ``dvc`` in running text lead to a command, as far as DVC's parser has names."""
    from dvc.cli.parser import get_main_parser

    parser = get_main_parser()
    for word in words:
        groups = [a for a in parser._actions if isinstance(a.choices, dict)]
        if not groups:
            break
        if word not in groups[0].choices:
            return False
        parser = groups[0].choices[word]
    return True


def dvc_problems(text: str) -> list[str]:
    """DVC commands that do not exist, and keys of -S that params.yaml lacks."""
    problems, params = [], read_yaml(ROOT / "params.yaml")
    for words in commands(text):
        if words[0] == "dvc":
            problems.append(parsed([word for word in words[1:] if not PLACEHOLDER.search(word)]))
    for span in spans(text):
        if span.startswith("dvc "):
            words = re.match(r"(?:[a-z-]+ ?)*", span.removeprefix("dvc "))[0].split()
            if not known_command([word for word in words if not word.startswith("-")]):
                problems.append(f"`{span}`: DVC knows no such command")
    for key in re.findall(r"(?:-S|--set-param)[ =]['\"]?\+*([\w./]+)=", text):
        try:
            get_key(params, key)
        except KeyError:
            problems.append(f"-S {key}: params.yaml has no such key")
    return [problem for problem in problems if problem]


def understood(words: list[str]) -> argparse.Namespace | None:
    """What splitprobe's own parser makes of the words after its name; None when it refuses them."""
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        return cli.parser().parse_args(words[: words.index(">")] if ">" in words else words)
    return None


def splitprobe_problems(text: str) -> list[str]:
    """Command lines that `splitprobe` refuses, and stages that it is given and dvc.yaml lacks."""
    problems, known = [], INSTANCES | STAGES.keys()
    for words in (words for words in commands(text) if words[0] == "splitprobe"):
        options = understood(words[1:])
        if options is None:
            problems.append(f"{shlex.join(words)}: splitprobe knows no such command or option")
        else:
            targets = set(getattr(options, "targets", ())) - known
            problems += [f"{target}: dvc.yaml has no such stage" for target in sorted(targets)]
    return problems


def stage_problems(text: str) -> list[str]:
    """Targets of `dvc repro`, and names with an @, that dvc.yaml does not define."""
    known = INSTANCES | STAGES.keys()
    words = {word for span in spans(text) for word in span.split() if re.match(r"\w+@", word)}
    for command in [*commands(text), *(span.split() for span in spans(text))]:
        if command[:2] == ["dvc", "repro"]:
            words |= {word for word in command[2:] if word[0] not in "-{" and word.strip(".")}
    return [
        f"{word}: dvc.yaml has no such stage"
        for word in sorted(words)
        if not any(fnmatch.fnmatchcase(name, re.sub(r"<[^>]*>|…", "*", word)) for name in known)
    ]


def install_problems(text: str) -> list[str]:
    """Extras of `pip install` that pyproject.toml lacks."""
    extras = tomlkit.parse((ROOT / "pyproject.toml").read_text())["project"].get("optional-dependencies", {})
    named = re.findall(r"(?:\.|splitprobe)\[([\w, -]+)\]", text)
    wrong = {extra.strip() for group in named for extra in group.split(",")} - set(extras)
    return [f"extra {extra!r}: pyproject.toml has only {', '.join(extras)}" for extra in sorted(wrong)]


CHECKS: list[Callable[[str], list[str]]] = [
    opening_problems, path_problems, dvc_problems, splitprobe_problems, stage_problems, install_problems,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_readme(check):
    path = ROOT / "README.md"
    assert path.is_file(), "README.md is missing"
    problems = check(path.read_text())
    assert not problems, "README.md: " + "; ".join(problems)


GOOD = """# splitprobe

What leaks from 32.5 %
of a network.

| a | b |
|---|---|
| 1 | 2 |

![Figure](pyproject.toml)

```bash
pip install -e ".[test]"            # once
SCALE=1 dvc repro train_target@cnn/siftfunnel && dvc metrics show metrics/demo/table2 --md
dvc exp run -S loss.lambda_dcor=2.0 \\
    -S scale=paper
dvc repro --glob 'run_mle@cnn/*'
splitprobe run build_table@table2 --workers 4 && splitprobe plan prepare@xray > plan.json
```

`dvc repro <stage>`, `dvc exp run -S seed=3`, `run_mle@<cell>`, `src/splitprobe/core/params.py`,
`data/demo/new.npz`, `a/b`.
"""


def test_a_good_page_passes():
    assert [problem for check in CHECKS for problem in check(GOOD)] == []


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("# splitprobe", "## splitprobe", "no title"),
        ("of a network.", "of it. And more.", "not one sentence"),
        ("|---|---|", "", "no table"),
        ("![Figure](pyproject.toml)", "", "no image"),
        ("# splitprobe\n", "# splitprobe\n" + "\n" * 20, "stands in line 33"),
        ("](pyproject.toml)", "](plots/none.png)", "link to plots/none.png: no such file"),
        ("splitprobe/core/params.py", "splitprobe/parms.py", "src/splitprobe/parms.py: no such file or folder"),
        ("dvc metrics show", "dvc metrics shw", "no such command or option"),
        ("--workers 4", "--wrokers 4", "splitprobe knows no such command or option"),
        ("plan prepare@xray", "plan prepare@x-ray", "prepare@x-ray: dvc.yaml has no such stage"),
        ("--md", "--mdd", "no such command or option"),
        ("`dvc exp run", "`dvc exp rum", "DVC knows no such command"),
        ("loss.lambda_dcor", "loss.lambda_dcr", "-S loss.lambda_dcr: params.yaml has no such key"),
        ("S seed=3", "S seeds=3", "-S seeds: params.yaml has no such key"),
        ("cnn/siftfunnel", "cnn/siftfunel", "train_target@cnn/siftfunel: dvc.yaml has no such stage"),
        ("`run_mle@<cell>`", "`run_mel@<cell>`", "run_mel@<cell>: dvc.yaml has no such stage"),
        ("'run_mle@cnn/*'", "'run_mle@cmm/*'", "run_mle@cmm/*: dvc.yaml has no such stage"),
        (".[test]", ".[tests]", "extra 'tests'"),
    ],
)
def test_a_mistake_is_named(right, wrong, message):
    assert right in GOOD
    problems = [problem for check in CHECKS for problem in check(GOOD.replace(right, wrong))]
    assert len(problems) == 1 and message in problems[0], problems


ROWS = {
    "Unprotected": "unprotected",
    "Gaussian noise": "gaussian_noise",
    "VIB": "vib",
    "BiDO, normalized HSIC": "bido_cka",
    "NoPeek": "nopeek",
    "AE, adversarial": "ae_adversarial",
    "SiftFunnel, no losses": "siftfunnel_architecture",
    "SiftFunnel": "siftfunnel",
}
COLUMNS = (  # of several, the one that gets most
    ("accuracy_percent",),
    ("generator_black_box_psnr_db", "generator_gray_box_psnr_db"),
    ("generator_strong_psnr_db", "generator_strong_repeated_psnr_db"),
    ("mle_tuned_psnr_db",),
    ("mle_hybrid_psnr_db",),
    ("edge_parameters",),
)


def result_line(title: str) -> list[str]:
    """The README's cells of a row, without its title."""
    lines = (ROOT / "README.md").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"| {title} |"))
    return line.strip("| ").split("|")[1:]


def shown(value: float, digits: int) -> object:
    """What a number in the text may stand for: half a unit of its last digit, either way of a tie."""
    return pytest.approx(value, abs=0.5001 * 10**-digits)


@pytest.mark.parametrize("title", list(ROWS))
def test_the_results_table_is_the_committed_one(title):
    committed = json.loads((ROOT / f"metrics/small/table2/cnn/{ROWS[title]}.json").read_text())
    for cell, columns in zip(result_line(title), COLUMNS, strict=True):
        value, *spread = re.findall(r"[\d.]+", cell.replace(",", ""))
        best = max((column for column in columns if column in committed), key=committed.__getitem__)
        assert float(value) == shown(committed[best], len(value.partition(".")[2])), f"{title}: {best}"
        assert [float(s) for s in spread] == [shown(committed[f"{best}_sd"], 1) for _ in spread], f"{title}: {best}"
        assert bool(spread) == ("." in value), f"{title}: {best}: a measured number needs its spread"


def test_floors_and_failures_are_the_committed_ones():
    with open(ROOT / "metrics/small/table2.csv", newline="") as stream:
        lines = {line["row"]: line for line in csv.DictReader(stream)}
    _, decoder, strong, tuned, hybrid = (re.findall(r"[\d.]+", c) for c in result_line("*no feature: the mean image*"))
    (floor,) = (line for row, line in lines.items() if row.startswith("floor: mean aux"))
    for (number,), family in (
        (decoder, "generator"),
        (strong, "generator"),
        (tuned, "mle_tuned"),
        (hybrid, "mle_tuned"),
    ):
        assert float(number) == shown(float(floor[f"{family}_psnr_db"]), 1)
    for title, name in ROWS.items():
        for cell, attack in zip(result_line(title)[3:5], ("mle_tuned", "mle_hybrid"), strict=True):
            assert ("†" in cell) == (lines[f"cnn/{name}"][f"{attack}_failed"] == "True"), title


def test_the_leaderboard_is_the_committed_one():
    page = (ROOT / "metrics/small/leaderboard.md").read_text().splitlines()
    first = page.index(next(line for line in page if line.startswith("| Rank")))
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in page[first:] if line.startswith("|")]
    size = next(i for i, line in enumerate(page[first:]) if not line.startswith("|"))
    columns = ["Rank", "Defense", "3 points lost, dB", "Settings", "Own change, points", "Own strongest, dB"]
    places = [table[0].index(name) for name in [*columns, "Edge parameters"]]
    shown = [f"| {' | '.join(line[i] for i in places)} |" for line in table[:size]]
    assert "\n".join([shown[0], "|" + "---|" * len(places), *shown[2:]]) in (ROOT / "README.md").read_text()


SIFTFUNNELS = ("siftfunnel_architecture", "siftfunnel")
STOCHASTIC = ("gaussian_noise", "dropout")


def plain_decoder() -> float:
    """PSNR of the strong decoder on the unprotected row."""
    return committed("cnn/unprotected")["generator_strong_psnr_db"]


FUNNELS = {"cnn": "table2", "resnet18": "table3", "vgg16": "table6", "faces": "table4"}


def floor_of_the_mean_image() -> str:
    """PSNR of the mean auxiliary image at scale small."""
    with open(ROOT / "metrics/small/table2.csv", newline="") as stream:
        return next(
            row["generator_psnr_db"] for row in csv.DictReader(stream) if row["row"].startswith("floor: mean a")
        )


def committed(cell: str, table: str = "table2") -> dict:
    """A row's JSON at scale small."""
    return json.loads((ROOT / f"metrics/small/{table}/{cell}.json").read_text())


def test_findings_in_the_text_are_those_of_the_committed_results():
    text = " ".join((ROOT / "README.md").read_text().split())
    funnel, network = committed("cnn/siftfunnel"), "{:.1f} dB on the CNN, where the mean image has {:.1f}"
    assert network.format(funnel["strongest_psnr_db"], float(floor_of_the_mean_image())) in text
    lost = [-committed(f"{name}/siftfunnel", table)["accuracy_change_points"] for name, table in FUNNELS.items()]
    told = re.search(
        r"costs (\d+) points of accuracy, (\d+) on .ResNet.*?, (\d+) on .VGG16.*?and (\d+) on the .faces", text
    )
    assert [int(number) for number in told.groups()] == [round(value) for value in lost]
    full = committed("resnet18/siftfunnel", "table5")["strongest_psnr_db"]
    without = [committed(f"ablation/no_{part}", "table5")["strongest_psnr_db"] - full for part in ("dcor", "kl")]
    assert "correlation {:.1f}, without KL {:.1f}".format(*without) in text
    assert f"without the funnel {committed('ablation/no_funnel', 'table5')['strongest_psnr_db'] - full:.1f} dB" in text
    page = (ROOT / "metrics/small/criterion.md").read_text()
    cells = int(re.search(r"small, (\d+) cells", page)[1])
    capped = int(re.search(r"\| MI \(calibrated\), nats \| I \| \+ \| \d+ \| (\d+) \|", page)[1])
    vacuous = int(re.search(r"\*\*vacuous\*\* in (\d+)", page)[1])
    assert f"{capped} of the {cells} estimates are at their cap" in text
    assert f"with I by InfoNCE, says nothing in {vacuous} of {cells}" in text
    rows = {name: committed(name, "criterion") for name in ("entropy", "nonzero", "mi_calibrated")}
    same_edge = [f"{row['strongest_fixed_rho']:.2f}" for row in rows.values()]
    assert "(rho {} and {}), and mutual information still does ({})".format(*same_edge) in text
    assert [row["strongest_fixed_verdict"] for row in rows.values()] == ["undecided", "undecided", "supported"]
    gains = [committed(f"cnn/{name}")["strongest_gain_db"] for name in ("unprotected", *SIFTFUNNELS)]
    told = [f"{gains[0] - gain:.1f}" for gain in gains[1:]]
    assert "{} of the {} dB that it hides its architecture hides".format(*told) in text
    once = [plain_decoder() - committed(f"cnn/{row}")["generator_strong_psnr_db"] for row in STOCHASTIC]
    many = [plain_decoder() - committed(f"cnn/{row}")["generator_strong_repeated_psnr_db"] for row in STOCHASTIC]
    assert (
        "release of an image {:.1f} and {:.1f} dB, and one that sees 16 of them {:.1f} and {:.1f}".format(*once, *many)
        in text
    )


def test_numbers_in_the_text_are_those_of_the_committed_results():
    text = " ".join((ROOT / "README.md").read_text().split())
    with (ROOT / "metrics/small/claims.csv").open(newline="") as file:
        verdicts = [line["verdict"] for line in csv.DictReader(file)]
    known = [verdicts.count(verdict) for verdict in ("reproduced", "not reproduced", "cannot be judged")]
    told = "of {}, {} are reproduced, {} are not, {} cannot be judged".format(len(verdicts), *known)
    assert told in text
