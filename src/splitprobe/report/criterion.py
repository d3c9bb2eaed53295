"""The paper's criterion tested over all cells: does more I(x; z), more H(z) or a larger z mean an easier attack?

The paper states it (equation (8)) and shows it on the cuts of two networks. Here each factor's ranks are correlated
with those of the attacks' gains over every cell, and at fixed architecture; all verdicts follow from stated rules.
"""

from collections.abc import Mapping, Sequence

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import fano
from splitprobe.report.criterion_values import (
    ALL,
    FIXED,
    OUTCOMES,
    STAGES,
    Architecture,
    Finding,
    Series,
    architecture,
    architecture_title,
    conclusion,
    examine,
    failures,
    gains,
)
from splitprobe.report.markdown import NONE, Notes, bullets, document, grid, number
from splitprobe.report.results import Results, collect, data, distinct, origin
from splitprobe.report.statistics import CONTRADICTED, SUPPORTED, UNTESTED, Correlation, Settings
from splitprobe.report.table import Flat, Table

SIGNS = {1: "+", -1: "-"}
# the claim's sentence, and which series speak to it: by their part
CLAIMS = {
    "More I(x; z), an easier attack": "I",
    "More H(z), an easier attack": "H",
    "A larger z (in non-zero entries), an easier attack": "size",
    "I and H(z) together": "I, H",
    "I, H(z) and size together": "I, H, size",
}

Tests = Mapping[tuple[str, str, str | Architecture], Finding]  # by series, outcome and scope


def build(params: Params, paths: Paths) -> Table:
    """The table for the cells that ``rows.criterion`` lists."""
    settings = params.section("criterion", Settings)
    results = collect(params, paths, "criterion", STAGES)
    findings = examine(results, settings)
    tests = {(f.series.key, f.outcome, f.scope): f for f in findings}
    named = [fano.identification(r) for r in results]
    page = document(
        "The paper's criterion, over all cells",
        _caption(params.scale, results, tests),
        ["## Which of the paper's claims the data support", "", *bullets([*_claims(tests), fano.claim(named)])],
        ["## Verdicts on the criterion's factors", "", *_verdicts(tests)],
        *(_correlations(tests, outcome, title) for outcome, (title, _) in OUTCOMES.items()),
        ["## Within one architecture, strongest attack", "", *_within(findings, results)],
        ["## Fano's bound on naming the image", "", *fano.page(results, named)],
        ["## Notes", "", *bullets(_notes(results, settings, tests))],
    )
    rows = {series.key: _row(tests, series) for series in _series(tests)} | {"fano": fano.row(named)}
    lines = [_test_line(f, results) for f in findings]
    lines += [_cell_line(i, r, tests, results, one) for i, (r, one) in enumerate(zip(results, named, strict=True))]
    return Table(rows, lines, page)


def _series(tests: Tests) -> list[Series]:
    """All factors and combinations, once each."""
    return list({f.series.key: f.series for f in tests.values()}.values())


def _conclusion(tests: Tests, series: Series, outcome: str) -> str:
    return conclusion(tests[series.key, outcome, ALL].verdict, tests[series.key, outcome, FIXED].verdict)


def _caption(scale: str, results: Sequence[Results], tests: Tests) -> list[str]:
    judged = [_conclusion(tests, series, "strongest") for series in _series(tests) if series.part]
    counts = [judged.count(word) for word in (SUPPORTED, CONTRADICTED)]
    count = len({architecture(r) for r in results})
    return [
        f"**Scale {scale}, {len(results)} cells, {count} architectures. Of {len(judged)} forms of the criterion's "
        f"factors, supported with the strongest attack both over all cells and at fixed architecture: {counts[0]}; "
        f"contradicted in both: {counts[1]}.** {data(results)}. {origin(results, spreads=False)}."
    ]


def _claims(tests: Tests) -> list[str]:
    """A sentence for each claim, from the verdicts on the strongest attack; forms with the same verdict together."""
    lines = []
    for claim, part in CLAIMS.items():
        said: dict[str, list[str]] = {}
        for series in _series(tests):
            if series.part == part:
                said.setdefault(_conclusion(tests, series, "strongest"), []).append(series.title)
        parts = [f"**{verdict}** with {', '.join(titles)}" for verdict, titles in said.items()]
        lines.append(f"{claim}: {'; '.join(parts)}.")
    return lines


def _verdicts(tests: Tests) -> list[str]:
    """The criterion's factors by outcome and scope, in words."""
    header = ["Factor"]
    header += [f"{title}, {scope}" for title, _ in OUTCOMES.values() for scope in ("all cells", "fixed architecture")]
    lines = []
    for series in _series(tests):
        if series.part:
            scopes = [tests[series.key, outcome, scope] for outcome in OUTCOMES for scope in (ALL, FIXED)]
            lines.append([series.label, *(_word(f.verdict) for f in scopes)])
    return grid(header, lines)


def _word(verdict: str) -> str:
    return f"**{verdict}**" if verdict in (SUPPORTED, CONTRADICTED) else verdict


def _correlations(tests: Tests, outcome: str, title: str) -> list[str]:
    """One line per factor and combination against an outcome."""
    notes, lines = Notes(), []
    header = ["Factor", "In the criterion", "Expected", "Cells", "At cap", "All cells: rho", "Verdict"]
    header += ["Fixed architecture: rho", "Degrees of freedom", "Verdict"]
    for series in _series(tests):
        whole, fixed = tests[series.key, outcome, ALL], tests[series.key, outcome, FIXED]
        line = [series.label, series.part or NONE, SIGNS[series.expected], number(whole.found.count, 0)]
        line += [NONE if series.capped is None else number(series.capped, 0)]
        line += [_interval(notes, whole.found), _word(whole.verdict)]
        lines.append([*line, _interval(notes, fixed.found), number(fixed.found.degrees, 0), _word(fixed.verdict)])
    return [f"## Rank correlation with the gain of the {title}", "", *grid(header, lines, left=2), "", *notes.lines()]


def _interval(notes: Notes, found: Correlation) -> str:
    """A correlation with its interval, or n/a with the reason."""
    if found.rho is None:
        return notes.absent(found.reason)
    if found.low is None:
        return f"{found.rho:.2f}{notes.mark(found.reason)}"
    return f"{found.rho:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _within(findings: Sequence[Finding], results: Sequence[Results]) -> list[str]:
    """One column per architecture with enough cells."""
    own = {(f.series.key, f.scope): f for f in findings if f.outcome == "strongest" and f.scope not in (ALL, FIXED)}
    groups = list(dict.fromkeys(scope for _, scope in own))
    if not groups:
        return ["No architecture has enough cells."]
    notes, lines = Notes(), []
    for series in {f.series.key: f.series for f in own.values()}.values():
        line = [series.label, SIGNS[series.expected]]
        for group in groups:
            f = own[series.key, group]
            text = _interval(notes, f.found)
            line.append(f"**{text}**" if f.verdict in (SUPPORTED, CONTRADICTED) else text)
        lines.append(line)
    titles = [f"{architecture_title(g, results)}: {[architecture(r) for r in results].count(g)} cells" for g in groups]
    why = "Bold: the interval lies on one side of zero."
    return [*grid(["Factor", "Expected", *titles], lines), "", why, "", *notes.lines()]


def _notes(results: Sequence[Results], settings: Settings, tests: Tests) -> list[str]:
    counted = [(title, *failures(results, outcome)) for outcome, (title, _) in OUTCOMES.items()]
    failed = "; ".join(f"{title} {bad} of {count}" for title, bad, count in counted)
    images = [distinct(r[stage]["images"] for r in results) for stage in ("generator", "mle")]
    aside = tests["nonzero", "strongest", FIXED].found.aside
    ran = [f for f in tests.values() if f.verdict != UNTESTED and f.scope in (ALL, FIXED)]
    return [
        "Gain: mean PSNR less that of the mean auxiliary image on the same images "
        f"(generator: {images[0]}, MLE: {images[1]}), in dB. Strongest: the highest gain among a cell's decoders and "
        "MLE variants.",
        "rho: Spearman's rank correlation, ties as mean ranks. In brackets: the percentile bootstrap interval at level "
        f"{settings.level:g} from {settings.resamples:,} resamples of the cells; combinations are not fitted anew in "
        "each. A test needs "
        f"{settings.least} cells.",
        "Verdict: supported where the interval excludes zero on the expected side, contradicted where it does on the "
        "other, undecided where it does not. The sentences at the top are about the strongest attack; they give one "
        "verdict where those over all cells and at fixed architecture agree, and both where they differ.",
        "Fixed architecture: data set, network, cut and the edge's layers, and so the number of entries of z. Both "
        "ranks less the mean rank of their architecture are correlated, so that differences between architectures do "
        "not count; degrees of freedom are the cells less one for each architecture and one for the slope. "
        f"{aside} cells alone in their architecture are left out; resamples are drawn within architectures.",
        f"{len(ran)} tests were made and no level was lowered for their number: at level {settings.level:g} about "
        f"{(1 - settings.level) * len(ran):.0f} of them would exclude zero by chance. Cells share data, networks and "
        "sometimes weights, so that they are not independent; one seed more may turn an interval's end.",
        "Estimates at their cap (within 0.1 nats) differ by chance alone: they count as equal. The paper's MINE "
        "is no part of the criterion here: capped below 1 nat, a corner of the image where z is small, few steps.",
        "What z leaves open, the criterion's fourth factor, is H(x) - I(x; z), and H(x) is an unknown constant of the "
        "data: within a data set it ranks cells as I does, in reverse, and is no factor of its own.",
        "I × H(z) and I × H(z) × size are our reading of equation (8), whose algebra is not in the available text: "
        "without size for MLE, with it for decoders; estimates below zero count as zero. Fitted on other networks: a "
        "linear regression of the gain's ranks on those of I, H(z) and size, whose prediction for each data set and "
        "network comes from the cells of all others, so that the correlation at fixed architecture is the fairer one.",
        "Size: the non-zero entries of z per image, the paper's effective information. Factors that are no part of the "
        "criterion stand beside it for comparison, and are in no sentence at the top.",
        "MI (decoder bound) is computed from the errors of a decoder like those that attack: that it goes with the "
        "gain is built in, and no evidence for the criterion.",
        f"Failed attacks (by MSE no better than gray or the mean image) are kept, with the gain that they have: "
        f"{failed}. To leave them out would leave out the cells that are protected best, but a stronger attacker may "
        "move them.",
    ]


def _row(tests: Tests, series: Series) -> Flat:
    """A factor's JSON."""
    made: Flat = {}
    for outcome in OUTCOMES:
        for scope in (ALL, FIXED):
            f = tests[series.key, outcome, scope]
            made |= {f"{outcome}_{scope}_rho": f.found.rho, f"{outcome}_{scope}_verdict": f.verdict}
    return made


def _test_line(f: Finding, results: Sequence[Results]) -> Flat:
    """A test's CSV line."""
    scope = f.scope if isinstance(f.scope, str) else architecture_title(f.scope, results)
    found = f.found
    return {
        **{
            "line": "test",
            "factor": f.series.key,
            "title": f.series.title,
            "unit": f.series.unit,
            "part": f.series.part,
        },
        **{"outcome": f.outcome, "scope": scope, "expected": SIGNS[f.series.expected], "cells": found.count},
        **{"at_cap": f.series.capped, "rho": found.rho, "low": found.low, "high": found.high},
        **{"degrees_of_freedom": found.degrees, "left_aside": found.aside, "verdict": f.verdict},
        "absent": found.reason,
    }


def _cell_line(i: int, r: Results, tests: Tests, results: Sequence[Results], one: fano.Identification) -> Flat:
    """A cell's CSV line: all values that the tests and the bound are computed from."""
    line: Flat = {"line": "cell", **r.identity("target")}
    line |= {series.key: float(series.values[i]) for series in _series(tests) if not series.key.startswith("fit_")}
    for outcome, (_, find) in OUTCOMES.items():
        attack = find(r)
        line |= {f"{outcome}_gain_db": float(gains([r], outcome)[0])}
        line |= {f"{outcome}_access": attack.record["access"] if attack else None}
        line |= {f"{outcome}_failed": attack.record["failed"] if attack else None}
    return line | fano.columns(one)
