"""`sao plan`, `sao build`, `sao test`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sao_dagster.cli.common import (
    FAILED,
    OK,
    Request,
    mode_of,
    or_default,
    run_command,
    selection_of,
    shown_environment,
    shown_url,
)
from sao_dagster.cli.options import (
    AsJson,
    Command,
    Defer,
    Exclude,
    FavorState,
    Force,
    FullRefresh,
    IndirectSelection,
    NoTests,
    Now,
    ProfilesDir,
    ProjectDir,
    Quiet,
    Select,
    State,
    StateUrl,
    Target,
    Threads,
    Vars,
    Verbose,
    VerifyProofs,
)
from sao_dagster.cli.progress import Progress
from sao_dagster.cli.results import Failures, plan_summary, rows_of, rows_of_tests, summary_of, tree_of
from sao_dagster.cli.terminal import Terminal
from sao_dagster.core.indirect_selection import Indirect
from sao_dagster.core.project import Notice
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.selection import Selection
from sao_dagster.run.events import Event, Planned
from sao_dagster.run.missing import with_missing_inputs
from sao_dagster.run.report import RunResult, plan_to_json

if TYPE_CHECKING:
    from sao_dagster.run.runner import Runner
    from sao_dagster.sql_project import SqlProject

app = typer.Typer()

LOOKING = "looking at what is there"


@app.command(cls=Command)
def plan(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    force: Force = False, full_refresh: FullRefresh = False, threads: Threads = None, no_tests: NoTests = False,
    now: Now = None, as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None, quiet: Quiet = False, verbose: Verbose = False,
    defer: Defer = None, favor_state: FavorState = False, state: State = None,
    indirect_selection: IndirectSelection = Indirect.EAGER,
    tree: Annotated[bool, typer.Option("--tree", help="Show each model below what it reads, not by what becomes of it.")] = False,
) -> None:  # fmt: skip
    """Show what a build would do, and why, without building anything."""
    terminal = Terminal(as_json, quiet, verbose)
    request = Request(
        project_dir, target, variables, now, threads, terminal, profiles_dir, state_url, defer, favor_state, state
    )

    def action() -> int:
        """Print the plan, and return the exit status."""
        with Progress(terminal) as progress:
            opened = request.open(progress.read)
            selection = selection_of(
                opened,
                or_default(opened, select, exclude),
                exclude,
                tests=not no_tests,
                state=state,
                indirect=indirect_selection,
            )
            tell_of_project(terminal, opened, selection)
            progress.begin(LOOKING)
            mode = mode_of(force=force, full_refresh=full_refresh)
            planned, seen = request.runner(opened).plan(selection, mode, on_message=progress.note)
            planned = with_missing_inputs(planned, opened.project, seen)
        broken = opened.project.broken
        wrong = [f"{name}: {broken[name]}" for name in (*selection.sources, *selection.tests) if name in broken]
        if as_json:
            shown = plan_to_json(opened.project, planned, seen.seconds, seen.facts.records)
            terminal.json({**shown, "state": shown_url(opened), "errors": wrong})
        elif quiet:
            failing = [each for each in planned.decisions.values() if each.outcome is Outcome.FAILED]
            terminal.table([*rows_of(failing, {}, terminal)])
        else:
            if tree:
                terminal.say(*tree_of(opened.project, planned.decisions, terminal))
            rows = [] if tree else [*rows_of(planned.decisions.values(), {}, terminal)]
            if verbose:
                rows += rows_of_tests(planned.tests.values(), {})
            terminal.table(rows)
            if any(each.makes and each.evidence.get("tentative") for each in planned.decisions.values()):
                terminal.say("[dim]built?  is foreseen: what is above it is built first, and may come out as it was[/]")
            terminal.say("")
            where = shown_environment(opened, planned.environment)
            terminal.table(plan_summary(planned, shown_url(opened), where))
        _tell_other_state(terminal, opened, planned.environment)
        decided = (text for each in planned.decisions.values() for text in each.warnings)
        terminal.notices(map(Notice, dict.fromkeys((*planned.warnings, *decided))))
        for each in wrong:
            terminal.error(each)
        fails = any(each.outcome in (Outcome.FAILED, Outcome.SKIPPED) for each in planned.decisions.values())
        return FAILED if fails or wrong else OK

    run_command(request, action)


@app.command(cls=Command)
def build(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    force: Force = False, full_refresh: FullRefresh = False, threads: Threads = None, no_tests: NoTests = False,
    now: Now = None, as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None, verify_proofs: VerifyProofs = False,
    quiet: Quiet = False, verbose: Verbose = False,
    defer: Defer = None, favor_state: FavorState = False, state: State = None,
    indirect_selection: IndirectSelection = Indirect.EAGER,
) -> None:  # fmt: skip
    """Build the models whose result would change, and run the data tests whose verdict could."""
    terminal = Terminal(as_json, quiet, verbose)
    request = Request(
        project_dir, target, variables, now, threads, terminal, profiles_dir, state_url, defer, favor_state, state
    )

    def selected(opened: SqlProject) -> Selection:
        include = or_default(opened, select, exclude)
        return selection_of(opened, include, exclude, tests=not no_tests, state=state, indirect=indirect_selection)

    mode = mode_of(force=force, full_refresh=full_refresh)
    run_command(request, lambda: _run(request, selected, mode, "sao build", verify_proofs=verify_proofs))


@app.command("test", cls=Command)
def test_command(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    force: Force = False, threads: Threads = None, now: Now = None, as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
    verify_proofs: VerifyProofs = False, quiet: Quiet = False, verbose: Verbose = False,
    defer: Defer = None, favor_state: FavorState = False, state: State = None,
    indirect_selection: IndirectSelection = Indirect.EAGER,
) -> None:  # fmt: skip
    """Run the data tests whose verdict could have changed, without building anything."""
    terminal = Terminal(as_json, quiet, verbose)
    request = Request(
        project_dir, target, variables, now, threads, terminal, profiles_dir, state_url, defer, favor_state, state
    )

    def selected(opened: SqlProject) -> Selection:
        include = or_default(opened, select, exclude)
        selection = selection_of(opened, include, exclude, state=state, indirect=indirect_selection)
        broken = tuple(name for name in selection.nodes if name in opened.project.broken)
        return replace(selection, nodes=broken)  # which say why their tests are skipped

    mode = mode_of(force=force, full_refresh=False)
    run_command(request, lambda: _run(request, selected, mode, "sao test", verify_proofs=verify_proofs))


def _run(
    request: Request, selected: Callable[[SqlProject], Selection], mode: Mode, job: str, *, verify_proofs: bool
) -> int:
    """Run what is selected of the project with its progress on standard error, print what it did, and return the exit status."""
    terminal = request.terminal
    failures = Failures(terminal)
    with Progress(terminal) as progress:
        opened = request.open(progress.read)
        selection = selected(opened)
        tell_of_project(terminal, opened, selection)
        progress.begin(LOOKING)
        runner = replace(request.runner(opened), verify_proofs=verify_proofs, job=job)
        result = run_selection(opened, runner, selection, mode, progress, failures)
    if terminal.as_json:
        terminal.json({**result.to_json(), "state": shown_url(opened)})
    else:
        conclude(terminal, result, failures, shown_url(opened))
    return tell_of_end(terminal, result)


def run_selection(
    opened: SqlProject, runner: Runner, selection: Selection, mode: Mode, progress: Progress, failures: Failures
) -> RunResult:
    """Run a selection, and show what goes wrong when it happens."""
    terminal = failures.terminal

    def show(event: Event) -> None:
        progress.note(event)
        if isinstance(event, Planned):
            _tell_other_state(terminal, opened, event.plan.environment)
        if not terminal.as_json and (lines := failures.lines(event)):
            progress.aside(lambda: terminal.say(*lines))

    result = runner.run(selection, mode, on_event=show)
    if result.models:
        opened.note_state(result.environment)
    return result


def tell_of_end(terminal: Terminal, result: RunResult) -> int:
    """Print what a run warns of, and return the exit status."""
    terminal.notices(Notice(text) for text in dict.fromkeys(result.warnings))
    for each in result.broken_sources:
        terminal.error(each)
    return OK if result.succeeded else FAILED


def conclude(terminal: Terminal, result: RunResult, failures: Failures, state: str) -> None:
    """Print what a run did, after what went wrong has been shown."""
    terminal.say(*failures.closing_lines())
    if terminal.quiet:
        return
    rows = [*rows_of((each.decision for each in result.models), {each.name: each for each in result.models}, terminal)]
    if terminal.verbose:
        results = {each.test.name: each for each in result.tests}
        rows += rows_of_tests((each.decision for each in result.tests), results)
    terminal.table(rows)
    terminal.say("")
    terminal.table((f"[bold]{heading}[/]", text) for heading, text in summary_of(result, state))


def _tell_other_state(terminal: Terminal, opened: SqlProject, environment: str) -> None:
    other = opened.other_state(environment)
    terminal.notices([Notice(other)] if other is not None else ())


def tell_of_project(terminal: Terminal, opened: SqlProject, selection: Selection) -> None:
    """Print what the user should know of the project, and what is broken outside of a selection."""
    selected = {*selection.nodes, *selection.tests, *selection.sources}
    broken = opened.project.broken
    terminal.notices(
        (
            *opened.project.notices,
            *(
                Notice(f"it is broken: {error.message}", error.location, name)
                for name, error in broken.items()
                if name not in selected
            ),
        )
    )
