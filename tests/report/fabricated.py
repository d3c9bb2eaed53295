"""A fabricated study as the table of numbers has it: cells, seed by seed, and what lies below a folder."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from fabricated_items import DEVICE, FACTS, FLOOR, GRID, ORDER, OTHERS, attacks, information, scores, target

from splitprobe.core.artifacts import write_csv, write_npz
from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import frame as frames
from splitprobe.report.numbers import Numbers, open_numbers
from splitprobe.report.pictures import pictures_file, read_pictures

__all__ = ["FACTS", "FLOOR", "GRID", "ORDER", "OTHERS", "Repository", "scores"]

WRITTEN: dict[tuple, bytes] = {}  # the files of parts, most of which are the same in many tests


class Repository:
    """The numbers of some cells, seed by seed, and what lies below a folder; ``rows`` is params.yaml's section.

    ``values`` has all lines: {part: {(cell, seed, item, quantity): (value, text, reason)}}. Asking for ``params()``
    writes them below metrics/demo/numbers.
    """

    def __init__(self, root: Path) -> None:
        self.paths = Paths("demo", root)
        self.rng = np.random.default_rng(0)
        self.rows: dict[str, list[str]] = {}
        self.leaderboard = {"losses": [1.0, 3.0, 5.0], "rank_at": 3.0, "apart": 10.0}
        self.values: dict[str, dict[tuple[str, int, str, str], tuple]] = {
            part: {} for part in ("costs", "sweeps", "knowledge", "releases", "prepared", "calibration")
        }

    def params(self) -> Params:
        """Write the parts, then give the params."""
        for part, values in self.values.items():
            listed, file = tuple((*key, *value) for key, value in values.items()), self.paths.numbers(part)
            if listed not in WRITTEN:
                table = pd.DataFrame([*listed], columns=[*frames.COLUMNS[1:]]).astype({"value": float})
                frames.write(table, file)
                WRITTEN[listed] = file.read_bytes()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(WRITTEN[listed])
        criterion = {"resamples": 200, "level": 0.95, "seed": 1, "least": 8}
        sections = {"rows": self.rows, "leaderboard": self.leaderboard, "criterion": criterion}
        return Params({"scale": "demo", "seed": 0, **sections})

    def numbers(self, name: str, *extra: str) -> Numbers:
        """What a table or figure starts from."""
        return open_numbers(self.params(), self.paths, name, extra)

    def cell(
        self, name: str, row: tuple, model: str = "cnn", channels: int = 3, side: int = 32, seeds: tuple = (0,),
        **place: str | int,
    ) -> None:  # fmt: skip
        """All results of a cell, the same for each seed; ``place``: other fields of it, such as dataset and cut."""
        stages = {
            "target": target(name, row, model, channels, side, place),
            "information": information(row),
            **{stage: {} for stage in ("generator", "mle")},
        }
        stages["generator"] = attacks(row, channels)  # with those of MLE
        for seed, (stage, items) in product(seeds, stages.items()):
            made = {"scale": "demo", "seed": seed, "device": DEVICE}
            self.put(name.partition("/")[0], name, seed, items | {f"provenance {stage}": made})
        base = 1.2 if "gray_box" in row[3] else 1.0
        self.cost(name, edge_latency_ms=base, edge_latency_p95_ms=1.3 * base)

    def put(self, part: str, cell: str, seed: int, items: dict[str, dict]) -> None:
        """Lines of a cell; ``items``: item to quantity to a number, a text, None or (None, reason)."""
        own = self.values.setdefault(part, {})
        own |= {(cell, seed, item, key): line(value) for item, all_ in items.items() for key, value in all_.items()}

    def set(self, cell: str, item: str, seed: int | None = None, **quantities) -> None:
        """Give quantities of an item another value, as in :meth:`put`; of one seed or of each."""
        part = cell.partition("/")[0]
        for each in {key[1] for key in self.values[part] if key[0] == cell} if seed is None else [seed]:
            self.put(part, cell, each, {item: quantities})

    def drop(self, cell: str, item: str, *quantities: str) -> None:
        """Take quantities, or all of an item, away."""
        own = self.values[cell.partition("/")[0]]
        for key in [key for key in own if key[0] == cell and key[2] == item]:
            if not quantities or key[3] in quantities:
                del own[key]

    def reseed(self, cell: str, *seeds: int) -> None:
        """Give a cell these seeds, each with the numbers of its first; what differs is set afterwards."""
        own = self.values[cell.partition("/")[0]]
        first = next(seed for name, seed, *_ in own if name == cell)
        kept = {key[2:]: value for key, value in own.items() if key[0] == cell and key[1] == first}
        for key in [key for key in own if key[0] == cell]:
            del own[key]
        own |= {(cell, seed, *key): value for seed in seeds for key, value in kept.items()}

    def cost(self, cell: str, **timings: float) -> None:
        """The latencies of a cell on the CPU; without a GPU."""
        timings = {"cloud_latency_ms": 2.0, "cloud_latency_p95_ms": 2.5, **timings}
        timings |= {"threads": 2, "batch": 1, "runs": 200, "warmup": 20}
        made = {"device": DEVICE, "scale": "demo", "seed": 0}
        items = {"cost cpu": timings, "cost": {"cuda": (None, "no GPU here")}, "provenance cost": made}
        self.put("costs", cell, frames.NO_SEED, items)

    def point(
        self, cell: str, key: str, value: float, accuracy: float | None, psnr: float | None, seed: int = 0
    ) -> None:
        """A sweep's point: the cell's results with another accuracy, in [0, 1], and no attack above ``psnr`` in dB."""
        name, sweeps = f"{cell}@{key}={value:.12g}", self.values["sweeps"]
        for (own, _, item, quantity), was in self.values[cell.partition("/")[0]].items():
            if own == cell:
                attack = item.startswith(("generator ", "mle ")) and quantity == "psnr_db"
                sweeps[name, seed, item, quantity] = line(psnr) if attack else was
        self.put("sweeps", name, seed, {"target": {"accuracy": accuracy}, "knob": {"key": key, "value": value}})

    def dataset(self, name: str) -> None:
        """A prepared data set."""
        own = {"name": name, "title": f"stand-in for {name}", "source": "photos", "classes": '["a", "b", "c"]'}
        own |= {"channels": 3, "side": 32, "kept": 1000, "rejected": 2, "duplicates_auxiliary": 4, "duplicates_test": 1}
        counts = {"train": 480, "validation": 120, "test": 200, "auxiliary": 200}
        made = {"scale": "demo", "seed": 0, "device": DEVICE}
        items = {"prepared": own, "prepared counts": counts, "provenance prepared": made}
        self.put("prepared", name, frames.NO_SEED, items)

    def pictures(self, *cells: str, images: int = 8) -> dict[str, dict[str, np.ndarray]]:
        """Write and give pictures of cells: random blobs ``x``, and those under noise as strong as the scores say."""
        written: dict[str, dict[str, np.ndarray]] = {}
        for cell in cells:
            group, _, row = cell.partition("/")
            own = {key[2:]: value[0] for key, value in self.values[group].items() if key[0] == cell}
            side, channels = own["dataset", "side"], own["dataset", "channels"]
            coarse = np.random.default_rng(1).uniform(0, 255, (images, side // 8, side // 8, channels))
            x = np.kron(coarse, np.ones((1, 8, 8, 1)))
            arrays = written.setdefault(group, {})
            arrays[f"{row}/x"] = x.astype(np.uint8)
            for (item, quantity), psnr in own.items():
                if quantity == "psnr_db" and item.startswith(("generator ", "mle ")):
                    noise = self.rng.normal(0, 255 * 10 ** (-psnr / 20), x.shape)
                    arrays[f"{row}/{item}"] = np.clip(x + noise, 0, 255).astype(np.uint8)
            counts = arrays[f"{row}/histograms"] = np.zeros((64, 256), np.int32)
            for channel in range(61):  # three are dead
                counts[channel, : channel + 1] = 1024 // (channel + 1)
            counts[61:, 0] = 1024
        for group, arrays in written.items():
            write_npz(pictures_file(self.paths, group), **arrays)
        return read_pictures(self.paths, cells)

    def curves(self, cell: str, row: tuple, seed: int = 0) -> None:
        """Curves over 12 epochs, written as the stages do; of a cell that was not trained without lines."""
        epoch, d = np.arange(1, 13), np.exp(-np.arange(1, 13) / 4)
        accuracy, _, (paper, tuned), calibrated_mi, paper_mi = row[2:]
        stages = {
            "target": {"loss": 0.7 + 3 * d, "task": 0.5 + 2 * d, "validation_accuracy": accuracy * (1 - d)},
            "information": {"paper_nats": paper_mi * (1 - d), "calibrated_nats": calibrated_mi * (1 - d)},
            "generator": {f"{name}_mse": 10 ** (-psnr / 10) + 0.1 * d for name, psnr in row[3].items()}
            | {"strong_mse": 10**-2.2 + 0.1 * d},
            "mle": {"paper_psnr_db": paper, "tuned_psnr_db": 5.5 + (tuned - 5.5) * (1 - d)}
            | {"hybrid_psnr_db": 15 + 2 * (1 - d)},
        }
        for stage, curves in stages.items():
            columns = ({"step": 40 * epoch} if stage == "mle" else {"epoch": epoch}) | curves
            untrained = stage == "target" and row[1] == "gaussian_noise"
            lines = [] if untrained else pd.DataFrame(columns).to_dict("records")
            write_csv(self.paths.seeded(seed).curve(cell, stage), lines, list(columns))


def line(value: float | str | tuple | None) -> tuple[float | None, str, str]:
    """A value as the table has it: (value, text, reason)."""
    if isinstance(value, tuple):
        return None, "", value[1]
    return (None, value, "") if isinstance(value, str) else (value, "", "")
