"""The leaderboard: defenses ranked by what the strongest attack gets where each costs the same accuracy.

Not a table of the paper, which compares rows at whatever accuracy they end up with; ``matched`` has the rule. Rows of
the group ``budget``, defenses on SiftFunnel's edge, are ranked among themselves, with SiftFunnel beside them, by what
each costs on top of that edge.
"""

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import leaderboard_page as page
from splitprobe.report import matched, sweeps
from splitprobe.report.markdown import bullets, document
from splitprobe.report.matched import ARCHITECTURE, BUDGET, READ
from splitprobe.report.remarks import caption
from splitprobe.report.results import UNPROTECTED, Results, collect
from splitprobe.report.scores import SIFTFUNNEL, strongest_attack
from splitprobe.report.standings import Entry, Settings, entry, ranked
from splitprobe.report.table import Flat, Table, spread

STAGES = ("target", "generator", "mle")


def build(params: Params, paths: Paths) -> Table:
    """The leaderboard of the cells that ``rows.leaderboard`` lists; unprotected ones are landmarks without a rank.

    Raises ParamsError as ``collect`` does, and for settings that do not fit together.
    """
    settings = Settings.from_params(params)
    results, points = collect(params, paths, "leaderboard", STAGES), sweeps.points(paths)
    parts = {part: [r for r in results if _part(r) == part] for part in ("landmark", "usual", "budget")}
    landmarks = [entry(results, r, points, settings.losses) for r in parts["landmark"]]
    usual = ranked([entry(results, r, points, settings.losses) for r in parts["usual"]], settings.rank_at)
    funnels = [r for r in parts["usual"] if r.row in (SIFTFUNNEL, ARCHITECTURE)]
    small = [*parts["budget"], *funnels] if parts["budget"] else []
    budget = ranked([entry(results, r, points, settings.losses, ARCHITECTURE) for r in small], settings.rank_at)
    same_edge = ["## At SiftFunnel's edge", "", page.BUDGETED, "", *page.block(budget, landmarks, settings, True)]
    alone = ["## Measured settings alone", "", page.TRIED, "", *page.tried(usual, settings)]
    alone += ["", page.HERE, "", *page.tried(budget, settings)] if budget else []
    once = [place for place in budget if _part(place[1].r) == "budget"]
    text = document(
        "Leaderboard: what leaks at equal accuracy",
        caption(params.scale, results),
        [page.summary(usual, settings), "", *page.block(usual, landmarks, settings), *bullets(page.rules(settings))],
        *([same_edge] if budget else []),
        alone,
        ["## Notes", "", *bullets(page.notes(results))],
    )
    lines = [_line("usual", rank, e) for rank, e in usual] + [_line("budget", rank, e) for rank, e in budget]
    lines += [_line("landmark", None, e) for e in landmarks]
    found = {e.r.cell: _row(rank, e) for rank, e in [*usual, *once, *((None, e) for e in landmarks)]}
    return Table({r.cell: found[r.cell] for r in results}, lines, text)


def _part(r: Results) -> str:
    """Which block a row belongs to."""
    return "landmark" if r.row == UNPROTECTED else "budget" if r.cell.startswith(BUDGET) else "usual"


def _row(rank: int | None, e: Entry) -> Flat:
    """A row's JSON; the unprotected one has no rank and loses nothing."""
    target, attack, made = e.r["target"], strongest_attack(e.r), {}
    if _part(e.r) != "landmark":
        made["rank"] = rank
        for lost, value in e.values.items():
            key = f"psnr_db_at_{lost:g}"
            made |= {key: value.psnr_db, f"{key}_kind": value.kind}
        made["settings"] = len(e.measured)
    if _part(e.r) == "budget":
        made["same_edge_change_points"] = e.here
    made |= {"accuracy_change_points": e.change, "strongest_psnr_db": e.strongest}
    made |= {"strongest_attack": None if attack is None else attack[0], "above_floor_db": e.above}
    return spread(made) | {key: target[key] for key in ("edge_parameters", "z_bytes")}


def _line(block: str, rank: int | None, e: Entry) -> Flat:
    """A CSV line: the JSON's numbers, what they come from, and the best measured settings."""
    line = {**e.r.identity("target"), "block": block, **_row(rank, e)}
    line["lost_against"] = e.row
    line["plain"] = None if e.plain is None else e.plain.cell
    if block != "landmark":
        for lost, value in e.values.items():
            best = matched.best(e.measured, lost)
            line[f"apart_at_{lost:g}"] = value.apart if value.kind == READ else None
            line[f"least_lost_at_{lost:g}"] = value.least
            line[f"measured_psnr_db_at_{lost:g}"] = None if best is None else best.psnr_db
            line[f"measured_lost_at_{lost:g}"] = None if best is None else best.lost
    line["absent"] = "" if e.measured else e.why
    return line
