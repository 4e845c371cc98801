"""`sao state`: look at the shared state, clear it, move it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sao_dagster.cli.common import OK, Request, run_command, selection_of, shown_url
from sao_dagster.cli.options import AsJson, Command, ProjectDir, Select, Target, Vars
from sao_dagster.cli.terminal import Terminal, escaped
from sao_dagster.core.messages import Level, Message, local_time
from sao_dagster.errors import StateError
from sao_dagster.run.lease_queue import describe_holder

app = typer.Typer(help="Look at the shared state, clear it, move it.", no_args_is_help=True)


@app.command("show", cls=Command)
def state_show(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, as_json: AsJson = False,
    variables: Vars = None,
) -> None:  # fmt: skip
    """Show the last build of each model, and what is being built."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal)

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
                    each.run_id[:8],
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
        terminal.message(Message(f"{opened.environment} in {shown_url(opened)}", Level.INFO))
        return OK

    run_command(request, action)


@app.command("environments")
def state_environments(
    project_dir: ProjectDir = Path(), target: Target = None, as_json: AsJson = False, variables: Vars = None
) -> None:
    """List the environments that the shared state knows."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal)

    def action() -> int:
        opened = request.open()
        here, found = opened.environment, opened.store.environments()
        if as_json:
            listed = [
                {
                    "environment": each.key,
                    "name": each.name,
                    "schema": each.schema,
                    "places": list(each.places),
                    "builds": each.builds,
                }
                for each in found
            ]
            terminal.json({"environment": here, "state": shown_url(opened), "environments": listed})
            return OK
        terminal.table(
            (
                (
                    "*" if each.key == here else "",
                    each.key,
                    each.schema,
                    escaped(", ".join(each.places)),
                    str(each.builds),
                )
                for each in found
            ),
            headings=("", "environment", "schema", "database", "models built"),
        )
        terminal.message(Message(f"{here} in {shown_url(opened)}", Level.INFO))
        return OK

    run_command(request, action)


@app.command("clear", cls=Command)
def state_clear(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, as_json: AsJson = False,
    variables: Vars = None,
) -> None:  # fmt: skip
    """Forget builds and verdicts, of everything or of a selection; what is forgotten is built again."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal)

    def action() -> int:
        opened = request.open()
        environment = opened.environment
        if select:
            chosen = selection_of(opened, select, None)
            gone = opened.store.clear(environment, chosen.nodes, chosen.tests)
        else:
            gone = opened.store.clear(environment, None, None)
        if as_json:
            terminal.json({"environment": environment, "cleared": gone})
        else:
            terminal.say(f"{gone} records of {environment} forgotten")
        return OK

    run_command(request, action)


@app.command("export")
def state_export(
    file: Annotated[Path | None, typer.Argument(help="Where to write; standard output if nothing is said.")] = None,
    project_dir: ProjectDir = Path(), target: Target = None, as_json: AsJson = False, variables: Vars = None,
) -> None:  # fmt: skip
    """Write the state of the environment as JSON."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal)

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
) -> None:  # fmt: skip
    """Read an export into the environment, over what it has."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, terminal=terminal)

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
