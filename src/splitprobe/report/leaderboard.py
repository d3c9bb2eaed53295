"""The leaderboard: defenses ranked by what the strongest attack gets where each costs the same accuracy.

Not a table of the paper, which compares rows at whatever accuracy they end up with; ``matched`` has the rule. Rows of
the group ``budget``, defenses on SiftFunnel's edge, are ranked among themselves, with SiftFunnel beside them, by what
each costs on top of that edge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from splitprobe.core.cells import Paths
from splitprobe.core.params import Params, ParamsError, bounded
from splitprobe.report import attacks
from splitprobe.report import markdown as md
from splitprobe.report.matched import ABSENT, BOUND, MISSED, Measured, best
from splitprobe.report.numbers import AT_CHANCE, UNPROTECTED, Numbers, open_numbers
from splitprobe.report.remarks import caption, untuned
from splitprobe.report.tables import Flat, Table, identity

DECIMALS = 2  # of PSNR in dB for readers; rows that agree in them share a rank
SIFTFUNNEL = "siftfunnel"  # the row of the paper's own defense
ARCHITECTURE = f"{SIFTFUNNEL}_architecture"  # the row of its edge without a defense
BUDGET = "budget/"  # begins the cells that run a defense on that edge
TIE = 1e-6  # points of accuracy, far below what is shown
WIDE, ATMOST, ATLEAST = "≈", "≤", "≥"
BUDGETED = (
    "Each defense on SiftFunnel's edge, so that none gains by a larger one. Here accuracy is lost against this edge "
    "without losses, which is *plain*: what the edge itself costs, all of them pay. SiftFunnel stands among them, with "
    "the settings of its sweep that change its losses alone."
)
TRIED = (
    "What the most private of a defense's measured settings leaks among those that lose no more than so many points of "
    "accuracy; in parentheses its change of accuracy. Whoever tries more settings finds a lower number more easily, so "
    "compare rows with equally many."
)
HERE = "The same at SiftFunnel's edge, with accuracy lost against that edge without losses."
# begin the columns of a row's JSON
METRICS = (
    "rank", "psnr_db_at", "settings", "same_edge_change", "accuracy_change", "strongest", "above_floor",
    "edge_parameters", "z_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The section ``leaderboard``; all in points of accuracy."""

    losses: tuple[float, ...] = bounded(0.0, 100.0, items=(1, 20), distinct=True)
    rank_at: float = bounded(0.0, 100.0)
    apart: float = bounded(0.0, 100.0)

    def __post_init__(self) -> None:
        if self.rank_at not in self.losses:
            known = ", ".join(f"{lost:g}" for lost in self.losses)
            raise ParamsError(f"leaderboard.rank_at = {self.rank_at:g}: choose one of leaderboard.losses: {known}")


def build(params: Params, paths: Paths) -> Table:
    """The leaderboard of the cells that ``rows.leaderboard`` lists; unprotected ones are landmarks without a rank.

    Raises ParamsError as ``open_numbers`` does.
    """
    settings = params.section("leaderboard", Settings)
    numbers = open_numbers(params, paths, "leaderboard", ["sweeps"])
    plain, bare, losses = Measured(numbers), Measured(numbers, ARCHITECTURE), settings.losses
    rows = {cell: cell.partition("/")[2] for cell in numbers.cells}
    landmarks = [_line(plain, plain, "landmark", cell, ()) for cell, row in rows.items() if row == UNPROTECTED]
    small = [cell for cell, row in rows.items() if cell.startswith(BUDGET) and row != UNPROTECTED]
    others = [cell for cell, row in rows.items() if cell not in small and row != UNPROTECTED]
    beside = [cell for cell in others if rows[cell] in (SIFTFUNNEL, ARCHITECTURE)] if small else []
    usual = ranked([_line(plain, plain, "usual", cell, losses) for cell in others], settings.rank_at)
    budget = ranked([_line(bare, plain, "budget", cell, losses) for cell in [*small, *beside]], settings.rank_at)
    swept = sum(line["settings"] > 1 for line in usual)
    summary = (
        f"Ranked by the PSNR of the strongest attack where {_points(settings.rank_at)} of accuracy are lost against "
        f"the unprotected row; lower is better: less of the image leaks. {swept} of {len(usual)} defenses have more "
        "than one measured setting."
    )
    same_edge = [BUDGETED, "", *_block(numbers, [*budget, *landmarks], settings, True)] if budget else []
    alone = [TRIED, "", *_tried(numbers, usual, settings)]
    alone += ["", HERE, "", *_tried(numbers, budget, settings)] if budget else []
    text = md.document(
        "Leaderboard: what leaks at equal accuracy",
        caption(params.scale, numbers),
        [summary, "", *_block(numbers, [*usual, *landmarks], settings), *md.bullets(_rules(settings))],
        *([["## At SiftFunnel's edge", "", *same_edge]] if budget else []),
        ["## Measured settings alone", "", *alone],
        ["## Notes", "", *md.bullets(_notes(numbers))],
    )
    own = {line["row"]: line for line in [*budget, *usual, *landmarks]}  # SiftFunnel's as in the usual block
    metrics = {cell: {k: v for k, v in own[cell].items() if k.startswith(METRICS)} for cell in numbers.cells}
    return Table(metrics, [*usual, *budget, *landmarks], text)


def _line(measured: Measured, plain: Measured, block: str, cell: str, losses: Sequence[float]) -> Flat:
    """A row's CSV line: what it leaks at each loss of accuracy, its own setting, and the best measured settings.

    ``plain``: what is lost against unprotected rows.
    """
    numbers, row, points = measured.numbers, measured.row, measured.settings(cell)
    attack = attacks.best(numbers, cell)
    leaks, behind = {}, {}
    for lost in losses:
        value, (least, psnr), at = measured.value(cell, lost), best(points, lost) or (None, None), f"at_{lost:g}"
        leaks |= {f"psnr_db_{at}": value.number, f"psnr_db_{at}_kind": value.kind}
        behind |= {f"apart_{at}": value.apart, f"least_lost_{at}": value.least}
        behind |= {f"measured_psnr_db_{at}": psnr, f"measured_lost_{at}": least}
    return {
        **identity(numbers, cell),
        "block": block,
        **({"rank": None, **leaks, "settings": len(points)} if losses else {}),
        **({"same_edge_change_points": measured.change(cell)} if row != UNPROTECTED else {}),
        "accuracy_change_points": plain.change(cell),
        "strongest_psnr_db": numbers.number(cell, "strongest", "psnr_db"),
        "strongest_attack": attack and attacks.title(numbers, cell, attack),
        "above_floor_db": numbers.number(cell, "strongest", "gain_db"),
        **{key: numbers.number(cell, "target", key) for key in ("edge_parameters", "z_bytes")},
        **{"lost_against": row, "plain": measured.plain(cell), **behind},
        "absent": "" if points else measured.why(cell),
    }


def ranked(lines: Sequence[Flat], lost: float) -> list[Flat]:
    """Lines with their ranks, best first, by what leaks at a loss of accuracy; those equal for readers share a rank.

    Behind them those that always lose more, by the fewest points that they lose; at the end and without a rank those
    without a point.
    """

    def place(line: Flat) -> tuple[int, float]:
        psnr, least = line[f"psnr_db_at_{lost:g}"].value, line[f"least_lost_at_{lost:g}"]
        if psnr is not None:
            return 0, round(psnr, DECIMALS)
        return (2, 0.0) if least is None else (1, round(least, 1))

    places = sorted(map(place, lines))
    ordered = sorted(lines, key=place)
    return [line | {"rank": None if place(line)[0] == 2 else 1 + places.index(place(line))} for line in ordered]


def _points(lost: float) -> str:
    """Points of accuracy, in words."""
    return f"{lost:g} point{'' if lost == 1 else 's'}"


def _block(numbers: Numbers, lines: Sequence[Flat], settings: Settings, same_edge: bool = False) -> list[str]:
    """One line per row; those without a rank of their own, and the floors, are landmarks.

    ``same_edge``: the rows' losses are counted from their common edge, which has a column of its own.
    """
    notes, ranked = md.Notes(), [line["row"] for line in lines if line["block"] != "landmark"]
    names = md.named(md.marked(numbers, md.labels(numbers, ranked)))
    header = ["Rank", "Defense", *(f"{_points(lost)} lost, dB" for lost in settings.losses), "Settings"]
    header += ["Own change from this edge, points"] if same_edge else []
    header += ["Own change from unprotected, points" if same_edge else "Own change, points"]
    header += ["Own strongest, dB", "Strongest attack", "Above the floor, dB", "Edge parameters", "z, bytes"]
    shown, blank = [], [""] * (len(settings.losses) + 1 + same_edge)

    def value(line: Flat, at: str) -> str:
        """What leaks at a loss of accuracy, with its mark."""
        if line[f"psnr_db_{at}_kind"] == MISSED:
            # a tie as in the change of accuracy beside it
            return f"{ATLEAST} {md.number(line[f'least_lost_{at}'] - TIE, 1)} lost"
        if line[f"psnr_db_{at}_kind"] == ABSENT:
            return notes.absent(line["absent"])
        bound = line[f"psnr_db_{at}_kind"] == BOUND
        mark = ATMOST if bound else WIDE if line[f"apart_{at}"] > settings.apart else ""
        return f"{mark} {md.number(line[f'psnr_db_{at}'], DECIMALS)}".strip()

    for line in lines:
        cell = line["row"]
        if line["block"] == "landmark":
            named = md.marked(numbers, {cell: line["title"] + md.stopped(numbers, cell)})
            texts = ["", f"*{md.words(named[cell])}*", *blank, md.NONE]
        else:
            texts = [md.NONE if line["rank"] is None else str(line["rank"]), names[cell]]
            texts += [value(line, f"at_{lost:g}") for lost in settings.losses]
            texts.append(str(line["settings"]) + (" + plain" if line["plain"] is not None else ""))
            changes = ["same_edge_change_points"] * same_edge + ["accuracy_change_points"]
            texts += [notes.absent(c.reason) if c.value is None else md.signed(c, 1) for c in map(line.get, changes)]
        # where the strongest failed, all did
        failed = attacks.failed(numbers, cell) == len(attacks.all_of(numbers, cell))
        texts.append(notes.value(line["strongest_psnr_db"], DECIMALS) + (md.DAGGER if failed else ""))
        texts += [line["strongest_attack"] or md.NONE, notes.value(line["above_floor_db"], DECIMALS)]
        shown.append([*texts, *(notes.value(line[key], 0) for key in ("edge_parameters", "z_bytes"))])
    for label, cell, name in attacks.floors(numbers):
        if name == "mean_image":
            floor = notes.value(numbers.number(cell, f"floor mle {name}", "psnr_db"), DECIMALS)
            shown.append(["", f"*Floor: {label}*", *blank, "", floor, *[""] * 4])
    failed = any(md.DAGGER in text for texts in shown for text in texts)
    return notes.table(header, shown, *[md.FAILED] * failed, left=2)


def _tried(numbers: Numbers, lines: Sequence[Flat], settings: Settings) -> list[str]:
    """The best measured setting of each row at each loss, nothing interpolated."""
    names, shown = md.named(md.marked(numbers, md.labels(numbers, [line["row"] for line in lines]))), []
    for line in lines:
        shown.append([names[line["row"]], str(line["settings"])])
        for lost in settings.losses:
            psnr, own = (line[f"measured_{key}_at_{lost:g}"] for key in ("psnr_db", "lost"))
            shown[-1].append(md.NONE if psnr is None else f"{md.number(psnr, DECIMALS)} ({0.0 - own:+.1f})")
    return md.grid(["Defense", "Settings", *(f"at most {_points(lost)} lost, dB" for lost in settings.losses)], shown)


def _rules(settings: Settings) -> list[str]:
    """How a value comes about, and its marks."""
    return [
        "A setting of a defense is a point: accuracy lost against the unprotected row (at SiftFunnel's edge: against "
        "that edge), PSNR of the strongest attack. *Settings* counts them: the one of Table II and those of the sweep "
        "in `params.yaml` that have been run.",
        "At a given loss of accuracy, the value lies on the straight line between the two settings that are neighbors "
        "in accuracy; of settings with the same accuracy the more private one counts. A defense with several knobs has "
        "such a line for each, and the more private value counts.",
        "*+ plain*: the network without the defense counts as one more point where each setting loses more than it. A "
        "defense that leaves the edge's layers as they are is taken to become this network as its knob goes to zero; "
        "one that changes them has no such point.",
        f"{WIDE}: the two neighbors are more than {_points(settings.apart)} apart, so the straight line is a guess.",
        f"{ATMOST}: all settings lose less; this is the lowest PSNR among them, an upper bound, and ranks as such.",
        f"{ATLEAST}: all settings lose more; this is the fewest points that one loses. Such rows rank last, by it.",
        f"{AT_CHANCE} Such a setting is no point.",
        f"Rows that agree to {DECIMALS} decimals share a rank; those that differ by less than their spreads may change "
        "places with other seeds.",
    ]


def _notes(numbers: Numbers) -> list[str]:
    """What was the same for all, what the columns mean, and how much chance is in them."""
    several = any(len(numbers.seeds(cell)) > 1 for cell in numbers.cells)
    chance = (
        "± is the standard deviation over seeds, each with its own unprotected network and, where they ran with it, "
        "its own points of the sweep; a value without it is not of the same kind in every seed."
        if several
        else "One seed: how far another one would move a value is not known, so small differences rank nothing."
    )
    return [
        "*Own*: at the setting of Table II. *Strongest attack*: the one with the highest mean PSNR there, among all "
        "decoders and MLE variants. *Above the floor*: by how much it beats answering the mean auxiliary image, on the "
        "images that it was given; near 0, it recovered nothing.",
        "Every row meets the same attacks, with the same images, epochs, steps and trials, each fitted to this row; "
        "gray-box decoders where the architecture changes, repeated queries where what is sent is random. Another "
        "attacker may get more out of a row, and change the order.",
        untuned(numbers),
        chance,
    ]
