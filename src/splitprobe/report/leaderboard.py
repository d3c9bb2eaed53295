"""The leaderboard: defenses ranked by what the strongest attack gets where each costs the same accuracy.

Not a table of the paper, which compares rows at whatever accuracy they end up with; ``matched`` has the rule. Rows of
the group ``budget``, defenses on SiftFunnel's edge, are ranked among themselves, with SiftFunnel beside them.
"""

from splitprobe.cells import Paths
from splitprobe.params import Params
from splitprobe.report import leaderboard_page as page
from splitprobe.report import matched, sweeps
from splitprobe.report.markdown import bullets, document
from splitprobe.report.matched import ARCHITECTURE, BUDGET, READ
from splitprobe.report.remarks import caption
from splitprobe.report.results import collect
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
    entries = [entry(results, r, points, settings.losses) for r in results]
    landmarks, small, rest = ([e for e in entries if _part(e) == part] for part in ("landmark", "budget", "usual"))
    usual = ranked(rest, settings.rank_at)
    funnels = [e for e in rest if e.r.row in (SIFTFUNNEL, ARCHITECTURE)]
    budget = ranked([*small, *funnels], settings.rank_at) if small else []
    same_edge = ["## At SiftFunnel's edge", "", page.BUDGETED, "", *page.block(budget, landmarks, settings)]
    only_once = [*usual, *(place for place in budget if _part(place[1]) == "budget")]
    text = document(
        "Leaderboard: what leaks at equal accuracy",
        caption(params.scale, results),
        [page.summary(usual, settings), "", *page.block(usual, landmarks, settings), *bullets(page.rules(settings))],
        *([same_edge] if small else []),
        ["## Measured settings alone", "", page.TRIED, "", *page.tried(only_once, settings)],
        ["## Notes", "", *bullets(page.notes(results))],
    )
    ranks = {e.r.cell: rank for rank, e in only_once}
    lines = [_line("usual", rank, e) for rank, e in usual] + [_line("budget", rank, e) for rank, e in budget]
    lines += [_line("landmark", None, e) for e in landmarks]
    return Table({e.r.cell: _row(ranks.get(e.r.cell), e) for e in entries}, lines, text)


def _part(e: Entry) -> str:
    """Which block a row belongs to."""
    return "landmark" if e.r.row == "unprotected" else "budget" if e.r.cell.startswith(BUDGET) else "usual"


def _row(rank: int | None, e: Entry) -> Flat:
    """A row's JSON; the unprotected one has no rank and loses nothing."""
    target, attack, made = e.r["target"], strongest_attack(e.r), {}
    if _part(e) != "landmark":
        made["rank"] = rank
        for lost, value in e.values.items():
            key = f"psnr_db_at_{lost:g}"
            made |= {key: value.psnr_db, f"{key}_kind": value.kind}
        made["settings"] = len(e.measured)
    made |= {"accuracy_change_points": e.change, "strongest_psnr_db": e.strongest}
    made |= {"strongest_attack": None if attack is None else attack[0], "above_floor_db": e.above}
    return spread(made) | {key: target[key] for key in ("edge_parameters", "z_bytes")}


def _line(block: str, rank: int | None, e: Entry) -> Flat:
    """A CSV line: the JSON's numbers, what they come from, and the best measured settings."""
    line = {**e.r.identity("target"), "block": block, **_row(rank, e)}
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
