"""Table II: every defense's accuracy, what two attacks get out of z, and how much z says about x; beside the paper's.

Differs from the paper's table in the conventions: our block has MSE per element, PSNR and SSIM per image, a calibrated
estimate of mutual information next to the paper's, and the scores of answering with a constant; the block beside the
paper has the paper's conventions, for that comparison alone.
"""

from collections.abc import Mapping, Sequence

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import table2_page as page
from splitprobe.report.differences import differences
from splitprobe.report.markdown import bullets, document
from splitprobe.report.remarks import caption, remarks
from splitprobe.report.results import Results, collect
from splitprobe.report.scores import accuracy, failed_attacks, floors, printed, strongest, variants
from splitprobe.report.table import Flat, Table, flat, reasons

STAGES = ("target", "information", "generator", "mle")


def build(params: Params, paths: Paths) -> Table:
    """Table II for the cells that ``rows.table2`` lists."""
    results = collect(params, paths, "table2", STAGES)
    text = document(
        "Table II: defenses against model inversion",
        caption(params.scale, results),
        ["## Accuracy and attacks", "", *page.attacks(results)],
        ["## Information and size", "", *page.information(results)],
        ["## Beside the paper", "", *page.beside_the_paper(results)],
        ["## Where the rows differ from the paper", "", *differences(results)],
        ["## Notes", "", *bullets(remarks(results))],
    )
    lines = [line for r in results for line in _lines(results, r)]
    return Table({r.cell: _row(results, r) for r in results}, [*lines, *_floor_lines(results)], text)


def _row(results: Sequence[Results], r: Results) -> Flat:
    """The row's JSON: what a reader of ``dvc metrics show`` needs first."""
    own, effective = accuracy(results, r), r["information"]["effective"]
    # most important first; dvc sorts its columns by name, but the file itself is read too
    row = {key: own[key] for key in ("accuracy_percent", "accuracy_change_points")}
    row["strongest_psnr_db"] = strongest(r)
    for name, decoder in r["generator"]["decoders"].items():
        row |= {f"generator_{name}_{key}": decoder[key] for key in ("psnr_db", "ssim")}
    row |= {f"mle_{name}_psnr_db": attack["psnr_db"] for name, attack in r["mle"]["variants"].items()}
    for name in ("calibrated", "paper"):
        row[f"mi_{name}_nats"] = r["information"]["mine"][name]["mi_nats"]
    row |= {key: effective[key] for key in ("nonzero_per_image", "dead_channels")}
    row |= {key: r["target"][key] for key in ("edge_parameters", "z_bytes")}
    row |= {key: value for key, value in r["target"]["facts"].items() if key == "epsilon"}
    # without a floor beside it, a low PSNR looks like protection
    floor = r["generator"]["floors"]["mean_image"]["psnr_db"]
    return row | {"failed_attacks": failed_attacks(r), "floor_mean_image_psnr_db": floor}


def _lines(results: Sequence[Results], r: Results) -> list[Flat]:
    """The row's CSV lines, one per decoder: everything the stages recorded, then the paper's values."""
    target, information = r["target"], r["information"]
    # accuracy is left out here: the table has it in percent
    sizes = {k: v for k, v in target.items() if k.startswith(("validation", "edge", "cloud", "z_bytes"))}
    records = [("", accuracy(results, r)), ("", sizes), ("training_", target["training"])]
    records += [("setting_", target["settings"]), ("fact_", target["facts"]), ("z_", information["effective"])]
    records += [(f"mi_{name}_", estimate) for name, estimate in information["mine"].items()]
    records += [(f"mle_{name}_", attack) for name, attack in r["mle"]["variants"].items()]
    head = r.identity("target")
    head |= {f"{stage}_images": r[stage]["images"] for stage in ("generator", "mle")}
    head["strongest_psnr_db"] = strongest(r)
    lines = []
    for name, decoder in r["generator"]["decoders"].items():
        line = head | {"access": decoder["access"], "decoder": name}
        whole = [*records, ("generator_", decoder)]
        line |= {key: value for prefix, record in whole for key, value in flat(prefix, record).items()}
        line |= flat("paper_", _numbers(printed(r, decoder["access"])))
        line["absent"] = "; ".join(why for prefix, record in whole for why in reasons(prefix, record))
        lines.append(line)
    return lines


def _numbers(record: Mapping) -> Mapping:
    return {key: value for key, value in record.items() if key not in ("row", "access")}


def _floor_lines(results: Sequence[Results]) -> list[Flat]:
    """The floors as CSV lines, under the same columns as the attacks on the same images."""
    lines = []
    for label, generator, attacked in floors(results):
        line = {"row": f"floor: {label}", **flat("generator_", generator)}
        for name in variants(results):
            line |= flat(f"mle_{name}_", attacked)
        lines.append(line)
    return lines
