"""The paper's criterion tested over all cells: does more I(x; z), more H(z) or a larger z mean an easier attack?

The paper states it (equation (8)) and shows it on the cuts of two networks. Here each factor's ranks are correlated
with those of the attacks' gains over every cell, and at fixed architecture; all verdicts follow from stated rules.
"""

from collections.abc import Iterator, Mapping

import pandas as pd

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report import fano
from splitprobe.report.attacks import STAGES
from splitprobe.report.captions import data, distinct, origin
from splitprobe.report.criterion_values import ALL, FACTORS, FIXED, OUTCOMES, Key, collected, examine
from splitprobe.report.markdown import NONE, Notes, bullets, document, grid, words
from splitprobe.report.numbers import Numbers
from splitprobe.report.rows import open_numbers
from splitprobe.report.statistics import CONTRADICTED, SUPPORTED, UNTESTED, Correlation, Settings
from splitprobe.report.tables import Flat, Table, identity

SIGNS = {1: "+", -1: "-"}
SCOPES = {ALL: "all cells", FIXED: "fixed architecture"}
PLACES = [(outcome, scope) for outcome in OUTCOMES for scope in SCOPES]
# the claim's sentence, and which factors speak to it: by their part
CLAIMS = {
    "More I(x; z), an easier attack": "I",
    "More H(z), an easier attack": "H",
    "A larger z (in non-zero entries), an easier attack": "size",
    "I and H(z) together": "I, H",
    "I, H(z) and size together": "I, H, size",
}

Tests = Mapping[Key, Correlation]
Counts = Mapping[str, int]  # by factor


def build(params: Params, paths: Paths) -> Table:
    """The table for the cells that ``rows.criterion`` lists."""
    settings, numbers = params.section("criterion", Settings), open_numbers(params, paths, "criterion")
    table, named = collected(numbers), fano.identifications(numbers)
    tests, groups = examine(numbers, table, settings), table.architecture.value_counts(sort=False)
    capped = {key: table[f"capped_{key}"].sum() for key in FACTORS if f"capped_{key}" in table}
    judged = {}  # the verdicts over all cells and at fixed architecture in one phrase
    for key in (key for key, factor in FACTORS.items() if factor.part):
        every, fixed = (tests[key, "strongest", scope].verdict for scope in SCOPES)
        judged[key] = every if every == fixed else f"{every} over all cells, {fixed} at fixed architecture"
    counts = [list(judged.values()).count(word) for word in (SUPPORTED, CONTRADICTED)]
    caption = (
        f"**Scale {params.scale}, {len(table)} cells, {len(groups)} architectures. "
        f"Of {len(judged)} forms of the criterion's factors, supported with the strongest attack both over all cells "
        f"and at fixed architecture: {counts[0]}; contradicted in both: {counts[1]}.** {words(data(numbers))}. "
        f"{origin(numbers, spreads=False)}."
    )
    forms = pd.DataFrame([(FACTORS[k].part, verdict, FACTORS[k].title) for k, verdict in judged.items()])
    forms = forms.groupby([0, 1], sort=False)[2].agg(", ".join)
    claims = [
        f"{claim}: {'; '.join(f'**{verdict}** with {titles}' for verdict, titles in forms[part].items())}."
        for claim, part in CLAIMS.items()
    ]
    header = ["Factor", *(f"{OUTCOMES[outcome][0]}, {SCOPES[scope]}" for outcome, scope in PLACES)]
    verdicts = [[FACTORS[key].label, *(_word(tests[(key, *own)]) for own in PLACES)] for key in judged]
    page = document(
        "The paper's criterion, over all cells",
        [caption],
        ["## Which of the paper's claims the data support", "", *bullets([*claims, fano.claim(named)])],
        ["## Verdicts on the criterion's factors", "", *grid(header, verdicts)],
        *(_correlations(tests, capped, outcome) for outcome in OUTCOMES),
        ["## Within one architecture, strongest attack", "", *_within(groups, tests)],
        ["## Fano's bound on naming the image", "", *fano.page(named)],
        ["## Notes", "", *bullets(_notes(numbers, table, settings, tests))],
    )
    shown = [(*place, part) for place in PLACES for part in ("rho", "verdict")]
    rows = {key: {"_".join(own): getattr(tests[(key, *own[:2])], own[2]) for own in shown} for key in FACTORS}
    rows["fano"] = fano.row(named)
    listed = [key for key in FACTORS if key in table] + [column for column in table if column.startswith((*OUTCOMES,))]
    cells = table[listed].to_dict("index")
    lines = [{"line": "cell", **identity(numbers, cell), **own, **named[cell]} for cell, own in cells.items()]
    return Table(rows, [*_test_lines(tests, capped), *lines], page)


def _word(test: Correlation, text: str = "") -> str:
    """A verdict, or a text in its place, in bold where it says something."""
    return f"**{text or test.verdict}**" if test.verdict in (SUPPORTED, CONTRADICTED) else text or test.verdict


def _correlations(tests: Tests, capped: Counts, outcome: str) -> list[str]:
    """One line per factor and combination against an outcome."""
    notes, lines = Notes(), []
    header = ["Factor", "In the criterion", "Expected", "Cells", "At cap", "All cells: rho", "Verdict"]
    header += ["Fixed architecture: rho", "Degrees of freedom", "Verdict"]
    for key, factor in FACTORS.items():
        whole, fixed = (tests[key, outcome, scope] for scope in SCOPES)
        line = [factor.label, factor.part or NONE, SIGNS[factor.expected], str(whole.count), str(capped.get(key, NONE))]
        line += [_interval(notes, whole), _word(whole), _interval(notes, fixed), str(fixed.degrees), _word(fixed)]
        lines.append(line)
    title = f"## Rank correlation with the gain of the {OUTCOMES[outcome][0]}"
    return [title, "", *grid(header, lines, left=2), "", *notes.lines()]


def _interval(notes: Notes, correlation: Correlation) -> str:
    """A correlation with its interval, or n/a with the reason."""
    return correlation.text + (notes.mark(correlation.reason) if correlation.reason else "")


def _within(groups: pd.Series, tests: Tests) -> list[str]:
    """One column per architecture with enough cells; ``groups``: how many cells each has."""
    own = [name for name in groups.index if ("entropy", "strongest", name) in tests]
    if not own:
        return ["No architecture has enough cells."]
    notes, lines = Notes(), []
    for key, factor in FACTORS.items():
        within = [tests[key, "strongest", name] for name in own]
        lines.append([factor.label, SIGNS[factor.expected], *(_word(test, _interval(notes, test)) for test in within)])
    titles = [f"{words(name)}: {groups[name]} cells" for name in own]
    why = "Bold: the interval lies on one side of zero."
    return [*grid(["Factor", "Expected", *titles], lines), "", why, "", *notes.lines()]


def _notes(numbers: Numbers, table: pd.DataFrame, settings: Settings, tests: Tests) -> list[str]:
    counted = {title: table[f"{outcome}_failed"].dropna() for outcome, (title, _) in OUTCOMES.items()}
    failed = "; ".join(f"{title} {sum(own)} of {len(own)}" for title, own in counted.items())
    images = [distinct(numbers.value(cell, stage, "images") for cell in numbers.cells) for stage in STAGES]
    aside = tests["nonzero", "strongest", FIXED].aside
    ran = [key for key, test in tests.items() if test.verdict != UNTESTED and key[2] in SCOPES]
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


def _test_lines(tests: Tests, capped: Counts) -> Iterator[Flat]:
    """The CSV lines of tests."""
    for (key, outcome, scope), test in tests.items():
        factor = FACTORS[key]
        yield {
            **{"line": "test", "factor": key, "title": factor.title, "unit": factor.unit, "part": factor.part},
            **{"outcome": outcome, "scope": scope, "expected": SIGNS[factor.expected], "cells": test.count},
            **{"at_cap": capped.get(key), "rho": test.rho, "low": test.low, "high": test.high},
            **{"degrees_of_freedom": test.degrees, "left_aside": test.aside, "verdict": test.verdict},
            "absent": test.reason,
        }
