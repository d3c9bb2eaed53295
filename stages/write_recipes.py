"""Stage ``write_recipes``: settings and code of every other stage, a small file each. It takes no arguments."""

import own_sources  # noqa: F401

from splitprobe.core.params import ParamsError
from splitprobe.core.recipe import Study
from splitprobe.core.runtime import run_stage


def main(arguments: list[str]) -> None:
    """Read all of params.yaml, then write data/<scale>/recipes/<script>/<key>.json."""
    if arguments:
        raise ParamsError(f"no argument is needed, not {arguments}: python stages/write_recipes.py")
    study = Study()

    def check() -> None:
        # imported late: torch takes seconds, and is not needed where nothing has changed
        from splitprobe.probes.preflight import preflight
        from splitprobe.report import leaderboard, statistics

        preflight(study, {"leaderboard": leaderboard.Settings, "criterion": statistics.Settings})

    study.checked("write_recipes", check)
    study.write()


if __name__ == "__main__":
    run_stage(main)
