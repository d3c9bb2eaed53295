"""A whole fabricated study: the cells of every table and figure, with numbers in the order that the paper claims."""

import json

from fabricated import GRID, ORDER, OTHERS, Repository

FACES = ("unprotected", "nls", "mid", "bido", "vib", "infoscissors", "ae", "siftfunnel")
PARTS = {
    "no_funnel": "Without funnel",
    "no_attention": "Without attention",
    "no_kl": "Hard labels",
    "no_dcor": "Without distance correlation",
    "no_pearson": "Without Pearson",
    "no_l1": "Without L1",
}
REFERENCES = ("resnet18/unprotected", "resnet18/siftfunnel")
PICTURES = [f"{data}_vgg16/{row}" for data in ("faces", "xray") for row in ("unprotected", "siftfunnel")]
DEPTH = [f"depth_{model}/cut{cut}" for model, cuts in (("cnn", 4), ("resnet18", 9)) for cut in range(1, cuts + 1)]
TWICE = ("depth_cnn/cut2", "depth_resnet18/cut3")  # unprotected rows too
ROWS = GRID | OTHERS


def funnel(black: float = 13.4, gray: float = 14.9, tuned: float = 12.9, **more: float) -> tuple:
    """SiftFunnel's row with decoders that do not fail."""
    decoders = {"black_box": black, "gray_box": gray, **more}
    return ("SiftFunnel", "siftfunnel", 0.768, decoders, (6.2, tuned), 0.64, 0.08)


def write(own: Repository) -> None:
    """All cells, and the rows of every table and figure."""
    for row in ORDER:
        own.cell(f"cnn/{row}", funnel() if row == "siftfunnel" else ROWS[row])
        content = funnel(cloud_side=17.0) if row == "siftfunnel" else ROWS[row]
        own.cell(f"resnet18/{row}", content, model="resnet18", cut=3)
    for row in FACES:
        own.cell(f"faces/{row}", funnel() if row == "siftfunnel" else ROWS[row], dataset="faces")
    for i, (row, title) in enumerate(PARTS.items()):
        decoders = {"black_box": 14.0 + i, "gray_box": 16.5 + i} | ({"cloud_side": 15.5} if row == "no_dcor" else {})
        content = (title, "siftfunnel", 0.76, decoders, (6.2, 13.0), 0.9, 0.1)
        own.cell(f"ablation/{row}", content, model="resnet18", cut=3, variant=row)
    own.cell("vgg16/unprotected", ROWS["unprotected"], model="vgg16", cut=3)
    own.cell("vgg16/siftfunnel", funnel(), model="vgg16", cut=3)
    for name in DEPTH:
        deep(own, name)
    for name in PICTURES:
        content, channels = funnel() if name.endswith("siftfunnel") else ROWS["unprotected"], 3 - 2 * ("xray" in name)
        own.cell(name, content, model="vgg16", dataset=name.partition("_")[0], channels=channels, side=64)
    for name in ("unprotected", "siftfunnel", "ae"):  # the order of the paper's latencies
        slower = {"unprotected": 1.0, "siftfunnel": 1.6, "ae": 2.3}[name]
        own.cost(f"cnn/{name}", edge_latency_ms=slower, edge_latency_p95_ms=1.3)
    cells = [f"{group}/{row}" for group in ("cnn", "resnet18") for row in ORDER]
    cells += [*(f"faces/{row}" for row in FACES), *(f"ablation/{row}" for row in PARTS), *DEPTH, *PICTURES]
    for name in ("objects", "faces", "xray"):
        own.dataset(name)
    own.rows |= {
        **{"table1": ["objects", "faces", "xray"], "latency": cells[:1] + cells[15:16]},
        **{name: cells[:16] for name in ("table2", "leaderboard")},
        **{name: cells[:2] for name in ("figure4", "curves", "tradeoff")},
        **{"table3": cells[16:32], "table4": cells[32:40], "figure2": DEPTH, "figure5": PICTURES},
        **{"table5": [REFERENCES[0], *(f"ablation/{row}" for row in PARTS), REFERENCES[1]]},
        **{"table6": [f"{m}/{row}" for m in ("cnn", "resnet18", "vgg16") for row in ("unprotected", "siftfunnel")]},
        **{"figure1": ["cnn/unprotected"], "figure3": ["cnn/siftfunnel"]},
        **{"claims": [*cells, "vgg16/unprotected", "vgg16/siftfunnel"]},
        **{"criterion": [*(name for name in cells if name not in TWICE), "vgg16/unprotected", "vgg16/siftfunnel"]},
    }


def deep(own: Repository, name: str) -> None:
    """A cut of an unprotected network, from which less leaks the deeper it is."""
    model, cut = name.partition("/")[0].removeprefix("depth_"), int(name[-1])
    psnr = 32.0 - 2 * cut
    row = ("Unprotected", "unprotected", 0.78, {"black_box": psnr}, (6.3, psnr - 3), 6.0 - 0.4 * cut, 0.3 - 0.02 * cut)
    own.cell(name, row, model=model, cut=cut)
    side = 32 // 2 ** (cut if model == "cnn" else max(0, cut // 2 - 1))
    own.set(name, "target", z_shape=json.dumps([16 * 32 // side, side, side]))
    own.set(name, "effective", nonzero_per_image=9000.0 / cut)
