"""Studies drawn at random for the claims: no effect, the paper's effects, or opposite ones, with the noise of seeds."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from splitprobe.report import frame, paper
from splitprobe.report.claim_values import Source
from splitprobe.report.numbers import Numbers

PRINTED = Source.printed()
# standard deviations over seeds, about those of scale small: points, dB, and shares of entries, nats and milliseconds
SPREAD = {"accuracy": 0.85, "psnr": 0.35, "share": 0.05}
NULL = 0.05  # nats: what chance does to an estimate of independent pairs
CUTS = {"depth_cnn": 4, "depth_resnet18": 9}
PAIRS = ("vgg16", "faces_vgg16", "xray_vgg16")
CLASSES = {"faces": 28, "faces_vgg16": 28, "xray_vgg16": 4}
FLOORS = {"xray_vgg16": 17.07}  # dB of the mean image, all above most of what the paper prints
FLOOR = 9.0
HARMLESS, COSTLY = ("mid", "nls", "dpsgd"), ("gaussian_noise", "dropout")
Facts = dict  # of a cell: accuracy in percent, PSNR in dB by decoder, entries, nats, milliseconds


def plain() -> Facts:
    """What a row that does nothing has."""
    return {"accuracy": 78.0, "decoders": dict.fromkeys(("black_box",), 24.0), "nonzero": 2000.0, "mi": 3.0, "ms": 2.0}


def nothing() -> dict[str, Facts]:
    """All cells of the claims, none of which differs from any other."""
    cells = [*paper.cells(), *(f"{group}/{row}" for group in PAIRS for row in ("unprotected", "siftfunnel"))]
    cells += [f"{group}/cut{cut}" for group, last in CUTS.items() for cut in range(1, last + 1)]
    study = {cell: plain() for cell in dict.fromkeys(cells) if not cell.endswith("cloud_side")}
    for cell, facts in study.items():
        row = cell.partition("/")[2]
        facts["decoders"] |= {"gray_box": 24.0} if row in ("ae", "siftfunnel") or cell.startswith("ablation/") else {}
    study["resnet18/siftfunnel"]["decoders"]["cloud_side"] = 24.0
    return study


def printed() -> dict[str, Facts]:
    """The paper's numbers; where it prints none, an unprotected row's, and trends in the order that it claims."""
    study = nothing()
    for cell, facts in study.items():
        for item, quantity, key in (
            ("network", "accuracy_percent", "accuracy"), ("effective", "nonzero_per_image", "nonzero"),
        ):  # fmt: skip
            known = PRINTED.numbers.value(cell, item, quantity, "paper", missing="none")
            facts[key] = known or study[f"{cell.partition('/')[0]}/unprotected"][key] if "/cut" not in cell else 1
        for name in facts["decoders"]:
            item = f"generator {name}"
            facts["decoders"][name] = PRINTED.numbers.value(cell, item, "psnr_db_paper", "paper", "none") or 30.0
    study["vgg16/unprotected"]["accuracy"] = 91.07  # what the printed change of SiftFunnel's implies
    for group in PAIRS[1:]:
        floor = FLOORS.get(group, FLOOR)
        study[f"{group}/siftfunnel"]["decoders"] = dict.fromkeys(("black_box", "gray_box"), floor + 0.2 * (30 - floor))
    deeper(study, 1)
    for row, ms in {"unprotected": 1.204, "ae": 2.812, "siftfunnel": 2.192}.items():
        study[f"cnn/{row}"]["ms"] = ms
    return study


def opposite() -> dict[str, Facts]:
    """Every effect the other way round."""
    study = nothing()
    for cell, facts in study.items():
        group, _, row = cell.partition("/")
        if row == "siftfunnel":
            facts |= {"accuracy": 60.0, "nonzero": 9000.0, "decoders": dict.fromkeys(facts["decoders"], 27.0)}
        elif row == "ae":
            facts["decoders"] = {"black_box": 24.0, "gray_box": 20.0}
        elif row in HARMLESS:
            facts["decoders"] = {"black_box": 18.0}
        elif group == "ablation" and row != "unprotected":
            facts["decoders"] = dict.fromkeys(facts["decoders"], 20.0)
    study["resnet18/siftfunnel"]["decoders"]["cloud_side"] = 20.0
    deeper(study, -1)
    study["cnn/unprotected"]["ms"] = 4.0
    return study


def deeper(study: Mapping[str, Facts], sign: int) -> None:
    """Less of everything at each deeper cut, or with ``sign`` -1 more information and yet lower PSNR, or so."""
    for group, last in CUTS.items():
        for cut in range(1, last + 1):
            step = sign * (cut - last / 2)
            study[f"{group}/cut{cut}"] |= {"mi": 6 * 0.7**step, "nonzero": 4000 * 0.6**step}
            study[f"{group}/cut{cut}"]["decoders"] = {"black_box": 26 - 1.5 * cut}


def source(study: Mapping[str, Facts], seeds: int, rng: np.random.Generator | None = None) -> Source:
    """A study as the claims ask for it; with ``rng``, each number of each seed off by chance."""

    def off(spread: float) -> float:
        return 0.0 if rng is None else float(rng.normal(0, spread))

    lines = []
    for cell, facts in study.items():
        group, _, row = cell.partition("/")
        floor = FLOORS.get(group, FLOOR)
        items = {"cost cpu": {"edge_latency_ms": facts["ms"] * (1 + off(0.01))}, "cost": {"device": "CPU"}}
        lines += spread_out(cell, frame.NO_SEED, items)
        for seed in range(1, seeds + 1):
            attacks = {f"generator {name}": psnr + off(SPREAD["psnr"]) for name, psnr in facts["decoders"].items()}
            if "/cut" in cell:
                attacks["mle tuned"] = facts["decoders"]["black_box"] + off(SPREAD["psnr"])
            items = {
                "cell": {"dataset": group, "model": "any", "cut": float(row[3:] or 0) if "/cut" in cell else 2.0},
                "dataset": {"classes": float(CLASSES.get(group, 10))},
                "target": {"accuracy": (facts["accuracy"] + off(SPREAD["accuracy"])) / 100},
                "effective": {"nonzero_per_image": facts["nonzero"] * (1 + off(SPREAD["share"]))},
                "mi calibrated": {"mi_nats": facts["mi"] * (1 + off(SPREAD["share"])) + off(NULL), "cap_nats": 60.0}
                | {"null_nats": off(NULL), "null_nats_std": NULL},
                "floor generator mean_image": {"psnr_db_paper": floor, "psnr_db": floor},
                "floor mle mean_image": {"psnr_db": floor},
            }
            for name, psnr in attacks.items():
                items[name] = {"psnr_db": psnr, "psnr_db_paper": psnr, "failed": float(psnr <= floor)}
            lines += spread_out(cell, seed, items)
    table = pd.DataFrame(lines, columns=[*frame.COLUMNS])
    return Source(Numbers.of(table, list(study)))


def spread_out(cell: str, seed: int, items: Mapping[str, Mapping]) -> list[tuple]:
    """Items as lines of the table of numbers."""
    return [
        ("ours", cell, seed, item, key, *((np.nan, value) if isinstance(value, str) else (value, "")), "")
        for item, own in items.items()
        for key, value in own.items()
    ]
