"""`sao`: plan, build, test, explain, look after the state. The same core and state as in Dagster, without Dagster.

Results go to standard output, for people or as JSON; progress, notices and errors go to standard error.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sao_dagster.cli import build, ci, explain, init, savings, state, ui
from sao_dagster.cli.options import Group
from sao_dagster.gc_pause import collect_rarely, keep_all
from sao_dagster.version import __version__

app = typer.Typer(
    name="sao",
    cls=Group,
    help="Build only the SQL models whose result would change, and say why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(build.app)
app.add_typer(explain.app)
app.add_typer(savings.app)
app.add_typer(init.app)
app.add_typer(ui.app)
app.add_typer(state.app, name="state")
app.add_typer(ci.app, name="ci")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sao {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version, and end.")
    ] = False,
) -> None:
    """Build only the SQL models whose result would change, and say why."""


def main() -> None:
    """Run the command line; characters that a stream cannot show do not end it."""
    collect_rarely()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app()
    finally:
        keep_all()
