"""`sao`: plan, build, test, explain, look after the state. The same core and state as in Dagster, without Dagster.

Results go to standard output, for people or as JSON; progress, notices and errors go to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from sao_dagster.cli.options import Group
from sao_dagster.gc_pause import collect_rarely, keep_all
from sao_dagster.version import __version__

MODULES = {
    "build": ("plan", "build", "test"),
    "explain": ("explain",),
    "savings": ("savings",),
    "init": ("init",),
    "ui": ("ui",),
    "state": ("state",),
    "ci": ("ci",),
}
"""By module of this package, the commands in it, in the order in which help lists them."""

_GROUPS = ("state", "ci")  # whose commands are called by the group's name first


def app_of(arguments: Sequence[str]) -> typer.Typer:
    """Return the command line with the one command that is called; with all where help is asked for, or what is called is none.

    Each module takes its time to load, and so does each command that typer makes of a function.

    >>> [len(app_of(each).registered_groups) for each in (["build", "--help"], ["--help"], ["biuld"])]
    [1, 7, 7]
    """
    called = next((each for each in arguments if not each.startswith("-")), None)
    modules = [module for module, commands in MODULES.items() if called in commands] or list(MODULES)
    made = typer.Typer(
        name="sao",
        cls=Group,
        help="Build only the SQL models whose result would change, and say why.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    for module in modules:
        part: typer.Typer = import_module(f"{__name__}.{module}").app
        made.add_typer(part, name=module if module in _GROUPS else None)
    made.callback()(root)
    return made


def __getattr__(name: str) -> Any:
    """Return `app`, the command line with all commands; whoever runs one of them needs only that."""
    if name == "app":
        globals()[name] = app_of(())
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sao {__version__}")
        raise typer.Exit


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
        app_of(sys.argv[1:])()
    finally:
        keep_all()
