"""`sao`: plan, build, test, explain, look after the state. The same core and state as in Dagster, without Dagster.

What programs read goes to standard output; progress and messages for people go to standard error.
"""

from __future__ import annotations

import typer

from sao_dagster.cli import build, explain, init, savings, state

app = typer.Typer(
    name="sao",
    help="Build only the SQL models whose result would change, and say why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(build.app)
app.add_typer(explain.app)
app.add_typer(savings.app)
app.add_typer(init.app)
app.add_typer(state.app, name="state")


def main() -> None:
    """Run the command line."""
    app()
