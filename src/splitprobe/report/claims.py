"""The paper's claims, each a rule on numbers, judged by the same rule on the paper's numbers and on ours.

A claim is reproduced, not reproduced, or not to be judged, and then the table says why; nobody writes a verdict.
``CLAIMS`` is all of them. A rule has to be able to fail and to hold: a simulation in the tests judges data in which no
defense does anything, data with the paper's effects, and data with opposite ones.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import sub, truediv
from typing import Any

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import claim_values as cv
from splitprobe.report import paper
from splitprobe.report.attacks import NETWORKS
from splitprobe.report.markdown import NONE, Notes, bullets, data, document, origin, words
from splitprobe.report.numbers import AT_CHANCE, open_numbers
from splitprobe.report.statistics import permutation
from splitprobe.report.tables import Table

LEVEL = 0.05  # of a permutation test's p-value
REPRODUCED, REFUTED, OPEN = "reproduced", "not reproduced", "cannot be judged"
GROUPS = {"cnn": "Table II", "resnet18": "Table III", "faces": "Table IV"}
HARMLESS = {"mid": "MID", "nls": "NLS", "dpsgd": "DP-SGD"}  # rows that are said not to help
COSTLY = {"gaussian_noise": "Gaussian noise", "dropout": "Dropout"}
PARTS = {
    "no_funnel": "the funnel", "no_attention": "the attention blocks", "no_kl": "KL and label smoothing",
    "no_dcor": "distance correlation", "no_pearson": "the Pearson term", "no_l1": "the L1 term",
}  # fmt: skip
# Figure 2's trends over the cuts: what is on either axis, what is said of it, and whether it rises
TRENDS = (
    ("cut", "mi_calibrated", "mutual information (calibrated) falls with depth.", False),
    ("cut", "nonzero", "effective information falls with depth.", False),
    ("mi_calibrated", "generator", "the PSNR of the generator falls with mutual information (calibrated).", True),
    ("nonzero", "generator", "the PSNR of the generator falls with effective information.", True),
    ("mi_calibrated", "mle", "the PSNR of MLE falls with mutual information (calibrated).", True),
    ("nonzero", "mle", "the PSNR of MLE falls with effective information.", True),
)
CHEAP = "SiftFunnel costs less than 3 points of accuracy"
NOTES = (
    "A claim holds where its rule does. The rule is applied to the paper's printed numbers and to ours alike; "
    "no verdict is written by hand.",
    "A claim cannot be judged where a value is missing, where it rests on a failed attack (by MSE no better than "
    "answering gray or the mean image), or where it is no farther from the rule's threshold than chance may bring it. "
    "With several seeds of each row that is t times the standard error of the mean over seeds (Student's one-sided "
    "5 %), each seed judged with its own networks. With one seed, and for the paper, it is the rule's margin: "
    f"{cv.POINTS:g} points of accuracy, {cv.DECIBELS:g} dB and a ratio of {1 + cv.SHARE:g} for non-zero entries, about "
    "1.6 standard deviations of what two seeds differ by at scale small.",
    "A claim that a defense costs little or does not help holds for a defense that does nothing as well. It is judged "
    "only where the row can be told from its unprotected one: accuracy, the black-box decoder's PSNR or the non-zero "
    f"entries of z differ by more than {cv.ACTS:g} times these margins.",
    AT_CHANCE,
    "PSNR: of decoders that see one release of an image, in the paper's convention, a mean over batches; in Figure "
    "2's rules image by image, as no number is printed. Strongest: the highest of a row's decoders.",
    "Figure 2's correlations are of ranks, over the cuts of one unprotected network, decided by a permutation test: "
    f"reproduced where p is at most {LEVEL:g} on the side of the claim, not reproduced where it is on the other. Cuts "
    "at which an attack failed are left out. Estimates at their cap count as equal, and so do those that are not above "
    "their own null (what the estimator says of shuffled pairs, or zero) by more than chance. The paper's estimator of "
    "mutual information is not compared between cuts, as it looks at a corner of the image whose size follows that of "
    "z.",
    "Sizes of edges, ours: of our networks at the paper's width and image size, the same at every scale.",
)
ONE_SEED = "One run with one seed each."


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: it holds where the measure is above (or below) a threshold, by more than chance brings it.

    ``quantity`` says what the measure is, in ``unit``; ``margin`` is what counts as chance where a row has one seed;
    ``acting``: a row that must do something, since the claim holds for one that does nothing as well.
    """

    name: str
    table: str
    sentence: str
    quantity: str
    measure: Callable[[cv.Source], float]
    unit: str = "dB"
    above: bool = True
    threshold: float = 0
    margin: float = cv.DECIBELS
    acting: str = ""

    @property
    def rule(self) -> str:
        """The rule for readers."""
        unit = f" {self.unit}" if self.unit else ""
        margin = f", margin {self.margin:g}" if self.margin else ""
        return f"{self.quantity} {'>' if self.above else '<'} {self.threshold:g}{unit}{margin}"

    def verdict(self, value: float, noise: float) -> tuple[str, str]:
        """What a value of the measure says about the claim, and why it says nothing; ``noise``: what chance may do."""
        slack = value - self.threshold if self.above else self.threshold - value
        if abs(slack) <= noise:
            unit = self.unit.removesuffix("s") if noise == 1 else self.unit
            return OPEN, f"no farther than {noise:.2g}{f' {unit}' if unit else ''} from the threshold"
        return REPRODUCED if slack > 0 else REFUTED, ""

    def judge(self, source: cv.Source) -> tuple[float | None, str, str]:
        """The claim by one source: (value or None, verdict, reason where it cannot be judged)."""
        value = None
        try:
            value = self.measure(source)
            if self.acting:
                source.acts(self.acting)
        except cv.Unknown as why:
            return value, OPEN, str(why)
        except ZeroDivisionError:
            return None, OPEN, "what it is divided by is zero"
        noise = source.noise(self.measure)
        return value, *self.verdict(value, self.margin if noise is None else noise)


@dataclass(frozen=True)
class Trend(Claim):
    """A claim that one quantity of a network's cuts rises (``above``) or falls with another; see ``cv.Source.cuts``."""

    group: str = ""
    axes: tuple[str, str] = ("", "")

    @property
    def rule(self) -> str:
        """The rule for readers."""
        return f"{self.quantity} {'>' if self.above else '<'} 0, p at most {LEVEL:g}"

    def judge(self, source: cv.Source) -> tuple[float | None, str, str]:
        """As a claim's, by a permutation test."""
        try:
            x, y = zip(*source.cuts(self.group, *self.axes), strict=True)
        except cv.Unknown as why:
            return None, OPEN, str(why)
        (rho, claimed), (_, other) = (permutation(x, y, rises) for rises in (self.above, not self.above))
        if rho != rho:
            return None, OPEN, "the values do not differ from each other"
        if min(claimed, other) > LEVEL:
            return rho, OPEN, f"p = {claimed:.2g}, over {len(x)} cuts"
        return rho, REPRODUCED if claimed <= LEVEL else REFUTED, ""


def _lost(cell: str, above: bool, points: float) -> dict[str, Any]:
    """What a claim on the accuracy that a cell loses is made of."""
    place = {"quantity": "accuracy lost", "measure": lambda source: -source.value(cell, *cv.CHANGE), "unit": "points"}
    return place | {"margin": cv.POINTS, "above": above, "threshold": points, "acting": "" if above else cell}


def _gap(high: tuple[str, str], low: tuple[str, str]) -> Callable[[cv.Source], float]:
    """The measure by how much one decoder, of a cell with an access, is ahead of another, in dB."""
    return lambda source: source.decoder(*high) - source.decoder(*low)


def _table(group: str, table: str) -> Iterator[Claim]:
    """The claims on the rows of one of Tables II to IV."""
    prefix, plain, ae, funnel = paper.GROUPS[group], f"{group}/unprotected", f"{group}/ae", f"{group}/siftfunnel"
    others = [f"{group}/{row}" for row in dict.fromkeys(line["row"] for line in paper.load(prefix))]
    others.remove(funnel)

    def lowest(source: cv.Source, value: Callable[[str], float]) -> tuple[float, float]:
        """The lowest value of another row, and SiftFunnel's; without rows at chance."""
        if not source.working([funnel]):
            raise cv.Unknown(f"{funnel} is at chance")
        return min(map(value, source.working(others))), value(funnel)

    def further(source: cv.Source) -> float:
        return sub(*lowest(source, source.decoder))

    def sparser(source: cv.Source) -> float:
        return truediv(*lowest(source, lambda cell: source.value(cell, *cv.NONZERO)))

    yield Claim(
        f"{prefix}_lowest_psnr", table, "SiftFunnel leaves a decoder less of the image than any other defense.",
        "lowest PSNR of another row's strongest decoder - SiftFunnel's", further,
    )  # fmt: skip
    small = Claim(
        f"{prefix}_small_edge", table, "SiftFunnel's edge is at least 10 times smaller than the plain one.",
        "unprotected parameters / SiftFunnel's, at the paper's width",
        lambda source: source.parameters(plain) / source.parameters(funnel), unit="", threshold=10, margin=0,
    )  # fmt: skip
    sparsest = Claim(
        f"{prefix}_fewest_nonzero", table, "SiftFunnel sends the fewest non-zero entries.",
        "fewest non-zero entries of another row / SiftFunnel's", sparser, unit="", threshold=1, margin=cv.SHARE,
    )  # fmt: skip
    yield small if group == "faces" else sparsest  # AE sends fewer in Table IV
    yield Claim(f"{prefix}_siftfunnel_cheap", table, f"{CHEAP}.", **_lost(funnel, False, 3))
    yield Claim(
        f"{prefix}_ae_gray_stronger", table, "Knowing the edge makes the attack on AE stronger.",
        "gray-box PSNR - black-box PSNR", _gap((ae, cv.GRAY), (ae, cv.BLACK)),
    )  # fmt: skip
    for row, title in HARMLESS.items():
        # in Table III, DP-SGD lowers the paper's own PSNR by 7.7 dB; Table IV has no such row
        if row != "dpsgd" or group == "cnn":
            yield Claim(
                f"{prefix}_{row}_no_help", table, f"{title} hardly lowers the decoder's PSNR.",
                "unprotected PSNR - its PSNR", _gap((plain, cv.BLACK), (f"{group}/{row}", cv.BLACK)),
                above=False, threshold=2, acting=f"{group}/{row}",
            )  # fmt: skip
    if group == "cnn":
        yield small  # ResNet-18's is only half the plain one in the paper too
        for row, title in COSTLY.items():
            sentence = f"{title} costs more than 10 points of accuracy."
            yield Claim(f"{prefix}_{row}_costs", table, sentence, **_lost(f"cnn/{row}", True, 10))


def _all() -> Iterator[Claim]:
    for group, table in GROUPS.items():
        yield from _table(group, table)
    funnel = "resnet18/siftfunnel"
    for row, part in PARTS.items():
        yield Claim(
            f"table5_{row}", "Table V", f"Without {part}, the gray-box decoder sees more.",
            "its PSNR - SiftFunnel's", _gap((f"ablation/{row}", cv.INFORMED), (funnel, cv.INFORMED)),
        )  # fmt: skip
    yield Claim(
        "table5_cloud_side", "Table V", "An attack on the feature that the cloud widens gets more than one on z.",
        "its PSNR - gray-box PSNR", _gap((funnel, cv.CLOUD), (funnel, cv.INFORMED)),
    )  # fmt: skip
    yield Claim("table6_vgg16_cheap", "Table VI", f"{CHEAP} on VGG16.", **_lost("vgg16/siftfunnel", False, 3))
    for network in ("cnn", "resnet18"):
        for x, y, sentence, rises in TRENDS:
            yield Trend(
                f"figure2_{network}_{y}_{x}", "Figure 2", f"{NETWORKS[network]}: {sentence}",
                "Spearman's correlation over the cuts", None, "", rises, group=f"depth_{network}", axes=(x, y),
            )  # fmt: skip

    def step(source: cv.Source) -> float:
        """By how much the latencies are apart: the smaller of two ratios."""
        plain, funnel, ae = (source.value(f"cnn/{row}", *cv.LATENCY) for row in ("unprotected", "siftfunnel", "ae"))
        return min(funnel / plain, ae / funnel)

    yield Claim(
        "latency_order", "Section 6.3",
        "On the CPU the edge takes longest with AE and shortest unprotected, SiftFunnel between.",
        "smaller of SiftFunnel / unprotected and AE / SiftFunnel", step, "", threshold=1, margin=0.05,
    )  # fmt: skip
    for group, title in (("faces", "faces"), ("xray", "X-rays")):
        cells = [f"{group}_vgg16/{row}" for row in ("siftfunnel", "unprotected")]
        # the paper says "around 15 dB", which is below the mean image on some data
        yield Claim(
            f"figure5_{group}", "Figure 5", f"SiftFunnel on VGG16 hides most of what a decoder gets of {title}.",
            "share of the unprotected row's PSNR above the mean image that is gone",
            lambda source, cells=cells: source.hidden(*cells), "", threshold=0.5, margin=0.1,
        )  # fmt: skip


CLAIMS = tuple(_all())


def build(params: Params, paths: Paths) -> Table:
    """The table of CLAIMS, on the cells that ``rows.claims`` lists."""
    numbers = open_numbers(params, paths, "claims", ["costs"])
    ours, theirs, notes, lines, shown = cv.Source(numbers), cv.Source.printed(), Notes(), [], []
    for claim in CLAIMS:
        (value, verdict, reason), (printed, paper_verdict, paper_reason) = map(claim.judge, (ours, theirs))
        difference = None if None in (value, printed) else value - printed
        lines.append({
            **{"claim": claim.name, "table": claim.table, "sentence": claim.sentence, "rule": claim.rule},
            **{"unit": claim.unit, "paper": printed, "ours": value, "difference": difference},
            **{"verdict": verdict, "reason": reason, "paper_verdict": paper_verdict, "paper_reason": paper_reason},
        })  # fmt: skip
        values = ((printed, ".2f"), (value, ".2f"), (difference, "+.2f"))
        texts = [NONE if number is None else f"{number:{how}}" for number, how in values]
        if printed is not None and paper_verdict == REFUTED:
            texts[0] += notes.mark("the paper's own numbers do not bear the claim out")
        texts.append(f"**{verdict}**" if verdict == REPRODUCED else verdict)
        texts[-1] += notes.mark(reason) if reason else ""
        shown.append([claim.table, claim.sentence, claim.rule.replace("|", "/"), *texts])  # a bar would end the entry
    counts = Counter(line["verdict"] for line in lines)
    summary = (
        f"**Scale {params.scale}: of {len(lines)} claims {counts[REPRODUCED]} are reproduced, {counts[REFUTED]} "
        f"are not, {counts[OPEN]} cannot be judged.** {words(data(numbers))}. {origin(numbers, spreads=False)}."
    )
    header = ["Where", "Claim", "Rule", "Paper", "Ours", "Difference", "Verdict"]
    table = notes.table(header, shown, left=3)
    several = any(len(numbers.seeds(cell)) > 1 for cell in numbers.cells)
    below = ["## Notes", "", *bullets(NOTES if several else [*NOTES, ONE_SEED])]
    keys = ("ours", "paper", "difference", "verdict")
    rows = {line["claim"]: {key: line[key] for key in keys} for line in lines}
    return Table(rows, lines, document("The paper's claims", [summary], table, below))
