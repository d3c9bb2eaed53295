"""The leaderboard's page: ranked blocks, the settings behind them without interpolation, and the rule in words."""

from collections.abc import Sequence

from splitprobe.report import matched
from splitprobe.report.markdown import DAGGER, FAILED, NONE, Notes, grid, number, signed
from splitprobe.report.matched import BOUND, MISSED, Value
from splitprobe.report.remarks import untuned
from splitprobe.report.results import Results, labels
from splitprobe.report.scores import FLOORS, NO_ATTACK, attacks, failed_attacks, floors, strongest_attack
from splitprobe.report.standings import DECIMALS, Entry, Ranked, Settings

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


def points(lost: float) -> str:
    """Points of accuracy, in words."""
    return f"{lost:g} point{'' if lost == 1 else 's'}"


def summary(entries: Ranked, settings: Settings) -> str:
    """What the rank means, and how much it rests on."""
    swept = sum(len(e.measured) > 1 for _, e in entries)
    return (
        f"Ranked by the PSNR of the strongest attack where {points(settings.rank_at)} of accuracy are lost against the "
        f"unprotected row; lower is better: less of the image leaks. {swept} of {len(entries)} defenses have more than "
        "one measured setting."
    )


def block(entries: Ranked, landmarks: Sequence[Entry], settings: Settings, same_edge: bool = False) -> list[str]:
    """One line per entry; then, as landmarks, other rows and the floors.

    ``same_edge``: the entries' losses are counted from their common edge, which has a column of its own.
    """
    notes, names = Notes(), labels([e.r for _, e in entries])
    header = ["Rank", "Defense", *(f"{points(lost)} lost, dB" for lost in settings.losses), "Settings"]
    header += ["Own change from this edge, points"] if same_edge else []
    header += ["Own change from unprotected, points" if same_edge else "Own change, points"]
    header += ["Own strongest, dB", "Strongest attack", "Above the floor, dB", "Edge parameters", "z, bytes"]
    lines = []
    for rank, e in entries:
        found = [_value(notes, e, e.values[lost], settings.apart) for lost in settings.losses]
        found.append(str(len(e.measured)) + (" + plain" if e.plain is not None else ""))
        found += [_moved(notes, e, e.here)] if same_edge else []
        lines.append([NONE if rank is None else str(rank), names[e.r.cell], *found, *_own(notes, e)])
    blank = [""] * (len(settings.losses) + 1 + same_edge)
    lines += [["", f"*{e.r.title}*", *blank, NONE, *_own(notes, e)[1:]] for e in landmarks]
    for label, scores, _ in floors([e.r for _, e in entries]):
        if label.startswith(FLOORS["mean_image"]):
            floor = notes.value(scores, "psnr_db", DECIMALS)
            lines.append(["", f"*Floor: {label}*", *blank, "", floor, *[""] * 4])
    failed = [FAILED, ""] if any(DAGGER in cell for line in lines for cell in line) else []
    return [*grid(header, lines, left=2), "", *failed, *notes.lines()]


def _value(notes: Notes, e: Entry, value: Value, apart: float) -> str:
    """A value with its mark."""
    if value.kind == MISSED:
        # a tie as in the change of accuracy beside it
        return f"{ATLEAST} {number(value.least - TIE, 1)} lost"
    if value.psnr_db is None:
        return notes.absent(e.why)
    mark = ATMOST if value.kind == BOUND else WIDE if value.apart > apart else ""
    return f"{mark} {number(value.psnr_db, DECIMALS)}".strip()


def _own(notes: Notes, e: Entry) -> list[str]:
    """The columns at a row's own setting."""
    attack = strongest_attack(e.r)
    scores = [notes.absent(NO_ATTACK) if db is None else number(db, DECIMALS) for db in (e.strongest, e.above)]
    # the strongest failed, so all did
    scores[0] += DAGGER if failed_attacks(e.r) == len(attacks(e.r)) else ""
    sizes = [notes.value(e.r["target"], key, 0) for key in ("edge_parameters", "z_bytes")]
    return [_moved(notes, e, e.change), scores[0], NONE if attack is None else attack[0], scores[1], *sizes]


def _moved(notes: Notes, e: Entry, change: float | None) -> str:
    """A change of accuracy."""
    return notes.absent(e.why) if change is None else signed(change, 1)


def tried(entries: Ranked, settings: Settings) -> list[str]:
    """The best measured setting of each entry at each loss, nothing interpolated."""
    names, lines = labels([e.r for _, e in entries]), []
    for _, e in entries:
        found = [matched.best(e.measured, lost) for lost in settings.losses]
        texts = [NONE if p is None else f"{number(p.psnr_db, DECIMALS)} ({-p.lost:+.1f})" for p in found]
        lines.append([names[e.r.cell], str(len(e.measured)), *texts])
    header = ["Defense", "Settings", *(f"at most {points(lost)} lost, dB" for lost in settings.losses)]
    return grid(header, lines)


def rules(settings: Settings) -> list[str]:
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
        f"{WIDE}: the two neighbors are more than {points(settings.apart)} apart, so the straight line is a guess.",
        f"{ATMOST}: all settings lose less; this is the lowest PSNR among them, an upper bound, and ranks as such.",
        f"{ATLEAST}: all settings lose more; this is the fewest points that one loses. Such rows rank last, by it.",
        f"Rows that agree to {DECIMALS} decimals share a rank; those that differ by less than their spreads may change "
        "places with other seeds.",
    ]


def notes(results: Sequence[Results]) -> list[str]:
    """What was the same for all, what the columns mean, and how much chance is in them."""
    seeds = max(len(r.seeds) for r in results)
    chance = (
        "± is the standard deviation over seeds, how many in brackets, each with its own unprotected network and, "
        "where they ran with it, its own points of the sweep; a value without it is not of the same kind in every seed."
        if seeds > 1
        else "One seed: how far another one would move a value is not known, so small differences rank nothing."
    )
    return [
        "*Own*: at the setting of Table II. *Strongest attack*: the one with the highest mean PSNR there, among all "
        "decoders and MLE variants. *Above the floor*: by how much it beats answering the mean auxiliary image, on the "
        "images that it was given; near 0, it recovered nothing.",
        "Every row meets the same attacks, with the same images, epochs, steps and trials, each fitted to this row; "
        "gray-box decoders where the architecture changes, repeated queries where what is sent is random. Another "
        "attacker may get more out of a row, and change the order.",
        untuned(results),
        chance,
    ]
