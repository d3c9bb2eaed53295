"""The paper's claims, judged by rules on our numbers: reproduced, not reproduced, or not to be judged, and why."""

from collections import Counter
from collections.abc import Sequence

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report.claim_rules import CLAIMS, OPEN, REFUTED, REPRODUCED, Claim, judge
from splitprobe.report.claim_values import LEAST, Ours, Theirs
from splitprobe.report.markdown import NONE, Notes, bullets, document, grid
from splitprobe.report.results import Results, collect, data, origin
from splitprobe.report.table import Flat, Table

STAGES = ("target", "information", "generator", "mle")
NOTES = (
    "A claim holds where its rule does. The rule is applied to the paper's printed numbers and to ours alike; "
    "no verdict is written by hand.",
    "A claim cannot be judged where a value is missing, where it rests on a failed attack (by MSE no better than "
    "answering gray or the mean image), or where it is no farther from the rule's threshold than the stated margin.",
    "PSNR: of decoders that see one release of an image, in the paper's convention, a mean over batches; in Figure 2's "
    "rules image by image, as no number is printed. Strongest: the highest of a row's decoders.",
    "Figure 2's correlations are of ranks, over the cuts of one unprotected network; cuts at which an attack failed "
    f"are left out, estimates at their cap count as equal, and at least {LEAST} must be below it.",
)
ONE_SEED = "One run with one seed each: a difference near a margin may turn with another seed."
SEEDS = "Values are means over the seeds that ran; one near a margin may turn with another seed."


def build(params: Params, paths: Paths) -> Table:
    """The table of CLAIMS, on the cells that ``rows.claims`` lists."""
    results = collect(params, paths, "claims", STAGES, optional=("cost",))
    lines = [_line(claim, results) for claim in CLAIMS]
    page = document(
        "The paper's claims",
        [f"**Scale {params.scale}: {_counted(lines)}.** {data(results)}. {origin(results, spreads=False)}."],
        _page(lines),
        ["## Notes", "", *bullets([*NOTES, SEEDS if max(len(r.seeds) for r in results) > 1 else ONE_SEED])],
    )
    keys = ("ours", "paper", "difference", "verdict")
    return Table({str(line["claim"]): {key: line[key] for key in keys} for line in lines}, lines, page)


def _line(claim: Claim, results: Sequence[Results]) -> Flat:
    """A claim's CSV line: its rule, both values and both verdicts."""
    ours, verdict, why = judge(claim, Ours(results))
    theirs, printed, reason = judge(claim, Theirs())
    return {
        **{"claim": claim.name, "table": claim.table, "sentence": claim.sentence, "rule": claim.rule},
        **{"unit": claim.unit, "paper": theirs, "ours": ours},
        "difference": None if None in (ours, theirs) else ours - theirs,
        **{"verdict": verdict, "reason": why, "paper_verdict": printed, "paper_reason": reason},
    }


def _counted(lines: Sequence[Flat]) -> str:
    counts = Counter(line["verdict"] for line in lines)
    return (
        f"of {len(lines)} claims {counts[REPRODUCED]} are reproduced, {counts[REFUTED]} are not, "
        f"{counts[OPEN]} cannot be judged"
    )


def _page(lines: Sequence[Flat]) -> list[str]:
    """The table for readers, reasons below it."""
    notes, shown = Notes(), []
    for line in lines:
        theirs = NONE if line["paper"] is None else f"{float(line['paper']):.2f}"
        if line["paper"] is not None and line["paper_verdict"] == REFUTED:
            theirs += notes.mark("the paper's own numbers do not bear the claim out")
        ours = NONE if line["ours"] is None else f"{float(line['ours']):.2f}"
        difference = NONE if line["difference"] is None else f"{line['difference']:+.2f}"
        verdict = line["verdict"] if line["verdict"] != REPRODUCED else f"**{line['verdict']}**"
        verdict += notes.mark(line["reason"]) if line["reason"] else ""
        # a bar would end the table's cell
        where = [line["table"], line["sentence"], line["rule"].replace("|", "/")]
        shown.append([*where, theirs, ours, difference, verdict])
    header = ["Where", "Claim", "Rule", "Paper", "Ours", "Difference", "Verdict"]
    return [*grid(header, shown, left=3), "", *notes.lines()]
