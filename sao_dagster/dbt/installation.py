"""Where dbt is: in this environment, or in one of its own that a setting names or that is on the path."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sao_dagster.errors import ProjectError, UnsupportedError

HOW = "pip install 'sao-dagster[dbt]' and the adapter (dbt-duckdb, dbt-postgres, …), or name a Python that has them as `dbt` in sao.yml"
VERSION_SECONDS = 60.0  # for a program to say which one it is


@dataclass(frozen=True)
class DbtInstallation:
    """An environment that has dbt.

    Attributes:
        python: Its Python; None where dbt is a program of its own, as dbt 2.x is.
        program: The program `dbt`, where it is known.
    """

    python: Path | None = None
    program: Path | None = None

    @property
    def command(self) -> list[str]:
        """How a command of dbt begins."""
        if self.program is not None:
            return [str(self.program)]
        beside = None if self.python is None else self.python.parent / "dbt"
        if beside is not None and beside.is_file():
            return [str(beside)]
        return [str(self.python), "-c", "import sys; from dbt.cli.main import cli; cli(sys.argv[1:])"]

    @property
    def is_python(self) -> bool:
        """Whether it is dbt 1.x, which is Python, as far as can be seen without starting it."""
        found = self.version.split() if self.python is not None else []
        return self.python is not None and (not found or any(not re.match(r"dbt(_core)?-2\.", each) for each in found))

    def check_program(self) -> str:
        """Return which dbt a program without Python says to be.

        Raises:
            UnsupportedError: None that builds where the profile says: another program of that name, or dbt's command line for its platform.
        """
        try:
            command = [*self.command, "--version"]
            asked = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_SECONDS, check=False)  # noqa: S603 - the dbt that a setting names, or that is on the path
            said = (asked.stdout + asked.stderr).strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
        found = re.search(r"\bdbt(?:-fusion|-core)?:? v?[2-9]\.\S+", said)
        if found is None:
            raise UnsupportedError(f"{self.program} is no dbt 2.x: to --version it says {said!r}; {HOW}")
        return found[0]

    @property
    def version(self) -> str:
        """What of dbt is installed there: the names of the metadata of its packages, which have their versions in them; or the state of its program."""
        if self.python is None:
            assert self.program is not None  # noqa: S101 - one of them is there
            stat = self.program.stat()
            return f"{self.program} {stat.st_size} {stat.st_mtime_ns}"
        places = [self.python.parent.parent / "lib", self.python.parent.parent / "Lib"]
        folders = [each for place in places for each in (place / "site-packages", *place.glob("python*/site-packages"))]
        found = {each.name for folder in folders for each in folder.glob("dbt*.dist-info")}
        return " ".join(sorted(found))


def find_dbt(setting: str | None, root: Path) -> DbtInstallation:
    """Return where dbt is.

    Args:
        setting: A Python, the program `dbt`, or the folder of a virtual environment; relative to the project's folder. None to look for it.
        root: The project's folder.

    Raises:
        ProjectError: There is none where the setting says.
        UnsupportedError: There is none.
    """
    if setting is not None:
        return _installed_at(root / Path(setting).expanduser(), setting)
    if importlib.util.find_spec("dbt") is not None and importlib.util.find_spec("dbt.cli") is not None:
        return DbtInstallation(Path(sys.executable))
    program = shutil.which("dbt")
    if program is not None:
        return DbtInstallation(_python_of(Path(program)), Path(program))
    raise UnsupportedError(f"dbt is not installed; {HOW}")


def is_installed(setting: str | None, root: Path) -> bool:
    """Return whether dbt is there; see `find_dbt`."""
    try:
        find_dbt(setting, root)
    except UnsupportedError:
        return False
    return True


def _installed_at(place: Path, setting: str) -> DbtInstallation:
    """Return the dbt that a setting means."""
    if place.is_dir():
        found = next((each for each in (place / "bin/python", place / "Scripts/python.exe") if each.is_file()), None)
        if found is not None:
            return DbtInstallation(found)
    elif place.is_file() and place.name.startswith("dbt"):
        return DbtInstallation(_python_of(place), place)
    elif place.is_file():
        return DbtInstallation(place)
    what = "no Python, no program dbt and no virtual environment"
    raise ProjectError(f"dbt: {setting} in sao.yml is {what}")


def _python_of(program: Path) -> Path | None:
    """Return the Python of the script `dbt`: that beside it, or the one that its first line names."""
    if not program.is_file():
        return None
    beside = program.resolve().parent / "python"
    if beside.is_file():
        return beside
    with program.open("rb") as file:
        first = file.readline().decode(errors="replace").strip()
    named = Path(first.removeprefix("#!").split(" ")[0]) if first.startswith("#!") and "python" in first else None
    return named if named is not None and named.is_file() else None
