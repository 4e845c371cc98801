"""Where dbt is: in this environment, or in one of its own that a setting names or that is on the path."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from sao_dagster.errors import ProjectError, UnsupportedError

HOW = "pip install 'sao-dagster[dbt]' and the adapter (dbt-duckdb, dbt-postgres, …), or name a Python that has them as `dbt` in sao.yml"


@dataclass(frozen=True)
class DbtInstallation:
    """An environment that has dbt.

    Attributes:
        python: Its Python.
    """

    python: Path

    @property
    def version(self) -> str:
        """What of dbt is installed there: the names of the metadata of its packages, which have their versions in them."""
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
        return DbtInstallation(_python_at((root / Path(setting).expanduser()), setting))
    if importlib.util.find_spec("dbt") is not None and importlib.util.find_spec("dbt.cli") is not None:
        return DbtInstallation(Path(sys.executable))
    program = shutil.which("dbt")
    if program is not None and (python := _python_of(Path(program))) is not None:
        return DbtInstallation(python)
    raise UnsupportedError(f"dbt is not installed; {HOW}")


def is_installed(setting: str | None, root: Path) -> bool:
    """Return whether dbt is there; see `find_dbt`."""
    try:
        find_dbt(setting, root)
    except UnsupportedError:
        return False
    return True


def _python_at(place: Path, setting: str) -> Path:
    """Return the Python that a setting means."""
    if place.is_dir():
        candidates = [place / "bin/python", place / "Scripts/python.exe"]
    elif place.name.startswith("dbt"):
        candidates = [each for each in [_python_of(place)] if each is not None]
    else:
        candidates = [place]
    found = next((each for each in candidates if each.is_file()), None)
    if found is None:
        what = "no Python, no program dbt of dbt-core 1.x (dbt 2.x has no Python) and no virtual environment"
        raise ProjectError(f"dbt: {setting} in sao.yml is {what}")
    return found


def _python_of(program: Path) -> Path | None:
    """Return the Python of the script `dbt`: that beside it, or the one that its first line names."""
    if not program.is_file():
        return None
    beside = program.resolve().parent / "python"
    if beside.is_file():
        return beside
    with program.open("rb") as file:
        first = file.readline().decode(errors="replace").strip()
    named = Path(first.removeprefix("#!").split(" ")[0]) if first.startswith("#!") else None
    return named if named is not None and named.is_file() else None
