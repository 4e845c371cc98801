"""What the commands have in common: how they open a project, what they select, and how they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sao_dagster.cli.terminal import Terminal, escaped
from sao_dagster.core.indirect_selection import Indirect
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import Selection
from sao_dagster.core.selectors import default_of
from sao_dagster.errors import ProjectError, ProjectErrors, SaoError, SelectionError, words_of

if TYPE_CHECKING:
    from sao_dagster.run.runner import Runner
    from sao_dagster.sql_project import SqlProject

OK, FAILED, UNUSABLE, STOPPED = 0, 1, 2, 130


@dataclass(frozen=True)
class Request:
    """What all commands have in common, read from the options.

    Attributes:
        terminal: Where the command speaks.
        defer: The environment to read from, over what is set.
        favor_state: Whether that is read even where this one has its own.
        state: The environment that `state:` compares with; None for the one that is deferred to.
        schema: The schema to build into; None for that of the target.
    """

    project_dir: Path
    target: str | None
    variables: str | None
    now: str | None = None
    threads: int | None = None
    terminal: Terminal = field(default_factory=Terminal)
    profiles_dir: Path | None = None
    state_url: str | None = None
    defer: str | None = None
    favor_state: bool = False
    state: str | None = None
    schema: str | None = None

    def open(self, doing: Callable[[str], None] = lambda _: None) -> SqlProject:
        """Return the project of the folder; a `sao_project.py` in it may declare more models.

        Args:
            doing: Told what dbt is doing where it reads the project and that takes its time, in words.
        """
        if not self.project_dir.is_dir():
            what = "is a file" if self.project_dir.exists() else "does not exist"
            raise ProjectError(
                f"the folder {self.project_dir} {what}; --project-dir names the folder with dbt_project.yml"
            )
        from sao_dagster.load import load_project
        from sao_dagster.projects.sao_file import url_from

        opened = load_project(
            self.project_dir,
            target=self.target,
            variables=self._variables(),
            profiles_dir=self.profiles_dir,
            state_url=self.state_url and url_from(Path.cwd(), self.state_url),
            schema=self.schema,
            doing=doing,
        )
        opened = opened.deferring(self.defer, favor=self.favor_state)
        if opened.built_by is not None:
            self.terminal.note(f"[dim]{escaped(opened.built_by)}[/]")
        return opened

    def _variables(self) -> Mapping[str, Any]:
        if not self.variables:
            return {}
        import yaml

        try:
            values = yaml.safe_load(self.variables) or {}
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
    """Run a command; turn what is unusable into a message and an exit status.

    What models, macros and libraries print on the way goes to standard error, so that results stay what they are.
    """
    try:
        with redirect_stdout(sys.stderr):
            status = action()
    except SaoError as error:
        errors = error.errors if isinstance(error, ProjectErrors) else (error,)
        status = _failed(request.terminal, str(error), [str(each) for each in errors])
    except BrokenPipeError:  # whoever read the results has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the interpreter flushes it once more when it ends
        status = OK
    except Exception as error:
        if os.environ.get("SAO_TRACEBACK"):
            raise
        said = _in_words(error)
        status = _failed(request.terminal, said, [said])
    except KeyboardInterrupt:
        said = "stopped; what was built so far is recorded"
        if request.terminal.as_json:
            request.terminal.json({"error": said, "errors": [said]})
        request.terminal.aside.print(f"[yellow]{said}[/]")
        status = STOPPED
    raise typer.Exit(status)


def _in_words(error: Exception) -> str:
    """Return what an error of Python or of a library says: one about somebody's file names it, any other is to be reported."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        return f"{error.filename} cannot be read or written: {error.strerror}"
    return f"{words_of(error)} (not foreseen: please report it, with what SAO_TRACEBACK=1 in the environment shows)"


def _failed(terminal: Terminal, said: str, errors: list[str]) -> int:
    """Tell what makes a command unusable, and return the exit status."""
    if terminal.as_json:
        terminal.json({"error": said, "errors": errors})
    for each in errors:
        terminal.error(each)
    return UNUSABLE


def mode_of(*, force: bool, full_refresh: bool) -> Mode:
    """Return the mode that the options ask for."""
    return Mode.FULL_REFRESH if full_refresh else Mode.FORCE if force else Mode.STATE_AWARE


def or_default(opened: SqlProject, include: list[str] | None, exclude: list[str] | None) -> list[str] | None:
    """Return what a command selects: as it is told, else by the default of `selectors.yml`, where there is one."""
    if include or exclude:
        return include
    name = default_of(opened.project.selectors)
    return None if name is None else [f"selector:{name}"]


def selection_of(
    opened: SqlProject,
    include: list[str] | None,
    exclude: list[str] | None,
    *,
    tests: bool = True,
    state: str | None = None,
    indirect: Indirect = Indirect.EAGER,
) -> Selection:
    """Return what the options select.

    Args:
        opened: The project.
        include: `--select`.
        exclude: `--exclude`.
        tests: Whether data tests are selected with what they test.
        state: The environment that `state:` compares with, or a folder with a manifest; None for the one that is deferred to.
        indirect: Which data tests come with what is selected.

    Raises:
        ProjectErrors: The project as a whole has errors, so that nothing can be selected.
    """
    opened.project.check()
    chosen = opened.selection(
        " ".join(include or ()) or None, " ".join(exclude or ()) or None, state=state, indirect=indirect
    )
    return chosen if tests else chosen.without_tests()


def shown_environment(opened: SqlProject, environment: str) -> str:
    """Return an environment as people see it: without its id as long as nothing was built there, since the database may have another one once it is made."""
    place = opened.place
    if environment != place.key or environment in opened.store.uses():
        return environment
    return f"{place.name}.{place.schema} (nothing is built there yet)"


def shown_url(opened: SqlProject) -> str:
    """Return where the state is, without a password."""
    from sao_dagster.state.url import without_password

    return without_password(opened.state_url)
