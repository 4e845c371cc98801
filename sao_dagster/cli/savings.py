"""`sao savings`: what runs reused, over some days, by day, by job and by model; on the terminal, as JSON, and as a page."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sao_dagster.cli.common import OK, Request, run_command, shown_url
from sao_dagster.cli.options import AsJson, ProfilesDir, ProjectDir, StateUrl, Target, Vars
from sao_dagster.cli.terminal import Terminal, escaped, time_of
from sao_dagster.errors import StateError

if TYPE_CHECKING:
    from sao_dagster.run.savings import Savings, SavingsReport

app = typer.Typer()

WIDTH = 24  # characters of the widest bar
LISTED = 5  # models and data tests


@app.command()
def savings(
    project_dir: ProjectDir = Path(), target: Target = None, as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How many days to look back.")] = 30,
    html: Annotated[Path | None, typer.Option("--html", help="Write it as a page to a file, too.")] = None,
) -> None:  # fmt: skip
    """Add up what runs reused: models, data tests, and the seconds these took when they were last built or run."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        from sao_dagster.run.savings import SavingsReport
        from sao_dagster.run.settings import utc_now

        opened, now = request.open(), utc_now()
        since = now - timedelta(days=days)
        runs = opened.store.runs(opened.environment, since=since)
        totals = opened.store.decision_totals(opened.environment, since)
        report = SavingsReport.of(opened.environment, runs, totals, now, days)
        if as_json:
            each = [
                {"run_id": run.run_id, "started_at": run.started_at.isoformat(), "mode": run.mode, "job": run.job, **run.summary}
                for run in runs
            ]  # fmt: skip
            terminal.json(
                {
                    "environment": report.environment,
                    "total": asdict(report.whole),
                    "periods": {str(number): asdict(found) for number, found in report.periods.items()},
                    "days": {str(day): asdict(found) for day, found in report.days.items() if found.runs},
                    "jobs": {job: asdict(found) for job, found in report.jobs.items()},
                    "models": [asdict(model) for model in report.models],
                    "runs": each,
                }
            )
        else:
            _print(terminal, report)
        if html is not None:
            from sao_dagster.cli.savings_page import savings_page

            page = savings_page(report, shown_url(opened))
            try:
                html.write_text(page, encoding="utf-8")
            except OSError as error:
                raise StateError(f"{html} cannot be written: {error.strerror}") from error
            terminal.note(f"the page is in {escaped(str(html))}")
        return OK

    run_command(request, action)


def _print(terminal: Terminal, report: SavingsReport) -> None:
    """Print what was saved as tables: by period, by day with a bar, by job, and by model."""
    whole = report.whole
    terminal.say(
        f"[bold]{escaped(report.environment)}[/]: {100 * whole.share:.0f} % of {whole.built + whole.reused:,.0f} models reused, "
        f"{time_of(whole.seconds_saved)} saved [dim](an estimate)[/]",
        "",
    )

    def row(name: str, saved: Savings) -> tuple[str, ...]:
        counts = (saved.runs, saved.built, saved.reused, saved.cut_off, saved.tests_reused + saved.tests_proven)
        return (name, *(f"{each:,.0f}" for each in counts), time_of(saved.seconds_saved))

    headings = ("runs", "built", "reused", "cut off", "tests not run", "saved")
    terminal.table([row(f"{number} days", each) for number, each in report.periods.items()], ("last", *headings))
    widest = max((each.built + each.reused for each in report.days.values()), default=0) or 1
    rows = []
    for day, each in report.days.items():
        if each.runs:
            built, reused = (round(WIDTH * number / widest) for number in (each.built, each.reused))
            bar = f"[green]{'█' * built}[/][cyan]{'█' * reused}[/]"
            rows.append(
                (str(day), f"{each.built:,.0f} built, {each.reused:,.0f} reused", time_of(each.seconds_saved), bar)
            )
    terminal.say("")
    terminal.table(rows, ("day", "models", "saved", "[green]█ built[/] [cyan]█ reused[/]"))
    terminal.say("")
    terminal.table([row(escaped(job or "not named"), each) for job, each in report.jobs.items()], ("job", *headings))
    if top := report.savers[:LISTED]:
        terminal.say("")
        terminal.table(
            [(escaped(each.name), f"{each.built:,}", f"{each.reused:,}", time_of(each.seconds_saved)) for each in top],
            ("model or data test", "built", "reused", "saved"),
        )
