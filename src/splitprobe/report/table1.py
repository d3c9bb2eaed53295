"""Table I: the datasets behind the roles, with the paper's beside them."""

from typing import Any

from splitprobe.artifacts import read_json
from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import paper
from splitprobe.report.markdown import NONE, Notes, bullets, document, grid, number
from splitprobe.report.results import absent, distinct, rows
from splitprobe.report.table import Flat, Table, flat

PARTS = ("train", "validation", "test", "auxiliary")
NOTES = (
    "Role: what the data stand for; the paper fills the roles with CIFAR-10, FaceScrub and ChestX-ray.",
    "Kept and rejected count what the source offers; a scale may use only a part of those kept. "
    "`rejected.csv` beside the prepared images gives the reason for each rejected file.",
    "Percentages are shares of the images used, all four parts together.",
    "Training and validation images train the target and choose its epoch; test images judge it and are attacked; "
    "auxiliary images are the attacker's own.",
    "Duplicates: auxiliary images whose pixels occur in another part, and test images whose pixels occur in training; "
    "none is removed.",
)


def build(params: Params, paths: Paths) -> Table:
    """Table I for the datasets that ``rows.table1`` lists."""
    summaries = {name: _summary(paths, name) for name in rows(params, "table1")}
    seed = distinct(summary["provenance"]["seed"] for summary in summaries.values())
    caption = [f"**Scale {params.scale}**, seed {seed}: the data that the other tables and figures rest on."]
    page = document(
        "Table I: datasets",
        caption,
        _ours(summaries),
        ["## In the paper", "", *_paper(list(summaries))],
        ["## Notes", "", *bullets(NOTES)],
    )
    return Table({n: _row(s) for n, s in summaries.items()}, [_line(n, s) for n, s in summaries.items()], page)


def _summary(paths: Paths, name: str) -> dict[str, Any]:
    file = paths.summary(name)
    if not file.is_file():
        raise absent("rows.table1", name, "prepare", file)
    return read_json(file)


def _percent(summary: dict[str, Any]) -> dict[str, float]:
    # of the images used: those kept may be many more than a small scale draws
    total = sum(summary["counts"][part] for part in PARTS)
    return {part: 100 * summary["counts"][part] / total for part in PARTS}


def _row(s: dict[str, Any]) -> Flat:
    """The row's JSON."""
    return {
        "classes": len(s["classes"]),
        **{f"{part}_images": s["counts"][part] for part in PARTS},
        **{f"{part}_percent": share for part, share in _percent(s).items()},
        "kept_images": s["kept"],
        "rejected_images": s["rejected"],
        "duplicates_auxiliary": s["duplicates_auxiliary"],
        "duplicates_test": s["duplicates_test"],
        "side_pixels": s["side"],
        "channels": s["channels"],
    }


def _line(name: str, s: dict[str, Any]) -> Flat:
    """The row's CSV line: our numbers, then the paper's."""
    return {"row": name, "title": s["title"], "source": s["source"], **_row(s), **flat("paper_", _printed(name))}


def _printed(name: str) -> Flat:
    return {k: v for k, v in paper.find("table1", name).items() if k != "row"}


def _ours(summaries: dict[str, Any]) -> list[str]:
    header = ["Dataset", "Role", "Classes", "Image", "Kept", "Rejected", "Training", "Validation", "Test", "Auxiliary"]
    header += ["Duplicates in auxiliary / test"]
    notes, lines = Notes(), []
    for name, s in summaries.items():
        share = _percent(s)
        lines.append(
            [
                s["title"],
                name,
                str(len(s["classes"])),
                f"{s['side']} × {s['side']} × {s['channels']}",
                *(notes.value(s, key, 0) for key in ("kept", "rejected")),
                *(f"{s['counts'][part]:,} ({share[part]:.1f} %)" for part in PARTS),
                " / ".join(notes.value(s, key, 0) for key in ("duplicates_auxiliary", "duplicates_test")),
            ]
        )
    return [*grid(header, lines, left=2), "", *notes.lines()]


def _paper(names: list[str]) -> list[str]:
    header = ["Dataset", "Role", "Classes", "Images", "Training", "Test", "Auxiliary"]
    lines = []
    for name in names:
        line = paper.find("table1", name)
        if line:  # a role that the paper does not have has no line here
            head = [str(line["title"]), name, number(line["classes"], 0), number(line["images"], 0)]
            lines.append([*head, *(_share(line, part) for part in ("train", "test", "auxiliary"))])
    if not lines:
        return ["The paper has none of these roles."]
    auxiliary = [f"{p['title']}'s auxiliary images: {p['auxiliary']}." for p in map(_printed, names) if p]
    return [*grid(header, lines, left=2), "", "≈: inferred, not printed in the paper. " + " ".join(auxiliary)]


def _share(line: paper.Record, part: str) -> str:
    """A part of the paper's dataset: its printed percentage and, where it can be inferred, the number of images."""
    share, images = line[f"{part}_percent"], line[f"{part}_images_inferred"]
    shown = [] if share is None else [f"{share:g} %"]
    if images is not None:
        shown.append(f"≈ {number(images, 0)}")
    return ", ".join(shown) or NONE
