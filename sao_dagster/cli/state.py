"""`sao state`: look at the shared state, clear it, move it, and adopt into it what is there already."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sao_dagster.cli.common import OK, Request, run_command, selection_of, shown_environment, shown_url
from sao_dagster.cli.options import AsJson, Command, Exclude, ProfilesDir, ProjectDir, Select, StateUrl, Target, Vars
from sao_dagster.cli.terminal import Terminal, escaped
from sao_dagster.core.messages import Level, Message, counted, local_time
from sao_dagster.core.policy import describe_duration
from sao_dagster.core.selection import Selection
from sao_dagster.errors import StateError
from sao_dagster.run.lease_queue import describe_holder

if TYPE_CHECKING:
    from sao_dagster.core.project import Project
    from sao_dagster.run.adopt import Adoption
    from sao_dagster.sql_project import SqlProject

app = typer.Typer(
    help="Look at the shared state, clear it, move it, adopt what is there already.", no_args_is_help=True
)


@app.command("show", cls=Command)
def state_show(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, as_json: AsJson = False,
    variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
) -> None:  # fmt: skip
    """Show the last build of each model, and what is being built."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        """Print what there is of the selection, and return the exit status."""
        opened = request.open()
        chosen = set(selection_of(opened, select, None).nodes)
        records = {name: each for name, each in opened.store.builds(opened.environment).items() if name in chosen}
        held = [each for each in opened.store.leases(opened.environment) if each.model in chosen]
        if as_json:
            rows = [
                {
                    "name": name,
                    "relation": each.relation,
                    "built_at": each.built_at.isoformat(),
                    "rows": each.rows,
                    "seconds": each.seconds,
                    "code_version": each.code_version,
                    "data_version": str(each.data_version),
                    "run_id": each.run_id,
                    "adopted": each.adopted,
                }
                for name, each in sorted(records.items())
            ]
            leases = [
                {
                    "name": each.model,
                    "run_id": each.run_id,
                    "holder": each.holder,
                    "fence": each.fence,
                    "expires_at": each.expires_at.isoformat(),
                }
                for each in held
            ]
            terminal.json(
                {
                    "environment": opened.environment,
                    "state_url": shown_url(opened),
                    "builds": rows,
                    "leases": leases,
                }
            )
            return OK
        terminal.table(
            (
                (
                    name,
                    local_time(each.built_at),
                    "-" if each.rows is None else f"{each.rows:,}",
                    f"{each.seconds:.2f}",
                    each.data_version.token[-12:],
                    "adopted" if each.adopted else each.run_id[:8],
                )
                for name, each in sorted(records.items())
            ),
            headings=("model", "built", "rows", "seconds", "data version", "run"),
        )
        for lease in held:
            terminal.say(
                f"{lease.model} is being built by run {lease.run_id}{describe_holder(lease.holder)} "
                f"[dim](its lease lasts until {local_time(lease.expires_at)})[/]"
            )
        if not records:
            terminal.message(Message("no build is recorded of what is selected", Level.INFO))
        terminal.message(Message(f"{shown_environment(opened, opened.environment)} in {shown_url(opened)}", Level.INFO))
        return OK

    run_command(request, action)


@app.command("environments")
def state_environments(
    project_dir: ProjectDir = Path(),
    target: Target = None,
    as_json: AsJson = False,
    variables: Vars = None,
    profiles_dir: ProfilesDir = None,
    state_url: StateUrl = None,
) -> None:
    """List the environments that the shared state knows, when something was last built in them, and how large they are."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        from sao_dagster.run.environments import described

        opened = request.open()
        here, now = opened.environment, opened.store.now()
        found = described(opened.store, opened.warehouse)
        if as_json:
            terminal.json(
                {"environment": here, "state": shown_url(opened), "environments": [each.to_json() for each in found]}
            )
            return OK
        terminal.table(
            (
                (
                    "*" if each.known.key == here else "",
                    each.known.key,
                    each.known.schema,
                    escaped(", ".join(each.known.places)),
                    str(each.use.builds),
                    "-" if each.bytes is None and not each.use.rows else _size(each.bytes, each.use.rows),
                    "-" if each.use.last_build is None else f"{describe_duration(now - each.use.last_build)} ago",
                    "-" if each.branch is None else f"{describe_duration(now - each.branch.used_at)} ago",
                )
                for each in found
            ),
            headings=("", "environment", "schema", "database", "models built", "size", "last build", "last sao ci"),
        )
        terminal.message(Message(f"{shown_environment(opened, here)} in {shown_url(opened)}", Level.INFO))
        return OK

    run_command(request, action)


def _size(size: int | None, rows: int) -> str:
    """Return how large an environment is: in bytes where that is known, else in rows.

    >>> _size(3 * 2**20, 5), _size(None, 1200)
    ('3.0 MiB', '1,200 rows')
    """
    if size is None:
        return counted(rows, "row")
    amount, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:,.1f} {unit}"


@app.command("clear", cls=Command)
def state_clear(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, as_json: AsJson = False,
    variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
    environment: Annotated[
        str | None, typer.Option("--environment", help="Another environment than this one: a target, target/schema, or as sao state environments lists it.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Forget everything without asking.")] = False,
) -> None:  # fmt: skip
    """Forget builds and verdicts, of everything or of a selection; what is forgotten is built again."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        opened = request.open()
        where = opened.environment if environment is None else _called(opened, environment)
        if select:
            chosen = selection_of(opened, select, None)
            gone = opened.store.clear(where, chosen.nodes, chosen.tests)
        elif yes or environment is not None or _agrees_to_forget(terminal, opened, where):
            gone = opened.store.clear(where, None, None)
        else:
            gone = 0
        if as_json:
            terminal.json({"environment": where, "cleared": gone})
        else:
            terminal.say(f"{counted(gone, 'record')} of {where} forgotten")
        return OK

    run_command(request, action)


def _agrees_to_forget(terminal: Terminal, opened: SqlProject, environment: str) -> bool:
    """Return whether everything of the environment that is built into is to be forgotten; a script, which nobody can be asked in, means it."""
    if terminal.as_json or not sys.stdin.isatty():
        return True
    count = len(opened.store.builds(environment)) + len(opened.store.tests(environment))
    asked = f"Forget all {counted(count, 'record')} of {environment} in {shown_url(opened)}? Everything is built again then."
    return typer.confirm(asked, default=False, err=True)


def _called(opened: SqlProject, name: str) -> str:
    """Return the key of the environment that is called so, or has this key.

    Raises:
        SelectionError: There is none, or there are several.
    """
    if name in opened.store.uses():
        return name
    return opened.environments.called(name).key


@app.command("adopt", cls=Command)
def state_adopt(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, exclude: Exclude = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be adopted, and record nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Record without asking.")] = False,
    as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
) -> None:  # fmt: skip
    """Record tables and views that are there as built by today's code from today's inputs, because you say so; nothing is built."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        opened = request.open()
        runner, project = request.runner(opened), opened.project
        found = runner.adopt(selection_of(opened, select, exclude), dry_run=True, on_message=terminal.message)
        if not as_json:
            _show_adoption(terminal, found, project)
        adopts = bool(found.nodes) and not dry_run and (yes or _agrees(terminal, len(found.nodes)))
        if adopts:
            said = runner.adopt(Selection(found.nodes, (), ()), on_message=terminal.message)
            found = replace(found, nodes=said.nodes, refused={**found.refused, **said.refused})
            for name, why in said.refused.items():
                terminal.message(Message(f"{name} was not adopted: {why}", Level.WARNING))
        if as_json:
            shown = {"adopted": list(found.nodes) if adopts else [], "adoptable": [] if adopts else list(found.nodes)}
            others = {"refused": dict(found.refused), "recorded": list(found.recorded)}
            terminal.json({"environment": found.environment, "dry_run": dry_run, **shown, **others})
        else:
            terminal.note(f"{len(found.nodes)} adopted in {found.environment}" if adopts else "nothing is recorded")
        return OK

    run_command(request, action)


def _show_adoption(terminal: Terminal, found: Adoption, project: Project) -> None:
    """Print what can be adopted, what cannot, and why."""
    terminal.table(
        (
            *((name, "adopt", escaped(str(project.nodes[name].relation))) for name in found.nodes),
            *((name, "leave", escaped(why)) for name, why in found.refused.items()),
        )
    )
    if found.recorded:
        terminal.say(f"{len(found.recorded)} have a record already, which stays; `sao state clear --select` forgets it")


def _agrees(terminal: Terminal, count: int) -> bool:
    """Return whether somebody says that what is there is what a build would give.

    Raises:
        StateError: Nobody can be asked.
    """
    if terminal.as_json or not sys.stdin.isatty():
        raise StateError("nothing is adopted unless somebody says so: --yes does, --dry-run shows what it would be")
    terminal.note("Nothing checks that they hold what today's code gives from today's inputs: that is for you to say.")
    return typer.confirm(f"Record these {count} as built?", default=False, err=True)


@app.command("export")
def state_export(
    file: Annotated[Path | None, typer.Argument(help="Where to write; standard output if nothing is said.")] = None,
    project_dir: ProjectDir = Path(), target: Target = None, as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
) -> None:  # fmt: skip
    """Write the state of the environment as JSON."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        from sao_dagster.state.export import export_state

        opened = request.open()
        exported = export_state(opened.store, opened.environment)
        if file is None:
            terminal.json(exported)
            return OK
        try:
            file.write_text(json.dumps(exported, indent=1), encoding="utf-8")
        except OSError as error:
            raise StateError(f"the state cannot be written to {file}: {error.strerror}") from error
        count = len(exported["builds"]) + len(exported["tests"])
        if as_json:
            terminal.json({"environment": opened.environment, "file": str(file), "exported": count})
        else:
            terminal.say(f"{count} records of {opened.environment} written to {escaped(str(file))}")
        return OK

    run_command(request, action)


@app.command("import")
def state_import(
    file: Annotated[Path, typer.Argument(help="An export.")],
    project_dir: ProjectDir = Path(), target: Target = None, as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
) -> None:  # fmt: skip
    """Read an export into the environment, over what it has."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        from sao_dagster.state.export import import_state

        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise StateError(f"the export {file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise StateError(f"{file} is not JSON: {error}") from error
        opened = request.open()
        count = import_state(opened.store, opened.environment, data)
        if as_json:
            terminal.json({"environment": opened.environment, "imported": count})
        else:
            terminal.say(f"{count} records read into {opened.environment}")
        return OK

    run_command(request, action)
