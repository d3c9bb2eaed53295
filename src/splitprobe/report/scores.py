"""Numbers that tables and figures share: accuracy and its change, the attacks' variants, floors, the paper's row."""

from collections.abc import Mapping, Sequence
from typing import Any

from splitprobe.report import paper
from splitprobe.report.results import NO_REFERENCE, Results, reference
from splitprobe.report.table import Flat

NETWORKS = {"cnn": "CNN", "resnet18": "ResNet-18", "vgg16": "VGG16"}
SIFTFUNNEL = "siftfunnel"  # the row of the paper's own defense
NO_ATTACK = "no attack ended with a finite PSNR"
CLOUD_SIDE = "cloud_side"  # a decoder of what the cloud's first layer makes of z
FLOORS = {"gray": "constant gray", "mean_image": "mean auxiliary image", "mean_color": "own mean color"}


def accuracy(results: Sequence[Results], of: Results) -> Flat:
    """Accuracy in percent and its change against the unprotected row in points; an absent one comes with a reason."""
    own, base = of["target"]["accuracy"], reference(results, of)
    record: Flat = {"accuracy_percent": None, "accuracy_change_points": None}
    if own is None:
        reason = of["target"].get("accuracy_reason", "no reason was recorded")
        return record | {f"{key}_reason": reason for key in record}
    record["accuracy_percent"] = 100 * own
    if base is None or base["target"]["accuracy"] is None:
        return record | {"accuracy_change_points_reason": NO_REFERENCE}
    return record | {"accuracy_change_points": 100 * (own - base["target"]["accuracy"])}


def network(r: Results) -> str:
    """A cell's network, for readers."""
    return NETWORKS.get(r.network[1], r.network[1])


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
    return max((attack["psnr_db"] for attack in attacks(r) if attack["psnr_db"] is not None), default=None)


def decoders(r: Results) -> dict[str, Mapping[str, Any]]:
    """A cell's decoders of what the edge sends; the one of the cloud's widened feature is Table V's alone."""
    return {name: decoder for name, decoder in r["generator"]["decoders"].items() if name != CLOUD_SIDE}


def attacks(r: Results) -> list[Mapping[str, Any]]:
    """A cell's attacks on what the edge sends: its decoders, then its MLE variants."""
    return [*decoders(r).values(), *r["mle"]["variants"].values()]


def failed_attacks(r: Results) -> int:
    """How many of a cell's attacks ended no better than the mean image."""
    return sum(bool(attack["failed"]) for attack in attacks(r))
