"""Numbers that tables and figures share: accuracy and its change, the attacks' variants, floors, the paper's row."""

from collections.abc import Mapping, Sequence
from typing import Any

from splitprobe.report import paper
from splitprobe.report.results import NO_REFERENCE, UNPROTECTED, Results, reference
from splitprobe.report.spread import over
from splitprobe.report.table import Flat

NETWORKS = {"cnn": "CNN", "resnet18": "ResNet-18", "vgg16": "VGG16"}
SIFTFUNNEL = "siftfunnel"  # the row of the paper's own defense
ATTACKING = ("generator", "mle")  # the stages with attacks, decoders first
NO_ATTACK = "no attack ended with a finite PSNR"
CLOUD_SIDE = "cloud_side"  # a decoder of what the cloud's first layer makes of z
# decoders whose title is not their own name
DECODERS = {"repeated": "black-box decoder", "strong_repeated": "strong decoder"}
DECODERS |= {"black_box": "black-box decoder", "gray_box": "gray-box decoder"}
FLOORS = {"gray": "constant gray", "mean_image": "mean auxiliary image", "mean_color": "own mean color"}


def accuracy(results: Sequence[Results], of: Results, row: str = UNPROTECTED) -> Flat:
    """Accuracy in percent and its change against a row in points; an absent one comes with a reason."""
    base = reference(results, of, row)
    record: Flat = {"accuracy_percent": over(of.seeds, percent), "accuracy_change_points": None}
    if record["accuracy_percent"] is None:
        reason = of["target"].get("accuracy_reason", "no reason was recorded")
        return record | {f"{key}_reason": reason for key in record}
    if base is None or over(base.seeds, percent) is None:
        return record | {"accuracy_change_points_reason": NO_REFERENCE}
    # seed against seed where both ran it: they share the order of images and the initial weights
    same = {run.seed: percent(run) for run in base.seeds}
    overall = over(base.seeds, percent)
    change = over(of.seeds, lambda run: percent(run) - same.get(run.seed, float(overall)))
    return record | {"accuracy_change_points": change}


def percent(run: Results) -> float | None:
    """One seed's accuracy in percent."""
    accuracy = run["target"]["accuracy"]
    return None if accuracy is None else 100 * accuracy


def network(r: Results) -> str:
    """A cell's network, for readers."""
    return NETWORKS.get(r.network[1], r.network[1])


def edge(r: Results) -> tuple:
    """What two edges must share: GroupNorm has as many parameters as BatchNorm, so the count alone would not tell."""
    blocks = [block for block in r["target"].get("blocks", []) if block["half"] == "edge"]
    return r["target"]["edge_parameters"], tuple((tuple(block["layers"]), tuple(block["shape"])) for block in blocks)


def variants(results: Sequence[Results]) -> list[str]:
    """The MLE attack's variants, in order of appearance."""
    return list(dict.fromkeys(name for r in results for name in r["mle"]["variants"]))


def variant_title(name: str) -> str:
    """A variant's name for readers: "paper" alone would look like the paper's own numbers."""
    return {"paper": "paper's settings"}.get(name, name)


def variant(r: Results, name: str) -> Mapping[str, Any]:
    """A cell's scores under one variant of MLE; only reasons when it was not run on this cell."""
    keys = ("psnr_db", "mse_paper", "psnr_db_paper", "ssim_paper")
    return r["mle"]["variants"].get(name, {f"{key}_reason": f"no {name} variant was run" for key in keys})


def floors(results: Sequence[Results]) -> list[tuple[str, Mapping, Mapping]]:
    """What answering with a constant scores: (label, on the generator's images, on MLE's), for each dataset."""
    first = {r.network[0]: r for r in reversed(results)}  # all cells of a dataset are attacked on the same images
    datasets = list(dict.fromkeys(r.network[0] for r in results))
    return [
        (
            label if len(datasets) == 1 else f"{label}, {name}",
            first[name]["generator"]["floors"][key],
            first[name]["mle"]["floors"][key],
        )
        for name in datasets
        for key, label in FLOORS.items()
    ]


def printed(r: Results, access: str | None = None) -> paper.Record:
    """The paper's line for a row of ours and an access, or its first line; empty where the paper has none."""
    return paper.find_cell(r.cell, access)


def strongest(r: Results) -> float | None:
    """PSNR in dB of the attack that gets most out of a cell, over all decoders and MLE variants with a finite one."""
    return over(r.seeds, _strongest)


def _strongest(run: Results) -> float | None:
    best = _best(run)
    return None if best is None else best[2]["psnr_db"]


def strongest_attack(r: Results) -> tuple[str, float] | None:
    """The name for readers of the attack that gets most out of a cell, and its PSNR in dB; None without a finite one.

    Of equally strong attacks the first in the results' order is named.
    """
    best = _best(r)
    return None if best is None else (attack_title(*best), best[2]["psnr_db"])


def best_of(r: Results, stage: str) -> tuple[str | None, Mapping[str, Any]]:
    """Name for readers and all scores of the best attack of one of ATTACKING; neither without a finite PSNR."""
    best = _best(r, (stage,))
    return (None, {}) if best is None else (attack_title(*best), best[2])


def gain(r: Results) -> float | None:
    """By how many dB the strongest attack beats answering the mean image, on the images that this attack was given."""
    return over(r.seeds, _gain)


def _gain(run: Results) -> float | None:
    best = _best(run)
    floor = None if best is None else run[best[0]]["floors"]["mean_image"]["psnr_db"]
    return None if floor is None else best[2]["psnr_db"] - floor


def attack_title(stage: str, name: str, attack: Mapping[str, Any]) -> str:
    """An attack's name for readers, such as "black-box decoder, 16 queries" or "MLE (tuned)"."""
    if stage == "mle":
        title = name if name == "hybrid" else f"MLE ({variant_title(name)})"
    else:
        title = DECODERS.get(name, f"{name.replace('_', ' ')} decoder")
    asked = attack.get("queries", 1)
    return f"{title}, {asked} queries" if asked > 1 else title


def decoders(r: Results) -> dict[str, Mapping[str, Any]]:
    """A cell's decoders of what the edge sends; the one of the cloud's widened feature is Table V's alone."""
    return {name: decoder for name, decoder in r["generator"]["decoders"].items() if name != CLOUD_SIDE}


def mirroring(r: Results) -> dict[str, Mapping[str, Any]]:
    """Those of a cell's decoders that the paper has: they mirror the edge and see one release of an image."""
    return {k: d for k, d in decoders(r).items() if d["queries"] == 1 and not k.startswith("strong")}


def attacks(r: Results) -> list[Mapping[str, Any]]:
    """A cell's attacks on what the edge sends: its decoders, then its MLE variants."""
    return [attack for _, _, attack in _named(r)]


def failed_attacks(r: Results) -> int:
    """How many of a cell's attacks ended no better than gray or the mean image."""
    return sum(bool(attack["failed"]) for attack in attacks(r))


def _named(r: Results) -> list[tuple[str, str, Mapping[str, Any]]]:
    """A cell's attacks with the stage and the name they have there."""
    found = {"generator": decoders(r), "mle": r["mle"]["variants"]}
    return [(stage, name, attack) for stage, group in found.items() for name, attack in group.items()]


def _best(r: Results, stages: Sequence[str] = ATTACKING) -> tuple[str, str, Mapping[str, Any]] | None:
    """The attack of some stages with the highest finite PSNR, as in ``_named``."""
    finite = [named for named in _named(r) if named[0] in stages and named[2]["psnr_db"] is not None]
    return max(finite, key=lambda named: named[2]["psnr_db"], default=None)
