"""`sao`: plan, build, test, explain, look after the state. The same core and state as in Dagster, without Dagster.

What programs read goes to standard output; progress and messages for people go to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sao_dagster.core.decide import Mode, Outcome
from sao_dagster.core.explain import describe_node, explain, explain_test
from sao_dagster.core.selection import Selection, select
from sao_dagster.core.verdicts import TestOutcome
from sao_dagster.errors import ProjectErrors, SaoError, SelectionError
from sao_dagster.results import Event, Message, ModelResult, RunResult, Started, TestResult, plan_to_json

if TYPE_CHECKING:
    from sao_dagster.projects.python import SqlProject
    from sao_dagster.runner import Runner

OK, FAILED, UNUSABLE = 0, 1, 2

app = typer.Typer(
    name="sao",
    help="Build only the SQL models whose result would change, and say why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
state_app = typer.Typer(help="Look at the shared state, clear it, move it.", no_args_is_help=True)
app.add_typer(state_app, name="state")

ProjectDir = Annotated[Path, typer.Option("--project-dir", help="The folder with dbt_project.yml.")]
Target = Annotated[str | None, typer.Option("--target", "-t", help="The target of the profile.")]
Select = Annotated[list[str] | None, typer.Option("--select", "-s", help="What to include, in dbt's selection syntax.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", help="What to leave out, in the same syntax.")]
Force = Annotated[bool, typer.Option("--force", help="Build everything selected, whatever the state says.")]
FullRefresh = Annotated[
    bool, typer.Option("--full-refresh", help="Like --force, and incremental models start from scratch.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="How many models to build at once.")]
NoTests = Annotated[bool, typer.Option("--no-tests", help="Leave data tests out.")]
Now = Annotated[
    str | None,
    typer.Option("--now", help="Decide as if it were this time (ISO 8601; UTC if it names no zone)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Vars = Annotated[str | None, typer.Option("--vars", help="Variables over those of the project, as YAML.")]

_COLOURS = {"built": "green", "reused": "cyan", "skipped": "yellow", "failed": "red"}
_VERDICTS = {"pass": "green", "warn": "yellow", "fail": "red", "error": "red"}


@dataclass(frozen=True)
class _Request:
    """What all commands have in common, read from the options."""

    project_dir: Path
    target: str | None
    variables: str | None
    now: str | None = None
    threads: int | None = None
    as_json: bool = False

    def open(self) -> SqlProject:
        """Return the project of the folder; a `sao_project.py` in it may declare more models."""
        from sao_dagster.projects.load import load_project

        return load_project(self.project_dir, target=self.target, variables=self._variables())

    def _variables(self) -> Mapping[str, Any]:
        try:
            values = yaml.safe_load(self.variables) if self.variables else {}
        except yaml.YAMLError as error:
            raise SelectionError(f"--vars is not YAML: {error}") from error
        if not isinstance(values, Mapping):
            raise SelectionError(f"--vars is a mapping such as '{{key: value}}', got {self.variables!r}")
        return values

    def runner(self, opened: SqlProject) -> Runner:
        """Return a runner with the clock and the threads that were asked for."""
        runner = replace(opened.runner(), threads=self.threads)
        moment = self.moment()
        return runner if moment is None else replace(runner, clock=lambda: moment)

    def moment(self) -> datetime | None:
        """Return the time of `--now`."""
        if self.now is None:
            return None
        try:
            moment = datetime.fromisoformat(self.now.replace("Z", "+00:00"))
        except ValueError:
            raise SelectionError(f"--now is a time such as 2026-03-01T12:00:00, got {self.now!r}") from None
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


def main() -> None:
    """Run the command line."""
    app()


def _command(request: _Request, action: Callable[[], int]) -> None:
    """Run a command; turn what is unusable into a message and an exit status."""
    try:
        status = action()
    except SaoError as error:
        if request.as_json:
            errors = error.errors if isinstance(error, ProjectErrors) else (error,)
            _print_json({"error": str(error), "errors": [str(each) for each in errors]})
        for each in error.errors if isinstance(error, ProjectErrors) else (error,):
            _people().print(f"[bold red]error[/] {escape(str(each))}", soft_wrap=True)
        status = UNUSABLE
    except KeyboardInterrupt:
        _people().print("[yellow]stopped; what was built so far is recorded[/]")
        status = 130
    raise typer.Exit(status)


def _people() -> Console:
    return Console(stderr=True, highlight=False)


def _print_json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def _mode(*, force: bool, full_refresh: bool) -> Mode:
    return Mode.FULL_REFRESH if full_refresh else Mode.FORCE if force else Mode.STATE_AWARE


def _selection(
    opened: SqlProject, include: list[str] | None, exclude: list[str] | None, *, tests: bool = True
) -> Selection:
    chosen = select(opened.project, " ".join(include or ()) or None, " ".join(exclude or ()) or None)
    return chosen if tests else replace(chosen, tests=())


# ---------------------------------------------------------------------- plan, build, test


@app.command()
def plan(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    force: Force = False, full_refresh: FullRefresh = False, threads: Threads = None, no_tests: NoTests = False,
    now: Now = None, as_json: AsJson = False, variables: Vars = None,
) -> None:  # fmt: skip
    """Show what a build would do, and why, without building anything."""
    request = _Request(project_dir, target, variables, now, threads, as_json)

    def action() -> int:
        opened = request.open()
        selection = _selection(opened, select, exclude, tests=not no_tests)
        planned, seen = request.runner(opened).plan(selection, _mode(force=force, full_refresh=full_refresh))
        if as_json:
            shown = plan_to_json(opened.project, planned, seen.seconds, seen.facts.records)
            _print_json({**shown, "errors": [str(error) for error in opened.project.errors]})
        else:
            table = Table("model", "would be", "because", box=None, header_style="bold")
            for name, decision in planned.decisions.items():
                table.add_row(name, _coloured(decision.outcome.value, _COLOURS), escape(explain(decision)))
            Console(highlight=False).print(table)
            tests = [each.outcome for each in planned.tests.values()]
            _people().print(
                f"{len(planned.to_build)} to build, {len(planned.decisions) - len(planned.to_build)} to reuse; "
                f"{tests.count(TestOutcome.RAN)} tests to run, {tests.count(TestOutcome.REUSED)} to reuse "
                f"({opened.project.environment})"
            )
        _tell(opened, planned.warnings)
        for error in opened.project.errors:
            _people().print(f"[bold red]error[/] {escape(str(error))}", soft_wrap=True)
        return UNUSABLE if opened.project.errors else OK

    _command(request, action)


@app.command()
def build(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    force: Force = False, full_refresh: FullRefresh = False, threads: Threads = None, no_tests: NoTests = False,
    now: Now = None, as_json: AsJson = False, variables: Vars = None,
) -> None:  # fmt: skip
    """Build the models whose result would change, and run the data tests whose verdict could."""
    request = _Request(project_dir, target, variables, now, threads, as_json)

    def action() -> int:
        opened = request.open()
        selection = _selection(opened, select, exclude, tests=not no_tests)
        return _run(request, opened, selection, _mode(force=force, full_refresh=full_refresh))

    _command(request, action)


@app.command("test")
def test_command(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    force: Force = False, threads: Threads = None, now: Now = None, as_json: AsJson = False, variables: Vars = None,
) -> None:  # fmt: skip
    """Run the data tests whose verdict could have changed, without building anything."""
    request = _Request(project_dir, target, variables, now, threads, as_json)

    def action() -> int:
        opened = request.open()
        selection = replace(_selection(opened, select, exclude), nodes=())
        return _run(request, opened, selection, _mode(force=force, full_refresh=False))

    _command(request, action)


def _run(request: _Request, opened: SqlProject, selection: Selection, mode: Mode) -> int:
    if not request.as_json:
        _tell(opened, ())
    console = _people()
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

        result = request.runner(opened).run(selection, mode, on_event=show)
    if request.as_json:
        _print_json(result.to_json())
    else:
        _summary(result)
    return OK if result.succeeded else FAILED


def _line(event: Event) -> str | None:
    if isinstance(event, Message):
        return f"[dim]{escape(event.text)}[/]"
    if isinstance(event, ModelResult):
        took = f" [dim]{event.seconds:.2f} s[/]" if event.decision.outcome is Outcome.BUILT else ""
        if event.decision.outcome is Outcome.FAILED:
            facts = event.decision.evidence
            words = escape(str(facts.get("error")).replace("\n", "\n    "))
            return f"[red]failed   {event.name}[/] [dim]{escape(str(facts.get('file')))}[/]\n    {words}"
        warnings = "".join(f"\n  [yellow]warning[/] {escape(text)}" for text in event.decision.warnings)
        shown = _coloured(f"{event.decision.outcome.value:8s}", _COLOURS, event.decision.outcome.value)
        return f"{shown} {event.name}{took}  [dim]{escape(explain(event.decision))}[/]{warnings}"
    if isinstance(event, TestResult) and event.verdict is not None and event.verdict.value != "pass":
        where = f" ({event.test.location})" if event.test.location else ""
        count = escape(event.error or f"{event.failures} failures")
        reused = " (reused)" if event.decision.outcome is TestOutcome.REUSED else ""
        return f"  {_coloured(event.verdict.value, _VERDICTS)} {event.test.name}: {count}{reused}[dim]{where}[/]"
    return None


def _summary(result: RunResult) -> None:
    summary = result.summary()
    console = _people()
    verdicts = [each.verdict.value for each in result.tests if each.verdict]
    bad = ", ".join(
        f"{_coloured(f'{verdicts.count(v)} {v}', _VERDICTS, v)}" for v in ("warn", "fail", "error") if v in verdicts
    )
    models = ", ".join(
        _coloured(f"{summary[outcome.value]} {outcome.value}", _COLOURS, outcome.value)
        for outcome in Outcome
        if summary[outcome.value] or outcome in (Outcome.BUILT, Outcome.REUSED)
    )
    console.print(f"\n[bold]models[/]  {models}")
    console.print(
        f"[bold]tests[/]   {summary['tests_ran']} ran in {summary['test_statements']} statements, "
        f"{summary['tests_reused']} reused{'; ' + bad if bad else ''}"
    )
    saved = float(str(summary["seconds_saved"]))
    estimate = f", saved about {saved:.1f} s" if saved > 0 else ""
    console.print(
        f"[bold]time[/]    {summary['seconds']} s{estimate}  [dim]{result.environment}, run {result.run_id[:8]}[/]"
    )


def _tell(opened: SqlProject, warnings: tuple[str, ...]) -> None:
    console = _people()
    for notice in (*(str(each) for each in opened.project.notices), *warnings):
        console.print(f"[yellow]note[/]  {escape(notice)}", soft_wrap=True)


def _coloured(text: str, colours: Mapping[str, str], key: str | None = None) -> str:
    return f"[{colours.get((key or text).strip(), 'default')}]{text}[/]"


# ---------------------------------------------------------------------- explain and savings


@app.command("explain")
def explain_command(
    model: Annotated[str, typer.Argument(help="A model, seed or data test.")],
    project_dir: ProjectDir = Path(), target: Target = None, now: Now = None, as_json: AsJson = False,
    variables: Vars = None,
) -> None:  # fmt: skip
    """Say what would become of one model or data test now, what it rests on, and what was decided before."""
    request = _Request(project_dir, target, variables, now, None, as_json)

    def action() -> int:
        opened = request.open()
        project = opened.project
        runner = request.runner(opened)
        if model in project.tests:
            shown = _explain_test(opened, runner, model)
        else:
            project.node(model)
            shown = _explain_model(opened, runner, model)
        if as_json:
            _print_json(shown)
        else:
            _print_facts(shown)
        return OK

    _command(request, action)


def _explain_model(opened: SqlProject, runner: Runner, name: str) -> dict[str, Any]:
    project = opened.project
    node = project.nodes[name]
    planned, seen = runner.plan(select(project, f"+{name}"))
    decision = planned.decisions.get(name)
    record = seen.facts.records.get(name)
    history = opened.store.decisions(project.environment, name, 5)
    return {
        "name": name,
        "now": None
        if decision is None
        else {
            "outcome": decision.outcome.value,
            "reason": decision.reason.value,
            "because": explain(decision),
            "evidence": dict(decision.evidence),
        },
        **describe_node(project, node, planned.taken_at),
        "last_build": None
        if record is None
        else {
            "built_at": record.built_at.isoformat(),
            "run_id": record.run_id,
            "seconds": record.seconds,
            "rows": record.rows,
            "data_version": record.data_version,
            "code_parts": dict(record.code_parts),
            "inputs": dict(record.inputs),
        },
        "decided_before": [
            {"at": each.decided_at.isoformat(), "outcome": each.outcome, "reason": each.reason} for each in history
        ],
    }


def _explain_test(opened: SqlProject, runner: Runner, name: str) -> dict[str, Any]:
    project = opened.project
    test = project.tests[name]
    planned, seen = runner.plan(select(project, name))
    decision = planned.tests[name]
    record = seen.facts.test_records.get(name)
    return {
        "name": name,
        "now": {
            "outcome": decision.outcome.value,
            "reason": decision.reason.value,
            "because": explain_test(decision),
            "evidence": dict(decision.evidence),
        },
        "kind": test.kind,
        "model": test.tested,
        "column": test.column,
        "reads": list(test.reads),
        "shares_a_statement": test.default_config,
        "sql": test.sql,
        "decided_before": [
            {"at": each.decided_at.isoformat(), "outcome": each.outcome, "reason": each.reason}
            for each in opened.store.decisions(project.environment, name, 5)
        ],
        "last_verdict": None
        if record is None
        else {
            "verdict": record.verdict.value,
            "failures": record.failures,
            "run_at": record.run_at.isoformat(),
            "inputs": dict(record.inputs),
        },
    }


def _print_facts(shown: Mapping[str, Any]) -> None:
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in shown.items():
        if isinstance(value, Mapping):
            text = "\n".join(f"{name}: {_plain(each)}" for name, each in value.items())
        elif isinstance(value, list):
            text = "\n".join(
                ", ".join(map(str, each.values())) if isinstance(each, dict) else str(each) for each in value
            )
        else:
            text = "-" if value is None else str(value)
        table.add_row(key.replace("_", " "), escape(text or "-"))
    Console(highlight=False).print(table)


def _plain(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)


@app.command()
def savings(
    project_dir: ProjectDir = Path(), target: Target = None, as_json: AsJson = False, variables: Vars = None,
    last: Annotated[int, typer.Option("--last", min=1, help="How many runs to look back.")] = 100,
) -> None:  # fmt: skip
    """Add up what the last runs reused: models, tests, and the seconds these took when they were last built."""
    request = _Request(project_dir, target, variables, as_json=as_json)

    def action() -> int:
        opened = request.open()
        runs = opened.store.runs(opened.project.environment, last)
        keys = ("built", "reused", "tests_ran", "tests_reused", "seconds", "seconds_saved")
        total = {key: round(sum(float(str(run.summary.get(key, 0))) for run in runs), 3) for key in keys}
        if as_json:
            each = [
                {
                    "run_id": run.run_id,
                    "started_at": run.started_at.isoformat(),
                    "mode": run.mode,
                    **run.summary,
                }
                for run in runs
            ]
            _print_json({"environment": opened.project.environment, "total": total, "runs": each})
            return OK
        table = Table(
            "started",
            "mode",
            "built",
            "reused",
            "tests run",
            "tests reused",
            "seconds",
            "saved (estimate)",
            box=None,
        )
        for run in runs:
            values = [str(run.summary.get(key, 0)) for key in keys]
            table.add_row(run.started_at.isoformat(timespec="seconds"), run.mode, *values)
        table.add_section()
        table.add_row("together", "", *(f"{value:g}" for value in total.values()))
        Console(highlight=False).print(table)
        return OK

    _command(request, action)


# ---------------------------------------------------------------------- state


@state_app.command("show")
def state_show(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, as_json: AsJson = False,
    variables: Vars = None,
) -> None:  # fmt: skip
    """Show the last build of each model."""
    request = _Request(project_dir, target, variables, as_json=as_json)

    def action() -> int:
        opened = request.open()
        chosen = set(_selection(opened, select, None).nodes)
        records = {
            name: each for name, each in opened.store.builds(opened.project.environment).items() if name in chosen
        }
        if as_json:
            rows = [
                {
                    "name": name,
                    "relation": each.relation,
                    "built_at": each.built_at.isoformat(),
                    "rows": each.rows,
                    "seconds": each.seconds,
                    "code_version": each.code_version,
                    "data_version": each.data_version,
                    "run_id": each.run_id,
                }
                for name, each in sorted(records.items())
            ]
            _print_json({"environment": opened.project.environment, "state_url": _shown_url(opened), "builds": rows})
            return OK
        table = Table("model", "built", "rows", "seconds", "data version", "run", box=None)
        for name, each in sorted(records.items()):
            rows_text = "-" if each.rows is None else str(each.rows)
            table.add_row(
                name,
                each.built_at.isoformat(timespec="seconds"),
                rows_text,
                f"{each.seconds:.2f}",
                each.data_version[-12:],
                each.run_id[:8],
            )
        Console(highlight=False).print(table)
        _people().print(f"[dim]{opened.project.environment} in {_shown_url(opened)}[/]")
        return OK

    _command(request, action)


@state_app.command("clear")
def state_clear(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, as_json: AsJson = False,
    variables: Vars = None,
) -> None:  # fmt: skip
    """Forget builds and verdicts, of everything or of a selection; what is forgotten is built again."""
    request = _Request(project_dir, target, variables, as_json=as_json)

    def action() -> int:
        opened = request.open()
        environment = opened.project.environment
        if select:
            chosen = _selection(opened, select, None)
            gone = opened.store.clear(environment, chosen.nodes, chosen.tests)
        else:
            gone = opened.store.clear(environment, None, None)
        if as_json:
            _print_json({"environment": environment, "cleared": gone})
        else:
            _people().print(f"{gone} records of {environment} forgotten")
        return OK

    _command(request, action)


@state_app.command("export")
def state_export(
    file: Annotated[Path | None, typer.Argument(help="Where to write; standard output if nothing is said.")] = None,
    project_dir: ProjectDir = Path(), target: Target = None, variables: Vars = None,
) -> None:  # fmt: skip
    """Write the state of the environment as JSON."""
    request = _Request(project_dir, target, variables)

    def action() -> int:
        from sao_dagster.state.transfer import export_state

        opened = request.open()
        exported = export_state(opened.store, opened.project.environment)
        if file is None:
            _print_json(exported)
        else:
            file.write_text(json.dumps(exported, indent=1), encoding="utf-8")
        return OK

    _command(request, action)


@state_app.command("import")
def state_import(
    file: Annotated[Path, typer.Argument(help="An export.", exists=True, dir_okay=False)],
    project_dir: ProjectDir = Path(), target: Target = None, variables: Vars = None,
) -> None:  # fmt: skip
    """Read an export into the environment, over what it has."""
    request = _Request(project_dir, target, variables)

    def action() -> int:
        from sao_dagster.errors import StateError
        from sao_dagster.state.transfer import import_state

        opened = request.open()
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StateError(f"{file} is not JSON: {error}") from error
        count = import_state(opened.store, opened.project.environment, data)
        _people().print(f"{count} records read into {opened.project.environment}")
        return OK

    _command(request, action)


def _shown_url(opened: SqlProject) -> str:
    from sqlalchemy.engine import make_url

    return make_url(opened.state_url).render_as_string(hide_password=True)


if __name__ == "__main__":
    main()
