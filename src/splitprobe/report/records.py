"""What Tables II to VI write of a cell beside their pages: the numbers of its JSON, and the lines of the CSV."""

from collections.abc import Mapping, Sequence

from splitprobe.report import paper
from splitprobe.report.results import Results
from splitprobe.report.scores import (
    accuracy,
    best_of,
    decoders,
    failed_attacks,
    floors,
    gain,
    percent,
    printed,
    strongest,
    variants,
)
from splitprobe.report.table import Flat, flat, reasons, spread


def row(results: Sequence[Results], r: Results) -> Flat:
    """A cell's JSON: what a reader of ``dvc metrics show`` needs first."""
    own, effective = accuracy(results, r), r["information"]["effective"]
    # most important first; dvc sorts its columns by name, but the file itself is read too
    made = {key: own[key] for key in ("accuracy_percent", "accuracy_change_points")}
    made |= {"strongest_psnr_db": strongest(r), "strongest_gain_db": gain(r)}
    for name, decoder in decoders(r).items():
        made |= {f"generator_{name}_{key}": decoder[key] for key in ("psnr_db", "ssim")}
    made |= {f"mle_{name}_psnr_db": attack["psnr_db"] for name, attack in r["mle"]["variants"].items()}
    # of the best decoder: all rows are attacked on the same images, while MLE has fewer
    made |= {f"decoder_{key}": best_of(r, "generator")[1].get(key) for key in ("recognized", "identified")}
    made |= {f"mi_{name}_nats": estimate["mi_nats"] for name, estimate in r["information"]["mine"].items()}
    made["z_coded_bits"] = r["information"].get("entropy", {}).get("coded_bits_per_image")
    made["z_dcor_squared"] = r["information"].get("dependence", {}).get("dcor_squared")
    made |= {key: effective[key] for key in ("nonzero_per_image", "dead_channels")}
    made |= {key: r["target"][key] for key in ("edge_parameters", "z_bytes")}
    made |= {key: value for key, value in r["target"]["facts"].items() if key == "epsilon"}
    # without a floor beside it, a low PSNR looks like protection
    floor = r["generator"]["floors"]["mean_image"]["psnr_db"]
    made |= {"failed_attacks": failed_attacks(r), "floor_mean_image_psnr_db": floor}
    for run in r.runs:  # for comparisons seed by seed, with what `dvc exp run` has made too
        made |= {
            f"seed_{run.seed}_accuracy_percent": percent(run),
            f"seed_{run.seed}_strongest_psnr_db": strongest(run),
        }
    return made


def csv_lines(results: Sequence[Results], r: Results) -> list[Flat]:
    """A cell's CSV lines, one per decoder: everything the stages recorded, then the paper's values."""
    return [csv_line(results, r, name, printed(r, decoder["access"])) for name, decoder in decoders(r).items()]


def csv_line(results: Sequence[Results], r: Results, decoder: str, theirs: paper.Record) -> Flat:
    """The CSV line of a cell under one of its decoders; ``theirs``: the paper's line, or an empty one."""
    target, information, attack = r["target"], r["information"], r["generator"]["decoders"][decoder]
    # accuracy is left out here: the table has it in percent
    sizes = {k: v for k, v in target.items() if k.startswith(("validation", "edge", "cloud", "z_bytes"))}
    records = [("", accuracy(results, r)), ("", sizes), ("training_", target["training"])]
    records += [("setting_", target["settings"]), ("fact_", target["facts"]), ("z_", information["effective"])]
    records += [(f"z_{name}_", information.get(name, {})) for name in ("entropy", "dependence")]
    records += [(f"mi_{name}_", estimate) for name, estimate in information["mine"].items()]
    records += [(f"mle_{name}_", attacked) for name, attacked in r["mle"]["variants"].items()]
    records += [("generator_", attack)]
    line = r.identity("target")
    line |= {f"{stage}_images": r[stage]["images"] for stage in ("generator", "mle")}
    line |= spread({"strongest_psnr_db": strongest(r), "strongest_gain_db": gain(r)})
    line |= {"access": attack["access"], "decoder": decoder}
    for prefix, record in records:
        line |= flat(prefix, record)
    line |= flat("paper_", _numbers(theirs))
    line["absent"] = "; ".join(why for prefix, record in records for why in reasons(prefix, record))
    return line


def _numbers(record: Mapping) -> Mapping:
    return {key: value for key, value in record.items() if key not in ("row", "access")}


def floor_lines(results: Sequence[Results]) -> list[Flat]:
    """The floors as CSV lines, under the same columns as the attacks on the same images."""
    lines = []
    for label, generator, attacked in floors(results):
        line = {"row": f"floor: {label}", **flat("generator_", generator)}
        for name in variants(results):
            line |= flat(f"mle_{name}_", attacked)
        lines.append(line)
    return lines
