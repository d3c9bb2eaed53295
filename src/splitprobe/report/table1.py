"""Table I: the datasets behind the roles, with the paper's beside them."""

import json
from collections.abc import Sequence

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError
from splitprobe.report import frame, paper
from splitprobe.report.markdown import NONE, bullets, distinct, document, grid, number, words
from splitprobe.report.numbers import Numbers
from splitprobe.report.numbers import rows as listed
from splitprobe.report.tables import Table

ITEM = "prepared"  # counts are in an item of their own
PARTS = ("train", "validation", "test", "auxiliary")
FACTS = {  # our names of the item's quantities
    **{"kept_images": "kept", "rejected_images": "rejected"},
    **{key: key for key in ("duplicates_auxiliary", "duplicates_test")},
    **{"side_pixels": "side", "channels": "channels"},
}
COLUMNS = {  # of the page: header, and what is there of a CSV line
    "Dataset": "{title}",
    "Role": "{row}",
    "Classes": "{classes}",
    "Image": "{side_pixels:.0f} × {side_pixels:.0f} × {channels:.0f}",
    "Kept": "{kept_images:,.0f}",
    "Rejected": "{rejected_images:,.0f}",
    "Training": "{train_images:,.0f} ({train_percent:.1f} %)",
    "Validation": "{validation_images:,.0f} ({validation_percent:.1f} %)",
    "Test": "{test_images:,.0f} ({test_percent:.1f} %)",
    "Auxiliary": "{auxiliary_images:,.0f} ({auxiliary_percent:.1f} %)",
    "Duplicates in auxiliary / test": "{duplicates_auxiliary:,.0f} / {duplicates_test:,.0f}",
}
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
    """Table I for the data sets that ``rows.table1`` lists; raises ParamsError for one that is not in the numbers."""
    names = listed(params, "table1")
    numbers, rows, lines = Numbers(frame.load(paths, [ITEM]), names), {}, []
    for name in names:
        if not numbers.items(name):
            raise ParamsError(
                f"rows.table1: {name!r} has no line in {paths.numbers(ITEM)}; stage prepare@{name} makes the data and "
                f"collect_numbers@{ITEM} writes it, provided that dvc.yaml lists {name}"
            )
        counts = {part: numbers.value(name, f"{ITEM} counts", part) for part in PARTS}
        rows[name] = {
            "classes": len(json.loads(numbers.text(name, ITEM, "classes"))),
            **{f"{part}_images": count for part, count in counts.items()},
            # of the images used: those kept may be many more than a small scale draws
            **{f"{part}_percent": 100 * count / sum(counts.values()) for part, count in counts.items()},
            **{key: numbers.value(name, ITEM, quantity) for key, quantity in FACTS.items()},
        }
        texts = {key: numbers.text(name, ITEM, key) for key in ("title", "source")}
        theirs = {f"paper_{key}": value for key, value in paper.find("table1", name).items() if key != "row"}
        lines.append({"row": name, **texts, **rows[name], **theirs})
    seed = distinct(numbers.number(name, f"provenance {ITEM}", "seed").value for name in names)
    page = document(
        "Table I: datasets",
        [f"**Scale {params.scale}**, seed {seed}: the data that the other tables and figures rest on."],
        grid([*COLUMNS], [[words(text.format(**line)) for text in COLUMNS.values()] for line in lines], left=2),
        ["## In the paper", "", *_paper(names)],
        ["## Notes", "", *bullets(NOTES)],
    )
    return Table(rows, lines, page)


def _paper(names: Sequence[str]) -> list[str]:
    header = ["Dataset", "Role", "Classes", "Images", "Training", "Test", "Auxiliary"]
    # a role that the paper does not have has no line here
    printed = {name: line for name in names if (line := paper.find("table1", name))}
    if not printed:
        return ["The paper has none of these roles."]
    lines = []
    for name, line in printed.items():
        shares = []
        for part in ("train", "test", "auxiliary"):
            # the printed percentage and, where it can be inferred, the number of images
            share, images = line[f"{part}_percent"], line[f"{part}_images_inferred"]
            shown = ("" if share is None else f"{share:g} %", "" if images is None else f"≈ {number(images, 0)}")
            shares.append(", ".join(filter(None, shown)) or NONE)
        lines.append([line["title"], name, number(line["classes"], 0), number(line["images"], 0), *shares])
    auxiliary = [f"{line['title']}'s auxiliary images: {line['auxiliary']}." for line in printed.values()]
    return [*grid(header, lines, left=2), "", "≈: inferred, not printed in the paper. " + " ".join(auxiliary)]
