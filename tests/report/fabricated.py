"""A fabricated repository: the result files of a small grid of cells, as the stages' contracts have them."""

import json
from pathlib import Path

import numpy as np

from splitprobe.artifacts import write_csv, write_json, write_npz
from splitprobe.cells import Paths
from splitprobe.params import Params

PROVENANCE = {"scale": "demo", "seed": 0, "device": "CPU, 2 threads, float32", "python": "3.11.9", "versions": {}}
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
    names = ("black_box", second)
    return (title, defense, accuracy, dict(zip(names, decoders, strict=False)), (6.3, tuned), 2.5, 0.2)


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
ACCESS = {
    "black_box": "black-box",
    "gray_box": "gray-box",
    "repeated": "black-box, 16 queries",
    "cloud_side": "cloud-side",
}
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
FLOOR = 12.2  # PSNR of the mean image, in dB


def scores(psnr: float, channels: int = 3) -> dict:
    """Scores that belong together: those of a mean squared error."""
    mse = 10 ** (-psnr / 10)
    ssim = float(np.clip((psnr - 5) / 25, 0.01, 0.99))
    return {
        **{"mse": mse, "psnr_db": psnr, "psnr_db_std": 1.5, "ssim": ssim, "ssim_std": 0.05},
        **{"mse_paper": channels * mse, "psnr_db_paper": psnr - 0.1, "ssim_paper": min(0.999, ssim + 0.2)},
        "recognized": float(np.clip((psnr - 8) / 16, 0.125, 1)),
        "identified": float(np.clip((psnr - 10) / 15, 0.01, 1)),
    }


class Repository:
    """Writes the results of cells below a folder and gives the Params and Paths that go with them."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths("demo", root, 0)
        self.rng = np.random.default_rng(0)
        self.rows = {}
        self.leaderboard = {"losses": [1.0, 3.0, 5.0], "rank_at": 3.0, "apart": 10.0}

    def params(self) -> Params:
        criterion = {"resamples": 200, "level": 0.95, "seed": 1, "least": 8}
        tree = {"scale": "demo", "seed": 0, "scales": {"demo": {}}, "rows": self.rows}
        return Params({**tree, "leaderboard": self.leaderboard, "criterion": criterion})

    def cell(
        self, name: str, row: tuple, model: str = "cnn", channels: int = 3, side: int = 32, images: int = 8,
        **place: str | int,
    ) -> None:  # fmt: skip
        """All results of a cell; ``place``: other fields of it, such as dataset and cut."""
        self._target(name, row, model, channels, side, place)
        self._information(name, row)
        self._attacks(name, row, channels)
        self._pictures(name, row, channels, side, images)
        self._curves(name, row)
        base, p95 = 1.2 if "gray_box" in row[3] else 1.0, 1.3
        timing = {"edge_latency_ms": base, "edge_latency_p95_ms": base * p95, "cloud_latency_ms": 2.0}
        timing |= {"cloud_latency_p95_ms": 2.5, "threads": 2, "batch": 1, "runs": 200, "warmup": 20}
        write_json(
            self.paths.cost(name),
            {"provenance": PROVENANCE, "cell": name, "cpu": timing, "cuda": None, "cuda_reason": "no GPU here"},
        )

    def _target(self, name: str, row: tuple, model: str, channels: int, side: int, place: dict) -> None:
        title, defense, accuracy = row[:3]
        cell = {
            "name": name,
            "group": name.partition("/")[0],
            "architecture": "unprotected",
            "dataset": "objects",
            "model": model,
            "cut": 2,
            "defense": defense,
            **place,
        }
        varied = name.endswith(("_cka", "_adversarial", "_architecture"))
        cell["variant"] = name.rpartition("/")[2] if varied else "none"
        start = "targets/cnn/unprotected" if defense == "gaussian_noise" else "prepared/objects/summary.json"
        dataset = {"title": "photo of origin", "source": "photos", "side": side, "channels": channels, "classes": 8}
        dataset |= {"train": 3200, "validation": 400, "test": 800, "auxiliary": 1600}
        training = {"epochs": 12, "lr": 1e-3, "schedule": "cosine", "best_epoch": 11, "batch_size": 128}
        training["reused_from"] = "cnn/unprotected" if defense == "gaussian_noise" else None
        gray = "gray_box" in row[3]
        if defense == "dpsgd":
            training["batch_size"] = 512
        record = {
            **{"provenance": PROVENANCE, "cell": {**cell, "tune": "loss", "start": start}, "title": title},
            **{"settings": {}, "facts": FACTS if defense == "dpsgd" else {}},
            **{"dataset": dataset, "training": training, "accuracy": accuracy},
            **{"validation_accuracy": accuracy + 0.01, "edge_parameters": 19904 + 7000 * gray},
            **{"edge_parameters_paper": 19904 + 7500 * gray, "cloud_parameters": 400000, "edge_macs": 5_500_000},
            **{"cloud_macs": 9_000_000, "z_shape": [64, 8, 8], "z_bytes": 16384, "draws": 3},
            "blocks": BLOCKS,
        }
        write_json(self.paths.result(name, "target.json"), record)

    def _information(self, name: str, row: tuple) -> None:
        mine = {"epochs": 20, "batch_size": 128, "fit_images": 1280, "held_out_images": 320}
        paper = {"mi_nats": row[6], "mi_nats_std": 0.004, "cap_nats": 0.98667, **mine}
        calibrated = {"mi_nats": row[5], "mi_nats_std": 0.06, "cap_nats": None, **mine}
        calibrated["cap_nats_reason"] = "the critic is unbounded"
        infonce = {"mi_nats": 0.9 * row[5], "mi_nats_std": 0.03, "cap_nats": float(np.log(320)), **mine}
        best = max(row[3].values())
        decoder = {"mi_nats": 4.0 * best, "components": 64, "images": 800}
        z = {
            "nonzero_per_image": 1877.4,
            "capacity": 4096,
            "density": 1877.4 / 4096,
            "channels": 64,
            "dead_channels": 3,
        }
        estimates = {"paper": paper, "calibrated": calibrated, "infonce": infonce, "decoder": decoder}
        entropy = {"coded_bits_per_image": 500.0 * best, "deflate_bits_per_image": 600.0 * best}
        entropy |= {"raw_bits_per_image": 32768, "levels": 256, "fit_images": 1600, "images": 800}
        dependence = {"dcor_squared": best / 50, "images": 800}
        record = {"provenance": PROVENANCE, "cell": name, "mine": estimates, "effective": z}
        record |= {"entropy": entropy, "dependence": dependence}
        write_json(self.paths.result(name, "information.json"), record)

    def _attacks(self, name: str, row: tuple, channels: int) -> None:
        floors = {"gray": scores(11.9), "mean_image": scores(FLOOR), "mean_color": scores(14.0)}
        head = {"provenance": PROVENANCE, "cell": name, "floors": floors}
        decoders = {}
        for decoder, psnr in row[3].items():
            decoders[decoder] = {
                **{"access": ACCESS[decoder], "queries": 16 if decoder == "repeated" else 1},
                "draws": 3 if "repeated" in row[3] else 1,
                **{"parameters": 80000, "epochs": 30, "best_epoch": 28},
                **{"lr": 2e-4, "fit_images": 1440, "holdout_images": 160, "holdout_mse": 10 ** (-psnr / 10)},
                **{**scores(psnr, channels), "failed": psnr <= FLOOR},
            }
        variants = {}
        for variant, psnr in zip(("paper", "tuned"), row[4], strict=True):
            variants[variant] = {"access": "white-box", "steps": 500, "start_psnr_db": 5.5, "lr": 0.01, "tv": 0.1}
            variants[variant] |= {**scores(psnr, channels), "failed": psnr <= FLOOR}
        variants["tuned"] |= {"trials": 6, "trial_images": 8, "trial_steps": 100, "lr": 0.05}
        generator = {
            **head,
            "images": 800,
            "decoders": decoders,
            "judge": {"accuracy_on_originals": 0.8, "chance": 0.125},
        }
        write_json(self.paths.result(name, "generator.json"), generator)
        write_json(self.paths.result(name, "mle.json"), {**head, "images": 64, "variants": variants})

    def _pictures(self, name: str, row: tuple, channels: int, side: int, images: int) -> None:
        """Random blobs, and the same under noise of the strength that the scores say."""
        rng = np.random.default_rng(1)
        coarse = rng.uniform(0, 255, (images, side // 8, side // 8, channels))
        x = np.kron(coarse, np.ones((1, 8, 8, 1)))

        def noisy(psnr: float) -> np.ndarray:
            noise = self.rng.normal(0, 255 * 10 ** (-psnr / 20), x.shape)
            return np.clip(x + noise, 0, 255).astype(np.uint8)

        decoders = {decoder: noisy(psnr) for decoder, psnr in row[3].items()}
        variants = {variant: noisy(psnr) for variant, psnr in zip(("paper", "tuned"), row[4], strict=True)}
        write_npz(self.paths.result(name, "generator.npz"), x=x.astype(np.uint8), **decoders)
        write_npz(self.paths.result(name, "mle.npz"), x=x.astype(np.uint8), **variants)
        counts = np.zeros((64, 256), np.int32)
        for channel in range(61):  # three are dead
            counts[channel, : channel + 1] = 1024 // (channel + 1)
        counts[61:, 0] = 1024
        write_npz(self.paths.result(name, "histograms.npz"), counts=counts, low=np.zeros(64), high=np.ones(64))

    def _curves(self, name: str, row: tuple) -> None:
        decay = np.exp(-np.arange(1, 13) / 4)
        epochs = range(1, 13)
        target = [
            {"epoch": e, "loss": 0.7 + 3 * d, "task": 0.5 + 2 * d, "validation_accuracy": row[2] * (1 - d)}
            for e, d in zip(epochs, decay, strict=True)
        ]
        if row[1] == "gaussian_noise":
            target = []  # the weights come from the unprotected cell
        mine = [
            {"epoch": e, "paper_nats": row[6] * (1 - d), "calibrated_nats": row[5] * (1 - d)}
            for e, d in zip(epochs, decay, strict=True)
        ]
        generator = [
            {"epoch": e} | {f"{n}_mse": 10 ** (-p / 10) + 0.1 * d for n, p in row[3].items()}
            for e, d in zip(epochs, decay, strict=True)
        ]
        mle = [
            {"step": 40 * e, "paper_psnr_db": row[4][0], "tuned_psnr_db": 5.5 + (row[4][1] - 5.5) * (1 - d)}
            for e, d in zip(epochs, decay, strict=True)
        ]
        columns = {"target": ["epoch", "loss", "task", "validation_accuracy"], "mine": list(mine[0])}
        columns |= {"generator": list(generator[0]), "mle": list(mle[0])}
        for stage, lines in (("target", target), ("mine", mine), ("generator", generator), ("mle", mle)):
            write_csv(self.paths.curve(name, stage), lines, columns[stage])

    def point(
        self, cell: str, key: str, value: float, accuracy: float | None, psnr: float | None, seed: int = 0
    ) -> None:
        """A sweep's point: the cell's results with another accuracy, in [0, 1], and no attack above ``psnr`` in dB."""
        stages = ("target", "generator", "mle")
        record = {stage: json.loads(self.paths.result(cell, f"{stage}.json").read_text()) for stage in stages}
        record["target"] |= {"accuracy": accuracy, "provenance": {**PROVENANCE, "seed": seed}}
        for attack in (*record["generator"]["decoders"].values(), *record["mle"]["variants"].values()):
            attack["psnr_db"] = psnr
        place = self.paths.seeded(seed).point(cell, key, value)
        write_json(place, {"knob": {"key": key, "value": value}, **record})

    def dataset(self, name: str) -> None:
        record = {
            **{"name": name, "title": f"stand-in for {name}", "source": "photos", "classes": ["a", "b", "c"]},
            **{"channels": 3, "side": 32, "kept": 1000, "rejected": 2, "duplicates_auxiliary": 4, "duplicates_test": 1},
            **{"counts": {"train": 480, "validation": 120, "test": 200, "auxiliary": 200}, "provenance": PROVENANCE},
        }
        write_json(self.paths.summary(name), record)

    def edit(self, cell: str, stage: str, change) -> None:
        """Change one cell's result of a stage in place."""
        file = self.paths.cost(cell) if stage == "cost" else self.paths.result(cell, f"{stage}.json")
        record = json.loads(file.read_text())
        change(record)
        write_json(file, record)
