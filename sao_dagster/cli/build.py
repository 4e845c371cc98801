"""`sao plan`, `sao build`, `sao test`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sao_dagster.cli.common import (
    COLOURS,
    FAILED,
    OK,
    VERDICTS,
    AsJson,
    Exclude,
    Force,
    FullRefresh,
    NoTests,
    Now,
    ProjectDir,
    Request,
    Select,
    Target,
    Threads,
    Vars,
    VerifyProofs,
    coloured,
    mode_of,
    people,
    print_json,
    run_command,
    selection_of,
    shown_url,
)
from sao_dagster.core.decide_test import TestOutcome
from sao_dagster.core.explain import explain
from sao_dagster.core.messages import Level, Message
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.selection import Selection
from sao_dagster.run.events import Event, ModelResult, Started, TestResult
from sao_dagster.run.report import RunResult, plan_to_json

if TYPE_CHECKING:
    from sao_dagster.sql_project import SqlProject

app = typer.Typer()


@app.command()
def plan(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    force: Force = False, full_refresh: FullRefresh = False, threads: Threads = None, no_tests: NoTests = False,
    now: Now = None, as_json: AsJson = False, variables: Vars = None,
) -> None:  # fmt: skip
    """Show what a build would do, and why, without building anything."""
    request = Request(project_dir, target, variables, now, threads, as_json)

    def action() -> int:
        """Print the plan, and return the exit status."""
        opened = request.open()
        selection = selection_of(opened, select, exclude, tests=not no_tests)
        planned, seen = request.runner(opened).plan(selection, mode_of(force=force, full_refresh=full_refresh))
        broken = opened.project.broken
        wrong = [f"{name}: {broken[name]}" for name in (*selection.sources, *selection.tests) if name in broken]
        if as_json:
            shown = plan_to_json(opened.project, planned, seen.seconds, seen.facts.records)
            print_json({**shown, "state": shown_url(opened), "errors": wrong})
        else:
            table = Table("model", "would be", "because", box=None, header_style="bold")
            for name, decision in planned.decisions.items():
                table.add_row(name, coloured(decision.outcome.value, COLOURS), escape(explain(decision)))
            Console(highlight=False).print(table)
            tests = [each.outcome for each in planned.tests.values()]
            counts = Counter(each.outcome for each in planned.decisions.values())
            bad = "".join(
                f", {counts[each]} {each.value}" for each in (Outcome.SKIPPED, Outcome.FAILED) if counts[each]
            )
            people().print(
                f"{counts[Outcome.BUILT]} to build, {counts[Outcome.REUSED]} to reuse{bad}; "
                f"{tests.count(TestOutcome.RAN)} tests to run, {tests.count(TestOutcome.PROVEN)} proven, "
                f"{tests.count(TestOutcome.REUSED)} to reuse "
                f"[dim]({planned.environment} in {shown_url(opened)})[/]"
            )
        _tell(opened, selection, planned.warnings)
        _tell_errors(wrong)
        fails = any(each.outcome in (Outcome.FAILED, Outcome.SKIPPED) for each in planned.decisions.values())
        return FAILED if fails or wrong else OK

    run_command(request, action)


@app.command()
def build(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    force: Force = False, full_refresh: FullRefresh = False, threads: Threads = None, no_tests: NoTests = False,
    now: Now = None, as_json: AsJson = False, variables: Vars = None, verify_proofs: VerifyProofs = False,
) -> None:  # fmt: skip
    """Build the models whose result would change, and run the data tests whose verdict could."""
    request = Request(project_dir, target, variables, now, threads, as_json)

    def action() -> int:
        opened = request.open()
        selection = selection_of(opened, select, exclude, tests=not no_tests)
        mode = mode_of(force=force, full_refresh=full_refresh)
        return _run(request, opened, selection, mode, verify_proofs=verify_proofs)

    run_command(request, action)


@app.command("test")
def test_command(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    force: Force = False, threads: Threads = None, now: Now = None, as_json: AsJson = False, variables: Vars = None,
    verify_proofs: VerifyProofs = False,
) -> None:  # fmt: skip
    """Run the data tests whose verdict could have changed, without building anything."""
    request = Request(project_dir, target, variables, now, threads, as_json)

    def action() -> int:
        opened = request.open()
        selection = selection_of(opened, select, exclude)
        broken = tuple(name for name in selection.nodes if name in opened.project.broken)
        selection = replace(selection, nodes=broken)  # which say why their tests are skipped
        mode = mode_of(force=force, full_refresh=False)
        return _run(request, opened, selection, mode, verify_proofs=verify_proofs)

    run_command(request, action)


def _run(request: Request, opened: SqlProject, selection: Selection, mode: Mode, *, verify_proofs: bool) -> int:
    """Run a selection with its progress on standard error, print what it did, and return the exit status."""
    _tell(opened, selection, ())
    console = people()
    with console.status("observing") as status:
        running: dict[str, None] = {}

        def show(event: Event) -> None:
            if isinstance(event, Started):
                running[event.model] = None
            if isinstance(event, ModelResult):
                running.pop(event.name, None)
            status.update("building " + ", ".join(running) if running else "deciding")
            line = _line(event)
            if line is not None and not request.as_json:
                console.print(line, soft_wrap=True)

        runner = replace(request.runner(opened), verify_proofs=verify_proofs)
        result = runner.run(selection, mode, on_event=show)
    if request.as_json:
        print_json({**result.to_json(), "state": shown_url(opened)})
    else:
        _summary(result, shown_url(opened))
    return OK if result.succeeded else FAILED


def _line(event: Event) -> str | None:
    if isinstance(event, Message):
        return None if event.level is Level.LOG else f"[dim]{escape(event.text)}[/]"
    if isinstance(event, ModelResult):
        took = f" [dim]{event.seconds:.2f} s[/]" if event.decision.outcome is Outcome.BUILT else ""
        if event.decision.outcome is Outcome.FAILED:
            facts = event.decision.evidence
            words = escape(str(facts.get("error")).replace("\n", "\n    "))
            return f"[red]failed   {event.name}[/] [dim]{escape(str(facts.get('file')))}[/]\n    {words}"
        warnings = "".join(f"\n  [yellow]warning[/] {escape(text)}" for text in event.decision.warnings)
        shown = coloured(f"{event.decision.outcome.value:8s}", COLOURS, event.decision.outcome.value)
        return f"{shown} {event.name}{took}  [dim]{escape(explain(event.decision))}[/]{warnings}"
    if isinstance(event, TestResult) and event.verdict is not None and event.verdict.value != "pass":
        where = f" ({event.test.location})" if event.test.location else ""
        count = escape(event.error or f"{event.failures} failures")
        reused = " (reused)" if event.decision.outcome is TestOutcome.REUSED else ""
        return f"  {coloured(event.verdict.value, VERDICTS)} {event.test.name}: {count}{reused}[dim]{where}[/]"
    return None


def _summary(result: RunResult, state: str) -> None:
    """Print the last lines of a run for people: broken sources, counts by outcome, tests by how they were settled, and seconds."""
    _tell_errors(result.broken_sources)
    summary = result.summary()
    console = people()
    verdicts = [each.verdict.value for each in result.tests if each.verdict]
    bad = ", ".join(
        f"{coloured(f'{verdicts.count(v)} {v}', VERDICTS, v)}" for v in ("warn", "fail", "error") if v in verdicts
    )
    models = ", ".join(
        coloured(f"{summary[outcome.value]} {outcome.value}", COLOURS, outcome.value)
        for outcome in Outcome
        if summary[outcome.value] or outcome in (Outcome.BUILT, Outcome.REUSED)
    )
    console.print(f"\n[bold]models[/]  {models}")
    console.print(
        f"[bold]tests[/]   {summary['tests_ran']} ran in {summary['test_statements']} statements, "
        f"{summary['tests_proven']} proven, {summary['tests_reused']} reused{'; ' + bad if bad else ''}"
    )
    saved = float(str(summary["seconds_saved"]))
    estimate = f", saved about {saved:.1f} s" if saved > 0 else ""
    console.print(
        f"[bold]time[/]    {summary['seconds']} s{estimate}  [dim]run {result.run_id[:8]} in {result.environment}, state in {escape(state)}[/]"
    )


def _tell(opened: SqlProject, selection: Selection, warnings: tuple[str, ...]) -> None:
    """Print what the user should know of the project and of a selection, and what is broken outside of it."""
    console = people()
    selected = {*selection.nodes, *selection.tests, *selection.sources}
    broken = (f"{name} is broken: {error}" for name, error in opened.project.broken.items() if name not in selected)
    for notice in (*(str(each) for each in opened.project.notices), *broken, *warnings):
        console.print(f"[yellow]note[/]  {escape(notice)}", soft_wrap=True)


def _tell_errors(errors: Iterable[str]) -> None:
    for error in errors:
        people().print(f"[bold red]error[/] {escape(error)}", soft_wrap=True)
