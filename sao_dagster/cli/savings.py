"""`sao savings`: what runs reused, run by run, day by day, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sao_dagster.cli.common import OK, Request, run_command
from sao_dagster.cli.options import AsJson, ProfilesDir, ProjectDir, StateUrl, Target, Vars
from sao_dagster.cli.terminal import Terminal
from sao_dagster.core.messages import local_time
from sao_dagster.core.policy import describe_duration
from sao_dagster.state.protocol import RunRecord

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

app = typer.Typer()

KEYS = ("built", "reused", "tests_ran", "tests_reused", "seconds", "seconds_saved")
WIDTH = 24  # characters of the widest bar


@app.command()
def savings(
    project_dir: ProjectDir = Path(), target: Target = None, as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
    last: Annotated[int, typer.Option("--last", min=1, help="How many runs to look back.")] = 100,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write the picture to a file, too.")] = None,
) -> None:  # fmt: skip
    """Add up what the last runs reused: models, tests, and the seconds these took when they were last built."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        opened = request.open()
        runs = opened.store.runs(opened.environment, last)
        total = _sum([run.summary for run in runs])
        if as_json:
            each = [
                {"run_id": run.run_id, "started_at": run.started_at.isoformat(), "mode": run.mode, **run.summary}
                for run in runs
            ]
            terminal.json({"environment": opened.environment, "total": total, "runs": each})
        else:
            terminal.results.print(_table(runs, total))
            terminal.results.print(picture(runs, opened.environment))
        if svg is not None:
            from rich.console import Console

            recorded = Console(record=True, width=100, file=StringIO(), highlight=False, force_terminal=True)
            recorded.print(picture(runs, opened.environment))
            recorded.save_svg(str(svg), title=f"sao savings: {opened.environment}")
        return OK

    run_command(request, action)


def _sum(summaries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {key: round(sum(float(str(each.get(key, 0))) for each in summaries), 3) for key in KEYS}


def _table(runs: Sequence[RunRecord], total: Mapping[str, float]) -> Table:
    from rich.table import Table

    headings = ("started", "mode", "built", "reused", "tests run", "tests reused", "seconds", "saved (estimate)")
    table = Table(*headings, box=None)
    for run in runs:
        values = [str(run.summary.get(key, 0)) for key in KEYS]
        table.add_row(local_time(run.started_at), run.mode, *values)
    table.add_section()
    table.add_row("together", "", *(f"{value:g}" for value in total.values()))
    return table


def picture(runs: Sequence[RunRecord], environment: str) -> Group:
    """Return a bar for each day: models built and reused, with the seconds that were saved.

    Args:
        runs: Runs, newest first.
        environment: Where they built.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    days: dict[str, list[Mapping[str, Any]]] = {}
    for run in reversed(runs):
        days.setdefault(run.started_at.date().isoformat(), []).append(run.summary)
    sums = {day: _sum(summaries) for day, summaries in days.items()}
    widest = max((each["built"] + each["reused"] for each in sums.values()), default=0) or 1
    table = Table("day", "runs", "models", "", "saved (estimate)", box=None)
    for day, each in sums.items():
        built, reused = (round(WIDTH * each[key] / widest) for key in ("built", "reused"))
        bar = Text.assemble(("█" * built, "green"), ("█" * reused, "blue"))
        counts = f"{each['built']:g} built, {each['reused']:g} reused"
        table.add_row(day, str(len(days[day])), bar, counts, _seconds(each["seconds_saved"]))
    together = _sum(list(sums.values()))
    decided = together["built"] + together["reused"]
    share = 100 * together["reused"] / decided if decided else 0
    title = Text.assemble(
        (environment, "bold"), f": {share:.0f} % of {decided:g} models reused, {_seconds(together['seconds_saved'])} saved   ",
        ("█ built ", "green"), ("█ reused", "blue"),
    )  # fmt: skip
    return Group(Text(), title, table)


def _seconds(seconds: float) -> str:
    if seconds >= 60:
        return describe_duration(timedelta(seconds=seconds))
    return f"{seconds:.1f} s"
