"""What the commands have in common: their options, how they open a project, how they speak to people and programs."""

from __future__ import annotations

import json
import os
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

from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import Selection, select
from sao_dagster.errors import ProjectErrors, SaoError, SelectionError, words_of

if TYPE_CHECKING:
    from sao_dagster.run.runner import Runner
    from sao_dagster.sql_project import SqlProject

OK, FAILED, UNUSABLE = 0, 1, 2

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
VerifyProofs = Annotated[bool, typer.Option("--verify-proofs", help="Run data tests that are proven to pass, too.")]
Now = Annotated[
    str | None,
    typer.Option("--now", help="Decide as if it were this time (ISO 8601; UTC if it names no zone)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Vars = Annotated[str | None, typer.Option("--vars", help="Variables over those of the project, as YAML.")]

COLOURS = {"built": "green", "reused": "cyan", "skipped": "yellow", "failed": "red"}
VERDICTS = {"pass": "green", "warn": "yellow", "fail": "red", "error": "red"}


@dataclass(frozen=True)
class Request:
    """What all commands have in common, read from the options."""

    project_dir: Path
    target: str | None
    variables: str | None
    now: str | None = None
    threads: int | None = None
    as_json: bool = False

    def open(self) -> SqlProject:
        """Return the project of the folder; a `sao_project.py` in it may declare more models."""
        from sao_dagster.load import load_project

        opened = load_project(self.project_dir, target=self.target, variables=self._variables())
        if opened.built_by is not None:
            people().print(f"[dim]{escape(opened.built_by)}[/]")
        return opened

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


def run_command(request: Request, action: Callable[[], int]) -> None:
    """Run a command; turn what is unusable into a message and an exit status."""
    try:
        status = action()
    except SaoError as error:
        if request.as_json:
            errors = error.errors if isinstance(error, ProjectErrors) else (error,)
            print_json({"error": str(error), "errors": [str(each) for each in errors]})
        for each in error.errors if isinstance(error, ProjectErrors) else (error,):
            people().print(f"[bold red]error[/] {escape(str(each))}", soft_wrap=True)
        status = UNUSABLE
    except Exception as error:
        if os.environ.get("SAO_TRACEBACK"):
            raise
        said = f"{words_of(error)} (not foreseen: please report it, with what SAO_TRACEBACK=1 in the environment shows)"
        if request.as_json:
            print_json({"error": said, "errors": [said]})
        people().print(f"[bold red]error[/] {escape(said)}", soft_wrap=True)
        status = UNUSABLE
    except KeyboardInterrupt:
        people().print("[yellow]stopped; what was built so far is recorded[/]")
        status = 130
    raise typer.Exit(status)


def people() -> Console:
    """Return the console that people watch: standard error."""
    return Console(stderr=True, highlight=False)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def mode_of(*, force: bool, full_refresh: bool) -> Mode:
    """Return the mode that the options ask for."""
    return Mode.FULL_REFRESH if full_refresh else Mode.FORCE if force else Mode.STATE_AWARE


def selection_of(
    opened: SqlProject, include: list[str] | None, exclude: list[str] | None, *, tests: bool = True
) -> Selection:
    """Return what the options select.

    Raises:
        ProjectErrors: The project as a whole has errors, so that nothing can be selected.
    """
    opened.project.check()
    chosen = select(opened.project, " ".join(include or ()) or None, " ".join(exclude or ()) or None)
    return chosen if tests else chosen.without_tests()


def coloured(text: str, colours: Mapping[str, str], key: str | None = None) -> str:
    """Return a text in the colour of its word."""
    return f"[{colours.get((key or text).strip(), 'default')}]{text}[/]"


def shown_url(opened: SqlProject) -> str:
    """Return where the state is, without a password."""
    from sao_dagster.state.location import without_password

    return without_password(opened.state_url)
