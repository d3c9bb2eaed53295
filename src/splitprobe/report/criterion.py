"""The paper's criterion tested over all cells: does more I(x; z), more H(z) or a larger z mean an easier attack?

The paper states it (equation (8)) and shows it on the cuts of two networks. Here each factor's ranks are correlated
with those of the attacks' gains over every cell, and at fixed architecture; all verdicts follow from stated rules.

Fano's bound (the paper's equations (6) and (7)) is tested where its terms are known: among n images, each equally
likely, whoever names one from z errs with probability P_e >= 1 - (I + log 2) / log n, I in nats. An attack names the
image that is nearest to its reconstruction; the information I(i; z) about which of the n it was is, on average over
sets of n images, at most I(x; z), and never more than log n.
"""

import math
from collections.abc import Iterator, Mapping

import pandas as pd

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params
from splitprobe.report.attacks import STAGES, best
from splitprobe.report.criterion_values import ALL, FACTORS, FIXED, OUTCOMES, Key, collected, examine
from splitprobe.report.markdown import NONE, Notes, bullets, data, distinct, document, grid, origin, words
from splitprobe.report.numbers import Number, Numbers, open_numbers
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

HOLDS, VACUOUS, VIOLATED = KINDS = ("holds", "vacuous", "violated")
BOUNDED = {"infonce": "InfoNCE", "calibrated": "the calibrated estimator"}  # of I
LEAST = 3  # images: of two, log(n - 1) is zero
NO_SHARE = "this attack's record has no share of images identified"
NO_ATTACK = "no attack that sees one release of an image ended with a finite PSNR"
FANO = (
    "x is taken as one of the n attacked test images, each equally likely, so that H(x) = log n: whoever names it from "
    "z errs with probability of at least 1 - (I + log 2) / log n. Measured: how often the original nearest to the "
    "reconstruction is not its own, for the strongest attack that sees one release of z. A bound of zero or less is "
    "vacuous.",
    "",
    "The estimates are lower bounds of I, so that what is computed from them is only an upper estimate of the true "
    "bound: it is violated where I is underestimated, and then the last column, (1 - error) log n - log 2, says how "
    "much information the attack itself proves (on average over sets of n images). An edge that is deterministic and "
    "maps the n images to different z carries all of log n: its true bound is vacuous, and a computed one that holds "
    "there speaks of the estimator's and the attack's limits; it guarantees nothing.",
    "",
    "For pixels the paper's bound (7) cannot be computed, since neither H(x) nor the number of possible images is "
    "known.",
    "",
)

Tests = Mapping[Key, Correlation]
Counts = Mapping[str, int]  # by factor


def build(params: Params, paths: Paths) -> Table:
    """The table for the cells that ``rows.criterion`` lists."""
    settings, numbers = params.section("criterion", Settings), open_numbers(params, paths, "criterion")
    table, named = collected(numbers), identifications(numbers)
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
        ["## Which of the paper's claims the data support", "", *bullets([*claims, fano_claim(named)])],
        ["## Verdicts on the criterion's factors", "", *grid(header, verdicts)],
        *(_correlations(tests, capped, outcome) for outcome in OUTCOMES),
        ["## Within one architecture, strongest attack", "", *_within(groups, tests)],
        ["## Fano's bound on naming the image", "", *fano_page(named)],
        ["## Notes", "", *bullets(_notes(numbers, table, settings, tests))],
    )
    shown = [(*place, part) for place in PLACES for part in ("rho", "verdict")]
    rows = {key: {"_".join(own): getattr(tests[(key, *own[:2])], own[2]) for own in shown} for key in FACTORS}
    rows["fano"] = fano_row(named)
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
    return [title, "", *notes.table(header, lines, left=2)]


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
    return notes.table(["Factor", "Expected", *titles], lines, "Bold: the interval lies on one side of zero.")


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


def identifications(numbers: Numbers) -> dict[str, Flat]:
    """How often a cell's strongest attack that sees one release of z names the image, as its columns of the CSV.

    ``naming_error`` among ``named_images`` and ``proven_nats`` are means over seeds, absent with the reason
    ``naming_absent``. For each of BOUNDED the ``least_error_`` it allows and whether the error keeps it, ``bound_``;
    both None where the estimate is absent."""
    own = {seed: numbers.of_seed(seed) for seed in {seed for cell in numbers.cells for seed in numbers.seeds(cell)}}
    named = {}
    for cell in numbers.cells:
        runs = [_of_seed(own[seed], cell) for seed in numbers.seeds(cell)]
        line = next((run for run in runs if run["naming_absent"]), None) or {
            key: " / ".join(dict.fromkeys(values)) if isinstance(values[0], str) else Number.over(values).value
            for key, values in ((key, [run[key] for run in runs]) for key in runs[0])
        }
        for name in BOUNDED:
            bound, error = line[f"least_error_{name}"], line["naming_error"]
            kind = None if None in (bound, error) else VACUOUS if bound <= 0 else HOLDS if error >= bound else VIOLATED
            line[f"bound_{name}"] = kind
        named[cell] = line
    return named


def least_error(information: float, images: int) -> float:
    """The paper's bound (7) for ``images`` equally likely images and I in nats; zero or less says nothing."""
    return 1 - (information + math.log(2)) / math.log(images)


def least_information(error: float, images: int) -> float:
    """The same bound the other way: the nats that an attack must have had to err no more often, at least zero."""
    return max(0.0, (1 - error) * math.log(images) - math.log(2))


def _of_seed(numbers: Numbers, cell: str) -> Flat:
    """The numbers of one seed. Several releases of an image may say more than I(x; z) of one, so they are left out."""
    item = best(numbers, cell, once=True)
    line: Flat = {"named_by": "", "named_images": "", "naming_error": None}
    line |= dict.fromkeys([*(f"least_error_{name}" for name in BOUNDED), "proven_nats"])
    if item is None:
        return line | {"naming_absent": NO_ATTACK}
    images = int(numbers.value(cell, item.split()[0], "images"))
    share = numbers.number(cell, item, "identified", missing=NO_SHARE)
    line |= {"named_by": numbers.text(cell, item, "access"), "named_images": str(images)}
    if share.value is None or images < LEAST:
        return line | {"naming_absent": share.reason if share.value is None else f"{images} images are too few"}
    error = 1 - share.value
    for name in BOUNDED:
        nats = numbers.value(cell, f"mi {name}", "mi_nats", missing="not estimated")
        # an estimate below zero counts as zero
        line[f"least_error_{name}"] = None if nats is None else least_error(max(0.0, nats), images)
    return line | {"naming_error": error, "proven_nats": least_information(error, images), "naming_absent": ""}


def fano_claim(named: Mapping[str, Flat]) -> str:
    """What became of the bound, counted."""
    parts = []
    for name, label in BOUNDED.items():
        counts = {kind: fano_row(named)[f"{name}_{kind}"] for kind in KINDS}
        kinds = ", ".join(f"**{kind}** in {count}" for kind, count in counts.items())
        known = f"of {sum(counts.values())} cells {kinds}" if any(counts.values()) else "no cell has its terms"
        parts.append(f"with I by {label} {known}")
    return f"Fano's bound on naming the image: {'; '.join(parts)}."


def fano_row(named: Mapping[str, Flat]) -> Flat:
    """How many cells keep the bound, by estimate."""
    bounds = {name: [line[f"bound_{name}"] for line in named.values()] for name in BOUNDED}
    return {f"{name}_{kind}": own.count(kind) for name, own in bounds.items() for kind in KINDS}


def fano_page(named: Mapping[str, Flat]) -> list[str]:
    """One line per cell, below what the bound says and does not say."""
    notes, lines = Notes(), []
    header = ["Cell", "Attack", "Images", "Error in naming"]
    header += [text for label in BOUNDED.values() for text in (f"Least error, I by {label}", "Verdict")]
    for cell, line in named.items():
        images = " / ".join(f"{int(count):,}" for count in line["named_images"].split(" / ") if count)
        shown = [cell, line["named_by"] or NONE, images or NONE]
        if line["naming_absent"]:
            lines.append([*shown, notes.absent(line["naming_absent"]), *[NONE] * (2 * len(BOUNDED) + 1)])
            continue
        shown.append(f"{line['naming_error']:.3f}")
        for name, label in BOUNDED.items():
            bound = line[f"least_error_{name}"]
            absent = f"no estimate by {label} in this cell's results"
            shown += [notes.absent(absent) if bound is None else f"{bound:.3f}", line[f"bound_{name}"] or NONE]
        lines.append([*shown, f"{line['proven_nats']:.2f}"])
    return [*FANO, *notes.table([*header, "I that the attack proves, nats"], lines, left=2)]
