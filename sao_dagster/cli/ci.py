"""`sao ci`: build and test what a branch changes, in a schema of its own, and say how it compares with production; `sao ci drop`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sao_dagster.cli.build import LOOKING, conclude, run_selection, tell_of_end, tell_of_project
from sao_dagster.cli.common import OK, Request, mode_of, run_command, shown_url
from sao_dagster.cli.options import (
    AsJson,
    Command,
    Exclude,
    FullRefresh,
    Group,
    IndirectSelection,
    Now,
    ProfilesDir,
    ProjectDir,
    Quiet,
    Select,
    StateUrl,
    Target,
    Threads,
    Vars,
    Verbose,
)
from sao_dagster.cli.progress import Progress
from sao_dagster.cli.results import Failures
from sao_dagster.cli.terminal import Terminal, escaped, named
from sao_dagster.core.environment import schema_of
from sao_dagster.core.indirect_selection import Indirect
from sao_dagster.core.messages import Level, Message
from sao_dagster.errors import SelectionError, StateError

if TYPE_CHECKING:
    from sao_dagster.run.branch import BranchReport
    from sao_dagster.run.branch_drop import Dropped

app = typer.Typer(
    cls=Group, invoke_without_command=True, help="Build and test what a branch changes, in a schema of its own."
)

BRANCH_VARIABLES = (
    "GITHUB_HEAD_REF",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "GITHUB_REF_NAME",
    "CI_COMMIT_REF_NAME",
)
"""What services call the branch, those of a pull request first: of what GitHub says of one, `GITHUB_REF_NAME` is no branch."""
CHANGED = "state:modified+"

Schema = Annotated[
    str | None,
    typer.Option("--schema", help="The schema to build into; else one that is named after the branch."),
]


@app.callback()
def ci(
    ctx: typer.Context,
    project_dir: ProjectDir = Path(), target: Target = None,
    against: Annotated[
        str | None, typer.Option("--against", help="The environment to compare with and to read from: a target, or target/schema.")
    ] = None,
    schema: Schema = None, select: Select = None, exclude: Exclude = None, full_refresh: FullRefresh = False,
    indirect_selection: IndirectSelection = Indirect.EAGER,
    report: Annotated[
        Path | None, typer.Option("--report", help="Where to write the report: a folder, or a file that ends in .md or .json.")
    ] = None,
    threads: Threads = None, now: Now = None, as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None, quiet: Quiet = False, verbose: Verbose = False,
) -> None:  # fmt: skip
    """Build and test what a branch changes, in a schema of its own, and say how it compares with another environment."""
    if ctx.invoked_subcommand is not None:
        return
    terminal = Terminal(as_json, quiet, verbose)
    request = Request(project_dir, target, variables, now, threads, terminal, profiles_dir, state_url)

    def action() -> int:
        """Build, compare, report, and return the exit status."""
        from sao_dagster.run.branch import compare
        from sao_dagster.run.branch_drop import forget_expired
        from sao_dagster.run.branch_schemas import claimed_schemas

        if not against:
            raise SelectionError("name the environment to compare with, for example: sao ci --against prod")
        check_report(report)
        asked = replace(
            request, defer=against, favor_state=True, state=against, schema=schema or schema_here(project_dir)
        )
        failures = Failures(terminal)
        with Progress(terminal) as progress:
            opened = asked.open(progress.read)
            opened.project.check()
            changes = opened.environments.changes(opened.project, against)
            selection = opened.selection(
                " ".join(select or [CHANGED]),
                " ".join(exclude or ()),
                changes=lambda: changes,
                indirect=indirect_selection,
            )
            tell_of_project(terminal, opened, selection)
            progress.begin(LOOKING)
            mode = mode_of(force=False, full_refresh=full_refresh)
            ready = replace(asked.runner(opened), job="sao ci")
            with ready.in_session(progress.note) as (runner, session), claimed_schemas(runner, session, selection):
                result = run_selection(opened, runner, selection, mode, progress, failures)
                found = compare(runner, session, result, changes)
        forget_expired(opened.store, opened.project.name, opened.settings.branch_days)
        if report is not None:
            write_report(report, found)
        if as_json:
            terminal.json({**found.to_json(), "state": shown_url(opened)})
        else:
            conclude(terminal, result, failures, shown_url(opened))
            if not quiet:
                from sao_dagster.cli.ci_report import comparison_rows

                headings = ("model", "columns", "rows", f"compared with {found.against}")
                terminal.say("")
                terminal.table(comparison_rows(found), headings=headings)
                if found.is_empty:
                    terminal.say(f"nothing of this branch differs from what {escaped(found.against)} was built from")
        return tell_of_end(terminal, result)

    run_command(request, action)


@app.command("drop", cls=Command)
def drop(
    project_dir: ProjectDir = Path(), target: Target = None, schema: Schema = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="Drop those of all branches that were not used for the days that branch_days in sao.yml says.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Drop without asking.")] = False,
    as_json: AsJson = False, variables: Vars = None, profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
) -> None:  # fmt: skip
    """Drop the schema that `sao ci` has made for a branch, and forget its environment."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        """Drop what there is, and return the exit status."""
        from sao_dagster.run.branch_drop import drop_branch, drop_expired

        asked = request if expired else replace(request, schema=schema or schema_here(project_dir))
        opened = asked.open()
        runner, days = opened.runner(), opened.settings.branch_days
        if expired and days is None:
            raise SelectionError(
                "after how many days without use branches expire is not said; set branch_days in sao.yml"
            )

        def dropped(*, dry_run: bool, on_message: Callable[[Message], None] | None) -> tuple[Dropped, ...]:
            if expired and days is not None:
                return drop_expired(runner, days, dry_run=dry_run, on_message=on_message)
            found = drop_branch(runner, dry_run=dry_run, on_message=on_message)
            return () if found is None else (found,)

        found = dropped(dry_run=not yes, on_message=terminal.message)
        drops = bool(found) and (yes or _agrees(terminal, found))
        if drops and not yes:
            found = dropped(dry_run=False, on_message=None)
        _tell(terminal, found, str(asked.schema), drops=drops, expired=expired)
        return OK

    run_command(request, action)


def _agrees(terminal: Terminal, found: Sequence[Dropped]) -> bool:
    """Return whether somebody says that it may be dropped.

    Raises:
        StateError: Nobody can be asked.
    """
    if terminal.as_json or not sys.stdin.isatty():
        raise StateError("nothing is dropped unless somebody says so: --yes does")
    schemas = ", ".join(name for each in found for name in (*each.schemas, *each.left))
    count = sum(each.relations for each in found)
    return typer.confirm(f"Drop {schemas} and {count:,} tables and views in it?", default=False, err=True)


def _tell(terminal: Terminal, found: Sequence[Dropped], schema: str, *, drops: bool, expired: bool) -> None:
    """Print what was dropped of branches, and what is left of them."""
    schemas = [name for each in found for name in each.schemas]
    if terminal.as_json:
        left = {name: list(relations) for each in found for name, relations in each.left.items()}
        environments = [each.environment for each in found]
        terminal.json({"environments": environments, "schemas": schemas, "left": left, "dropped": drops})
    elif not found:
        terminal.say(
            f"there is nothing that sao ci has made {'and has expired' if expired else f'in {escaped(schema)}'}"
        )
    elif not drops:
        terminal.say("nothing is dropped")
    elif schemas:
        terminal.say(f"dropped {escaped(', '.join(schemas))}")
    for each in found:
        for name, relations in each.left.items():
            what = f"{name} is left, with {named(relations, 8)}: {each.why_left}"
            database, _, schema = name.rpartition(".")
            where = f" in {database}" if database else ""
            how = f"if it is to go, drop it yourself{where}: drop schema {schema} cascade"
            terminal.message(Message(f"{what}; {how}", Level.WARNING))


def schema_here(folder: Path) -> str:
    """Return the schema of the branch: of what the service says that runs this, else of what git has checked out in a folder.

    Raises:
        SelectionError: Nobody says which branch it is.
    """
    branch = next((os.environ[name] for name in BRANCH_VARIABLES if os.environ.get(name)), "") or _checked_out(folder)
    if not branch:
        raise SelectionError(
            f"which branch this is, neither {', '.join(BRANCH_VARIABLES)} nor git says; name the schema with --schema"
        )
    return schema_of(branch)


def _checked_out(folder: Path) -> str:
    try:
        asked = ["git", "-C", str(folder), "symbolic-ref", "--quiet", "--short", "HEAD"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - no text of others is in it
    except OSError:  # there is no git
        return ""


def check_report(path: Path | None) -> None:
    """Refuse a place for a report that is neither a folder nor a file of a known kind.

    Raises:
        SelectionError: It is another kind of file.
    """
    if path is not None and path.suffix not in ("", ".md", ".json") and not path.is_dir():
        raise SelectionError(f"--report is a folder, or a file that ends in .md or .json, got {path}")


def write_report(path: Path, report: BranchReport) -> None:
    """Write the report: to a file as what it ends in, or both files to a folder.

    Raises:
        SelectionError: It cannot be written there.
    """
    from sao_dagster.cli.ci_report import markdown

    is_file = path.suffix in (".md", ".json") and not path.is_dir()
    files = (path,) if is_file else (path / "sao_ci.md", path / "sao_ci.json")
    try:
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            text = (
                markdown(report) if file.suffix == ".md" else json.dumps(report.to_json(), indent=2, default=str) + "\n"
            )
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SelectionError(f"the report cannot be written to {path}: {error.strerror}") from error
