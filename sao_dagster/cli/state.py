"""`sao state`: look at the shared state, clear it, move it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sao_dagster.cli.common import (
    OK,
    AsJson,
    ProjectDir,
    Request,
    Select,
    Target,
    Vars,
    people,
    print_json,
    run_command,
    selection_of,
    shown_url,
)

app = typer.Typer(help="Look at the shared state, clear it, move it.", no_args_is_help=True)


@app.command("show")
def state_show(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, as_json: AsJson = False,
    variables: Vars = None,
) -> None:  # fmt: skip
    """Show the last build of each model, and what is being built."""
    request = Request(project_dir, target, variables, as_json=as_json)

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
                    "fence": each.fence,
                    "expires_at": each.expires_at.isoformat(),
                }
                for each in held
            ]
            print_json(
                {
                    "environment": opened.environment,
                    "state_url": shown_url(opened),
                    "builds": rows,
                    "leases": leases,
                }
            )
            return OK
        table = Table("model", "built", "rows", "seconds", "data version", "run", box=None)
        for name, each in sorted(records.items()):
            rows_text = "-" if each.rows is None else str(each.rows)
            table.add_row(
                name,
                each.built_at.isoformat(timespec="seconds"),
                rows_text,
                f"{each.seconds:.2f}",
                each.data_version.token[-12:],
                each.run_id[:8],
            )
        Console(highlight=False).print(table)
        for lease in held:
            until = lease.expires_at.isoformat(timespec="seconds")
            people().print(
                f"{lease.model} is being built by run {lease.run_id} [dim](its lease lasts until {until})[/]"
            )
        people().print(f"[dim]{opened.environment} in {shown_url(opened)}[/]")
        return OK

    run_command(request, action)


@app.command("environments")
def state_environments(
    project_dir: ProjectDir = Path(), target: Target = None, as_json: AsJson = False, variables: Vars = None
) -> None:
    """List the environments that the shared state knows."""
    request = Request(project_dir, target, variables, as_json=as_json)

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
            print_json({"environment": here, "state": shown_url(opened), "environments": listed})
            return OK
        table = Table("", "environment", "schema", "database", "models built", box=None)
        for each in found:
            mark = "*" if each.key == here else ""
            table.add_row(mark, each.key, each.schema, ", ".join(each.places), str(each.builds))
        Console(highlight=False).print(table)
        people().print(f"[dim]{here} in {shown_url(opened)}[/]")
        return OK

    run_command(request, action)


@app.command("clear")
def state_clear(
    project_dir: ProjectDir = Path(), target: Target = None, select: Select = None, as_json: AsJson = False,
    variables: Vars = None,
) -> None:  # fmt: skip
    """Forget builds and verdicts, of everything or of a selection; what is forgotten is built again."""
    request = Request(project_dir, target, variables, as_json=as_json)

    def action() -> int:
        opened = request.open()
        environment = opened.environment
        if select:
            chosen = selection_of(opened, select, None)
            gone = opened.store.clear(environment, chosen.nodes, chosen.tests)
        else:
            gone = opened.store.clear(environment, None, None)
        if as_json:
            print_json({"environment": environment, "cleared": gone})
        else:
            people().print(f"{gone} records of {environment} forgotten")
        return OK

    run_command(request, action)


@app.command("export")
def state_export(
    file: Annotated[Path | None, typer.Argument(help="Where to write; standard output if nothing is said.")] = None,
    project_dir: ProjectDir = Path(), target: Target = None, variables: Vars = None,
) -> None:  # fmt: skip
    """Write the state of the environment as JSON."""
    request = Request(project_dir, target, variables)

    def action() -> int:
        from sao_dagster.state.export import export_state

        opened = request.open()
        exported = export_state(opened.store, opened.environment)
        if file is None:
            print_json(exported)
        else:
            file.write_text(json.dumps(exported, indent=1), encoding="utf-8")
        return OK

    run_command(request, action)


@app.command("import")
def state_import(
    file: Annotated[Path, typer.Argument(help="An export.", exists=True, dir_okay=False)],
    project_dir: ProjectDir = Path(), target: Target = None, variables: Vars = None,
) -> None:  # fmt: skip
    """Read an export into the environment, over what it has."""
    request = Request(project_dir, target, variables)

    def action() -> int:
        from sao_dagster.errors import StateError
        from sao_dagster.state.export import import_state

        opened = request.open()
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StateError(f"{file} is not JSON: {error}") from error
        count = import_state(opened.store, opened.environment, data)
        people().print(f"{count} records read into {opened.environment}")
        return OK

    run_command(request, action)
