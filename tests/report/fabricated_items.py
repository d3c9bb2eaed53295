"""What fabricated cells consist of: rows with values that belong together, and the items that follow from them."""

import json

import numpy as np

DEVICE = "CPU, 2 threads, float32"
# row: title, defense, accuracy, PSNR of the decoders, of MLE (paper, tuned), calibrated and paper MI in nats
GRID = {
    "unprotected": ("Unprotected", "unprotected", 0.775, {"black_box": 24.31}, (6.4, 22.2), 3.41, 0.21),
    "gaussian_noise": (
        *("Gaussian noise", "gaussian_noise", 0.702, {"black_box": 19.65, "repeated": 22.9}, (6.1, 14.8), 1.72, 0.11),
    ),
    "ae": ("Autoencoder", "ae", 0.781, {"black_box": 17.2, "gray_box": 20.9}, (6.3, 15.9), 2.1, 0.15),
    "siftfunnel": ("SiftFunnel", "siftfunnel", 0.741, {"black_box": 11.7, "gray_box": 12.9}, (6.2, 11.0), 0.64, 0.982),
}


def _row(title: str, accuracy: float, decoders: tuple, tuned: float, defense: str, second: str = "gray_box") -> tuple:
    return (title, defense, accuracy, dict(zip(("black_box", second), decoders, strict=False)), (6.3, tuned), 2.5, 0.2)


# the rows of Table II that GRID does not have, each with the defense behind it
OTHERS = {
    "dropout": _row("Dropout", 0.158, (15.4, 18.1), 11.4, "dropout", "repeated"),
    "dpsgd": _row("DP-SGD", 0.611, (24.0,), 21.0, "dpsgd"),
    "groupnorm": _row("DP-SGD without noise", 0.752, (24.1,), 21.9, "groupnorm"),
    "nls": _row("NLS", 0.772, (24.6,), 22.0, "nls"),
    "mid": _row("MID", 0.791, (24.2, 25.3), 21.6, "mid", "repeated"),
    "bido": _row("BiDO as published", 0.763, (20.1,), 21.3, "bido"),
    "bido_cka": _row("BiDO with CKA", 0.766, (20.6,), 20.4, "bido"),
    "vib": _row("VIB", 0.768, (22.0, 23.1), 19.9, "vib", "repeated"),
    "infoscissors": _row("InfoScissors", 0.749, (21.5,), 18.8, "infoscissors"),
    "ae_adversarial": _row("Autoencoder, adversarial", 0.748, (15.0, 17.3), 14.1, "ae"),
    "nopeek": _row("NoPeek", 0.755, (18.2,), 19.0, "nopeek"),
    "siftfunnel_architecture": _row("SiftFunnel without losses", 0.757, (16.0, 17.6), 13.2, "siftfunnel"),
}
ORDER = (
    *("unprotected", "gaussian_noise", "dropout", "dpsgd", "groupnorm", "nls", "mid", "bido", "bido_cka", "vib"),
    *("infoscissors", "ae", "ae_adversarial", "nopeek", "siftfunnel_architecture", "siftfunnel"),
)
ACCESS = {"black_box": "black-box", "gray_box": "gray-box", "cloud_side": "cloud-side"}
ACCESS |= {"repeated": "black-box, 16 queries"}
# what DP-SGD's training notes about itself
FACTS = {"epsilon": 47.1, "delta": 1e-5, "noise_multiplier": 0.45, "clipping_norm": 1.2}
# the halves' elements as the target stage describes them: SiftFunnel's, on the CNN at width 16
PLANE = ("Conv2d 2→1, 7×7", "BatchNorm")
BLOCKS = [
    {"half": half, "layers": layers, "shape": shape, "parameters": parameters}
    for half, shape, parameters, layers in (
        ("edge", [3, 32, 32], 0, ["Normalize"]),
        ("edge", [16, 16, 16], 812, [
            "Conv2d 3→16, 3×3", "BatchNorm", "MaxPool", "ReLU",
            "Linear 16→1", "ReLU", "Linear 1→16", "Sigmoid", *3 * PLANE,
        ]),
        ("edge", [12, 8, 8], 5274, [
            "Conv2d 16→4, 1×1", "BatchNorm", "ReLU", "MaxPool",
            "Conv2d 4→12, 1×1", "Conv2d 12→12, 3×3", "SiLU", "Conv2d 12→12, 5×5", "ReLU",
            "Linear 12→3", "ReLU", "Linear 3→12", "Sigmoid",
            "Conv2d 12→2, 1×1", "ReLU", "Conv2d 2→12, 1×1", "Conv2d 2→1, 7×7",
        ]),
        ("cloud", [32, 8, 8], 13036, [
            "Conv2d 12→32, 3×3", "Conv2d 32→32, 3×3", "BatchNorm", "ReLU", *3 * PLANE,
        ]),
        ("cloud", [64, 4, 4], 18624, ["Conv2d 32→64, 3×3", "BatchNorm", "MaxPool", "ReLU"]),
        ("cloud", [128, 2, 2], 74112, ["Conv2d 64→128, 3×3", "BatchNorm", "MaxPool", "ReLU"]),
        ("cloud", [8], 20848, ["Flatten", "Linear 512→40", "Dropout", "Linear 40→8"]),
    )
]  # fmt: skip
JUDGE = {"accuracy_on_originals": 0.8, "chance": 0.125, "adapted_accuracy_on_originals": 0.85}
FLOOR = 12.2  # PSNR of the mean image, in dB
Items = dict[str, dict]  # item to quantity to value: a number, a text, None or (None, reason)


def scores(psnr: float, channels: int = 3) -> dict[str, float]:
    """Scores that belong together: those of a mean squared error."""
    mse = 10 ** (-psnr / 10)
    ssim = float(np.clip((psnr - 5) / 25, 0.01, 0.99))
    return {
        **{"mse": mse, "psnr_db": psnr, "psnr_db_std": 1.5, "ssim": ssim, "ssim_std": 0.05},
        **{"mse_paper": channels * mse, "psnr_db_paper": psnr - 0.1, "ssim_paper": min(0.999, ssim + 0.2)},
        "recognized": float(np.clip((psnr - 8) / 16, 0.125, 1)),
        "recognized_adapted": float(np.clip((psnr - 7) / 16, 0.125, 1)),
        "perceptual": float(np.clip((30 - psnr) / 20, 0, 2)),
        "identified": float(np.clip((psnr - 10) / 15, 0.01, 1)),
    }


def target(name: str, row: tuple, model: str, channels: int, side: int, place: dict) -> Items:
    """What training a cell notes; ``place``: other fields of the cell, such as dataset and cut."""
    title, defense, accuracy, decoders = row[:4]
    noise, gray = defense == "gaussian_noise", "gray_box" in decoders
    varied = name.endswith(("_cka", "_adversarial", "_architecture"))
    cell = {"name": name, "group": name.partition("/")[0], "architecture": "unprotected", "dataset": "objects"}
    cell |= {"model": model, "cut": 2, "defense": defense, "tune": "loss"}
    cell |= {"variant": name.rpartition("/")[2] if varied else "none"}
    start = "targets/cnn/unprotected" if noise else "prepared/objects/summary.json"
    training = {"epochs": 12, "lr": 1e-3, "schedule": "cosine", "best_epoch": 11}
    training["batch_size"] = 512 if defense == "dpsgd" else 128
    dataset = {"title": "photo of origin", "source": "photos", "side": side, "channels": channels, "classes": 8}
    own = {"title": title, "accuracy": accuracy, "validation_accuracy": accuracy + 0.01}
    own |= {"edge_parameters": 19904 + 7000 * gray, "edge_parameters_paper": 19904 + 7500 * gray}
    own |= {"cloud_parameters": 400000, "edge_macs": 5_500_000, "cloud_macs": 9_000_000}
    own |= {"z_shape": json.dumps([64, 8, 8]), "z_bytes": 16384, "draws": 3}
    return {
        "cell": {**cell, "start": start, **place},
        "target": own | {"blocks": json.dumps(BLOCKS, ensure_ascii=False)},
        "facts": FACTS if defense == "dpsgd" else {},
        "dataset": dataset | {"train": 3200, "validation": 400, "test": 800, "auxiliary": 1600},
        "training": training | {"reused_from": "cnn/unprotected" if noise else None},
    }


def information(row: tuple) -> Items:
    """What z says about x."""
    best, mine = max(row[3].values()), {"epochs": 20, "batch_size": 128, "fit_images": 1280, "held_out_images": 320}
    unbounded = (None, "the critic is unbounded")
    return {
        "mi paper": {"mi_nats": row[6], "mi_nats_std": 0.004, "cap_nats": 0.98667, **mine}
        | {"null_nats": -0.001, "null_nats_std": 0.002, "null_epochs": 1},
        "mi calibrated": {"mi_nats": row[5], "mi_nats_std": 0.06, "cap_nats": unbounded, **mine}
        | {"null_nats": -0.02, "null_nats_std": 0.03, "null_steps": 40}
        | {"stop_images": 128, "steps": 150, "most_steps": 200, "still_rising": False},
        "mi infonce": {"mi_nats": 0.9 * row[5], "mi_nats_std": 0.03, "cap_nats": float(np.log(320)), **mine},
        "mi decoder": {"mi_nats": 4.0 * best, "components": 64, "images": 800},
        "effective": {"nonzero_per_image": 1877.4, "capacity": 4096, "density": 1877.4 / 4096}
        | {"channels": 64, "dead_channels": 3},
        "entropy": {"coded_bits_per_image": 500.0 * best, "deflate_bits_per_image": 600.0 * best}
        | {"raw_bits_per_image": 32768, "levels": 256, "fit_images": 1600, "images": 800},
        "dependence": {"dcor_squared": best / 50, "images": 800},
    }


def attacks(row: tuple, channels: int) -> Items:
    """Its decoders, the variants of MLE, and the floors below both."""
    items: Items = {"generator": {"images": 800}, "mle": {"images": 64}}
    for stage in items.copy():
        items[f"judge {stage}"] = {**JUDGE} if stage == "generator" else {}
        for floor, psnr in (("gray", 11.9), ("mean_image", FLOOR), ("mean_color", 14.0)):
            items[f"floor {stage} {floor}"] = scores(psnr)
    for name, psnr in row[3].items():
        items[f"generator {name}"] = {
            **{"access": ACCESS[name], "queries": 16 if name == "repeated" else 1},
            **{"draws": 3 if "repeated" in row[3] else 1, "parameters": 80000, "epochs": 30, "best_epoch": 28},
            **{"lr": 2e-4, "fit_images": 1440, "holdout_images": 160, "holdout_mse": 10 ** (-psnr / 10)},
            **{**scores(psnr, channels), "failed": psnr <= FLOOR},
        }
    for name, psnr in zip(("paper", "tuned"), row[4], strict=True):
        items[f"mle {name}"] = {"access": "white-box", "steps": 500, "start_psnr_db": 5.5, "lr": 0.01, "tv": 0.1}
        items[f"mle {name}"] |= {**scores(psnr, channels), "failed": psnr <= FLOOR}
    items["mle tuned"] |= {"trials": 6, "trial_images": 8, "trial_steps": 100, "lr": 0.05}
    return items
