"""The paper's claims, each as a rule on numbers: what is computed, from which cells, and where the claim holds.

One measure is taken from the paper's numbers and from ours; nobody writes a verdict. ``CLAIMS`` is all of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from splitprobe.report import paper
from splitprobe.report.claim_values import CLOUD, INFORMED, Source, Unknown
from splitprobe.report.scores import NETWORKS

DECIBELS, POINTS, RANK, TIMES = 1.0, 1.0, 0.5, 0.05  # margins: dB, points, correlation, share of a ratio
REPRODUCED, REFUTED, OPEN = "reproduced", "not reproduced", "cannot be judged"
GROUPS = {"cnn": "Table II", "resnet18": "Table III", "faces": "Table IV"}
TITLES = {
    "gaussian_noise": "Gaussian noise", "dropout": "Dropout", "mid": "MID", "nls": "NLS", "dpsgd": "DP-SGD",
}  # fmt: skip
PARTS = {
    "no_funnel": "the funnel", "no_attention": "the attention blocks", "no_kl": "KL and label smoothing",
    "no_dcor": "distance correlation", "no_pearson": "the Pearson term", "no_l1": "the L1 term",
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: it holds where the measure is above (or below) a threshold, by more than a margin.

    ``quantity`` says what the measure is, in ``unit``; where it is no farther from the threshold than ``margin``, the
    claim cannot be judged.
    """

    name: str
    table: str
    sentence: str
    quantity: str
    unit: str
    measure: Callable[[Source], float]
    above: bool
    threshold: float
    margin: float

    @property
    def rule(self) -> str:
        """The rule for readers."""
        unit = f" {self.unit}" if self.unit else ""
        margin = f", margin {self.margin:g}" if self.margin else ""
        return f"{self.quantity} {'>' if self.above else '<'} {self.threshold:g}{unit}{margin}"

    def verdict(self, value: float) -> str:
        """What a value of the measure says about the claim."""
        slack = value - self.threshold if self.above else self.threshold - value
        if self.margin and abs(slack) <= self.margin:
            return OPEN
        return REPRODUCED if slack > 0 else REFUTED


def judge(claim: Claim, source: Source) -> tuple[float | None, str, str]:
    """A claim by one source: (value or None, verdict, reason where it cannot be judged)."""
    try:
        value = claim.measure(source)
    except Unknown as why:
        return None, OPEN, str(why)
    verdict = claim.verdict(value)
    unit = claim.unit.removesuffix("s") if claim.margin == 1 else claim.unit
    near = f"no farther than {claim.margin:g}{f' {unit}' if unit else ''} from the threshold"
    return value, verdict, near if verdict == OPEN else ""


def _others(group: str) -> list[str]:
    """The cells that the paper compares SiftFunnel with in a group's table."""
    rows = dict.fromkeys(str(line["row"]) for line in paper.load(paper.GROUPS[group]))
    return [f"{group}/{row}" for row in rows if row != "siftfunnel"]


def _most_private(group: str, table: str) -> Claim:
    funnel, others = f"{group}/siftfunnel", _others(group)

    def lead(source: Source) -> float:
        return min(map(source.decoder, others)) - source.decoder(funnel)

    sentence = "SiftFunnel leaves a decoder less of the image than any other defense."
    return Claim(
        f"{paper.GROUPS[group]}_lowest_psnr", table, sentence,
        "lowest PSNR of another row's strongest decoder - SiftFunnel's", "dB", lead, True, 0, DECIBELS,
    )  # fmt: skip


def _sparsest(group: str, table: str) -> Claim:
    funnel, others = f"{group}/siftfunnel", _others(group)

    def ratio(source: Source) -> float:
        return min(map(source.nonzero, others)) / source.nonzero(funnel)

    sentence = "SiftFunnel sends the fewest non-zero entries."
    return Claim(
        f"{paper.GROUPS[group]}_fewest_nonzero", table, sentence,
        "fewest non-zero entries of another row / SiftFunnel's", "", ratio, True, 1, TIMES,
    )  # fmt: skip


def _cheap(cell: str, name: str, table: str, network: str = "") -> Claim:
    def lost(source: Source) -> float:
        return -source.change(cell)

    sentence = f"SiftFunnel costs less than 3 points of accuracy{network}."
    return Claim(name, table, sentence, "accuracy lost", "points", lost, False, 3, POINTS)


def _costly(row: str) -> Claim:
    def lost(source: Source) -> float:
        return -source.change(f"cnn/{row}")

    sentence = f"{TITLES[row]} costs more than 10 points of accuracy."
    return Claim(f"table2_{row}_costs", "Table II", sentence, "accuracy lost", "points", lost, True, 10, POINTS)


def _gray_stronger(group: str, table: str) -> Claim:
    def gain(source: Source) -> float:
        return source.decoder(f"{group}/ae", "gray-box") - source.decoder(f"{group}/ae", "black-box")

    sentence = "Knowing the edge makes the attack on AE stronger."
    name = f"{paper.GROUPS[group]}_ae_gray_stronger"
    return Claim(name, table, sentence, "gray-box PSNR - black-box PSNR", "dB", gain, True, 0, DECIBELS)


def _no_help(group: str, table: str, row: str) -> Claim:
    def drop(source: Source) -> float:
        return source.decoder(f"{group}/unprotected", "black-box") - source.decoder(f"{group}/{row}", "black-box")

    sentence = f"{TITLES[row]} does not lower the decoder's PSNR by more than 1 dB."
    # the claim is itself that two values agree within 1 dB, so that there is no margin besides
    name = f"{paper.GROUPS[group]}_{row}_no_help"
    return Claim(name, table, sentence, "unprotected PSNR - its PSNR", "dB", drop, False, DECIBELS, 0)


def _small(group: str, table: str) -> Claim:
    def ratio(source: Source) -> float:
        return source.parameters(f"{group}/unprotected") / source.parameters(f"{group}/siftfunnel")

    sentence = "SiftFunnel's edge is at least 10 times smaller than the plain one."
    name = f"{paper.GROUPS[group]}_small_edge"
    return Claim(name, table, sentence, "unprotected parameters / SiftFunnel's", "", ratio, True, 10, 0)


def _needed(row: str) -> Claim:
    def gain(source: Source) -> float:
        return source.decoder(f"ablation/{row}", INFORMED) - source.decoder("resnet18/siftfunnel", INFORMED)

    sentence = f"Without {PARTS[row]}, the gray-box decoder sees more."
    return Claim(f"table5_{row}", "Table V", sentence, "its PSNR - SiftFunnel's", "dB", gain, True, 0, DECIBELS)


def _cloud() -> Claim:
    def gain(source: Source) -> float:
        return source.decoder("resnet18/siftfunnel", CLOUD) - source.decoder("resnet18/siftfunnel", INFORMED)

    sentence = "An attack on the feature that the cloud widens gets more than one on z."
    return Claim("table5_cloud_side", "Table V", sentence, "its PSNR - gray-box PSNR", "dB", gain, True, 0, DECIBELS)


def _trend(network: str, x: str, y: str, sentence: str, rises: bool) -> Claim:
    def correlation(source: Source) -> float:
        return source.trend(f"depth_{network}", x, y)

    name, quantity = f"figure2_{network}_{y}_{x}", "Spearman's correlation over the cuts"
    return Claim(name, "Figure 2", f"{NETWORKS[network]}: {sentence}", quantity, "", correlation, rises, 0, RANK)


def _depth(network: str) -> Iterator[Claim]:
    """Figure 2's claims on one network."""
    yield _trend(network, "cut", "mi_calibrated", "mutual information (calibrated) falls with depth.", False)
    yield _trend(network, "cut", "mi_paper", "mutual information (paper's estimator) falls with depth.", False)
    yield _trend(network, "cut", "nonzero", "effective information falls with depth.", False)
    for attack in ("generator", "mle"):
        title = {"generator": "the generator", "mle": "MLE"}[attack]
        sentence = f"the PSNR of {title} falls with mutual information (calibrated)."
        yield _trend(network, "mi_calibrated", attack, sentence, True)
        yield _trend(network, "nonzero", attack, f"the PSNR of {title} falls with effective information.", True)


def _latency() -> Claim:
    def step(source: Source) -> float:
        plain, funnel, ae = (source.latency(f"cnn/{row}") for row in ("unprotected", "siftfunnel", "ae"))
        return min(funnel / plain, ae / funnel)

    sentence = "On the CPU the edge takes longest with AE and shortest unprotected, SiftFunnel between."
    quantity = "smaller of SiftFunnel / unprotected and AE / SiftFunnel"
    return Claim("latency_order", "Section 6.3", sentence, quantity, "", step, True, 1, TIMES)


def _around(data: str, title: str) -> Claim:
    def distance(source: Source) -> float:
        return abs(source.decoder(f"{data}_vgg16/siftfunnel") - 15)

    sentence = f"SiftFunnel on VGG16 holds a decoder at about 15 dB on {title}."
    quantity = "distance of its strongest decoder's PSNR from 15 dB"
    return Claim(f"figure5_{data}", "Figure 5", sentence, quantity, "dB", distance, False, 2, 0)


def _all() -> Iterator[Claim]:
    for group, table in GROUPS.items():
        yield _most_private(group, table)
        yield _sparsest(group, table) if group != "faces" else _small(group, table)  # AE sends fewer in Table IV
        yield _cheap(f"{group}/siftfunnel", f"{paper.GROUPS[group]}_siftfunnel_cheap", table)
        yield _gray_stronger(group, table)
        # in Table III, DP-SGD lowers the paper's own PSNR by 7.7 dB; Table IV has no such row
        yield from (_no_help(group, table, row) for row in ("mid", "nls", *(["dpsgd"] if group == "cnn" else [])))
        if group == "cnn":
            yield _small(group, table)  # ResNet-18's is only half the plain one in the paper too
            yield from map(_costly, ("gaussian_noise", "dropout"))
    yield from map(_needed, PARTS)
    yield _cloud()
    yield _cheap("vgg16/siftfunnel", "table6_vgg16_cheap", "Table VI", " on VGG16")
    yield from (claim for network in ("cnn", "resnet18") for claim in _depth(network))
    yield _latency()
    yield from (_around(data, title) for data, title in (("faces", "faces"), ("xray", "X-rays")))


CLAIMS = tuple(_all())
