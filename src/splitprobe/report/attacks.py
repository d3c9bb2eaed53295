"""What views name: a cell's attacks, the floors, and the estimates of mutual information with their caps."""

import json

from splitprobe.report.numbers import CLOUD_SIDE, SHARED, Numbers

NETWORKS = {"cnn": "CNN", "resnet18": "ResNet-18", "vgg16": "VGG16"}
STAGES = ("generator", "mle")  # the families of attacks, decoders first
# decoders whose title is not their own name
DECODERS = {"repeated": "black-box decoder", "strong_repeated": "strong decoder"}
DECODERS |= {"black_box": "black-box decoder", "gray_box": "gray-box decoder"}
FLOORS = {"gray": "constant gray", "mean_image": "mean auxiliary image", "mean_color": "own mean color"}
# estimates of mutual information, items ``mi <name>``, and what readers call them
ESTIMATES = {"calibrated": "calibrated", "infonce": "InfoNCE", "decoder": "decoder's", "paper": "paper's estimator"}
# an estimate this close to the most its estimator can reach is saturated: estimates bend well before it (see the figure
# on known answers) and differ there by their own noise
NEAR_CAP = 0.1  # nats
CHANCE = 1.645  # deviations that chance exceeds one time in twenty


def network(numbers: Numbers, cell: str) -> str:
    """A cell's network, for readers."""
    model = numbers.network(cell)[1]
    return NETWORKS.get(model, model)


def edge(numbers: Numbers, cell: str) -> tuple:
    """What two edges must share: parameters, layers and shapes, since GroupNorm has as many parameters as BatchNorm."""
    blocks = [block for block in json.loads(numbers.text(cell, "target", "blocks")) if block["half"] == "edge"]
    layers = tuple((tuple(block["layers"]), tuple(block["shape"])) for block in blocks)
    return numbers.number(cell, "target", "edge_parameters").value, layers


def decoders(numbers: Numbers, cell: str) -> list[str]:
    """A cell's decoders of what the edge sends, as items; the one of the cloud's widened feature is not among them."""
    return [item for item in numbers.items(cell, "generator") if item not in ("generator", CLOUD_SIDE)]


def mirroring(numbers: Numbers, cell: str) -> list[str]:
    """Those decoders that the paper has: they mirror the edge and see one release of an image."""
    return [
        item
        for item in decoders(numbers, cell)
        if numbers.number(cell, item, "queries").value == 1 and not item.startswith("generator strong")
    ]


def variants(numbers: Numbers, cell: str | None = None) -> list[str]:
    """The MLE attack's variants as items, in order of appearance, of one cell or of all."""
    cells = numbers.cells if cell is None else [cell]
    return list(dict.fromkeys(item for own in cells for item in numbers.items(own, "mle") if item != "mle"))


def all_of(numbers: Numbers, cell: str) -> list[str]:
    """All attacks on what a cell's edge sends, as items: decoders, then variants of MLE."""
    return [*decoders(numbers, cell), *variants(numbers, cell)]


def variant_title(item: str) -> str:
    """A variant's name for readers: "paper" alone would look like the paper's own numbers."""
    name = item.split()[-1]
    return {"paper": "paper's settings", "prior": "diffusion prior", "hybrid_once": "hybrid, one query"}.get(name, name)


def title(numbers: Numbers, cell: str, item: str) -> str:
    """An attack's name for readers, such as "black-box decoder, 16 queries" or "MLE (tuned)"."""
    stage, name = item.split()
    if stage == "mle":
        text = variant_title(name) if name.startswith("hybrid") else f"MLE ({variant_title(name)})"
    else:
        text = DECODERS.get(name, f"{name.replace('_', ' ')} decoder")
    asked = queries(numbers, cell, item)
    return f"{text}, {asked:.0f} queries" if asked > 1 else text


def queries(numbers: Numbers, cell: str, item: str) -> float:
    """How many releases of an image an attack sees at once."""
    return numbers.number(cell, item, "queries", missing="one query").value or 1


def best(numbers: Numbers, cell: str, stage: str = "", once: bool = False) -> str | None:
    """The attack with the highest mean PSNR, of all or of one of STAGES, as an item; None without a finite one.

    Of all attacks, a decoder's PSNR is that on the images that MLE is given too, where there is one. ``once``: of those
    attacks alone that see one release of an image.
    """
    items = [item for item in all_of(numbers, cell) if stage in ("", item.split()[0])]
    seen = [item for item in items if not once or queries(numbers, cell, item) == 1]
    # within a family all have the same images
    quantities = dict.fromkeys(seen, "psnr_db")
    quantities |= {item: SHARED for item in seen if not stage and SHARED in numbers.quantities(cell, item)}
    values = {item: numbers.value(cell, item, quantity) for item, quantity in quantities.items()}
    return max((item for item in seen if values[item] is not None), key=values.__getitem__, default=None)


def failed(numbers: Numbers, cell: str) -> int:
    """How many of a cell's attacks ended no better than gray or the mean image, of several seeds in at least one."""
    return sum(bool(numbers.number(cell, item, "failed").highest) for item in all_of(numbers, cell))


def floors(numbers: Numbers) -> list[tuple[str, str, str]]:
    """What answering with a constant scores: (label, cell, name), for each data set; items ``floor <stage> <name>``.

    All cells of a data set are attacked on the same images, so the first one's floors are everyone's.
    """
    datasets = numbers.datasets()
    return [
        (label if len(datasets) == 1 else f"{label}, {dataset}", cell, name)
        for dataset, cell in datasets.items()
        for name, label in FLOORS.items()
    ]


def saturated(numbers: Numbers, cell: str, name: str) -> bool:
    """Whether a cell's estimate sits at the most that its estimator can reach; ``name``: one of ESTIMATES."""
    value, cap = (numbers.value(cell, f"mi {name}", key, missing="none") for key in ("mi_nats", "cap_nats"))
    return None not in (value, cap) and value > cap - NEAR_CAP


def empty(numbers: Numbers, cell: str, name: str) -> bool:
    """Whether a cell's estimate cannot be told from its null: from what its estimator says of shuffled pairs.

    A null below zero counts as zero, since a bound below zero says nothing either. False where there is no null, as in
    older results.
    """
    keys = ("mi_nats", "null_nats", "null_nats_std")
    value, null, deviation = (numbers.value(cell, f"mi {name}", key, missing="none") for key in keys)
    return None not in (value, null, deviation) and value <= max(null, 0) + CHANCE * deviation


def distinguished(numbers: Numbers, cell: str, name: str) -> float | None:
    """A cell's estimate in nats for rankings.

    Estimates at the cap differ by chance alone, so they are the cap. Those that cannot be told from their null are 0.
    """
    if empty(numbers, cell, name):
        return 0.0
    key = "cap_nats" if saturated(numbers, cell, name) else "mi_nats"
    return numbers.value(cell, f"mi {name}", key, missing="none")
