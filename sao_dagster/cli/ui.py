"""`sao ui`: the project in Dagster's UI."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sao_dagster.cli.common import Request, run_command
from sao_dagster.cli.options import ProfilesDir, ProjectDir, StateUrl, Target
from sao_dagster.cli.terminal import Terminal
from sao_dagster.core.messages import Level, Message

app = typer.Typer()

SERVED = "sao_dagster.dagster.served"
OWN_DEFINITIONS = ("workspace.yaml", "definitions.py")
"""What says what Dagster shows of a project, the first that is there; without one it is the project alone."""


@app.command("ui")
def ui(
    project_dir: ProjectDir = Path(),
    target: Target = None,
    profiles_dir: ProfilesDir = None,
    state_url: StateUrl = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="The port of the web server.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="The host of the web server.")] = None,
) -> None:
    """Start Dagster's UI on the project (`dagster dev`), with the state that the command line uses."""
    terminal = Terminal()
    request = Request(project_dir, target, None, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url)

    def action() -> int:
        opened = request.open()
        root = project_dir.resolve()
        environment = served_environment(root, opened.state_url, os.environ, target, profiles_dir)
        Path(environment["DAGSTER_HOME"]).mkdir(parents=True, exist_ok=True)
        command = served_command(root, port, host)
        said = f"{typed(command, root)}; Dagster keeps its runs in {environment['DAGSTER_HOME']}"
        terminal.message(Message(said, Level.INFO))
        os.chdir(root)
        if os.name == "posix":  # it takes the place of this process, and with it what stops it
            os.execve(command[0], command, environment)  # noqa: S606 - this Python, on the user's own project
        return subprocess.call(command, env=environment)  # noqa: S603 - as above

    run_command(request, action)


def served_command(root: Path, port: int | None = None, host: str | None = None) -> list[str]:
    """Return the command that shows a project: by its own definitions where it has some."""
    own = next((each for each in OWN_DEFINITIONS if (root / each).is_file()), None)
    shown = ["-m", SERVED]
    if own is not None:
        shown = ["-w" if own.endswith(".yaml") else "-f", own]
    options = [*(["--port", str(port)] if port else []), *(["--host", host] if host else [])]
    return [sys.executable, "-m", "dagster", "dev", *shown, *options]


def typed(command: list[str], root: Path) -> str:
    """Return the command as somebody would type it in the project's folder.

    >>> typed(served_command(Path("/nowhere")), Path("/nowhere"))
    'SAO_PROJECT_DIR=/nowhere dagster dev -m sao_dagster.dagster.served'
    """
    told = shlex.join(command[2:])
    return f"SAO_PROJECT_DIR={shlex.quote(str(root))} {told}" if SERVED in command else told


def served_environment(
    root: Path,
    state_url: str,
    environment: Mapping[str, str],
    target: str | None = None,
    profiles_dir: Path | None = None,
) -> dict[str, str]:
    """Return the environment of that command: one state and one target with the command line, and a home for Dagster that stays."""
    home = environment.get("DAGSTER_HOME") or str(root / ".sao" / "dagster")
    chosen = {"DBT_TARGET": target, "DBT_PROFILES_DIR": profiles_dir and str(profiles_dir.resolve())}
    return {
        **environment,
        "DAGSTER_HOME": home,
        "SAO_STATE_URL": state_url,
        "SAO_PROJECT_DIR": str(root),
        **{name: value for name, value in chosen.items() if value},
    }
