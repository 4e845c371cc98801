"""Where the shared state of a deployment is, if nobody says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from sao_dagster.errors import StateError
from sao_dagster.state.url import without_password

SQLITE_FILE = "sao_state.db"
STATES = "states.json"
"""In the folder of a project: by environment, the states that runs from here have built it with, and when last (UTC)."""


def default_state_url(root: Path) -> str:
    """Return the URL of the state of a project.

    The first of: the database of the Dagster instance, if that is PostgreSQL; a file in `DAGSTER_HOME`; a file in the project's
    folder.

    Args:
        root: The project's folder.

    Raises:
        StateError: `dagster.yaml` cannot be read, or needs an environment variable that is not set.
    """
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        return f"sqlite:///{root / '.sao' / 'state.db'}"
    return _of_instance(Path(home) / "dagster.yaml") or f"sqlite:///{Path(home) / SQLITE_FILE}"


def state_beside(root: Path, url: str) -> str | None:
    """Return the URL of the state that runs without `DAGSTER_HOME` have left in a project's folder, where another one is used; else None.

    Two states that build one project do not know of each other: each takes the other's builds for changes by someone else.
    """
    file = root / ".sao" / "state.db"
    beside = f"sqlite:///{file}"
    return beside if url != beside and file.is_file() else None


def note_state(root: Path, environment: str, url: str, at: datetime) -> None:
    """Note in a project's folder which state a run has just built an environment with; a folder that cannot be written keeps no note."""
    file = root / ".sao" / STATES
    noted = _noted(file)
    noted.setdefault(environment, {})[without_password(url)] = at.isoformat()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(noted, indent=1), encoding="utf-8")


def state_elsewhere(root: Path, environment: str, url: str) -> str | None:
    """Return the state that another run from this folder has built an environment with since this one was last used for it; None for none."""
    noted = {each: str(at) for each, at in _noted(root / ".sao" / STATES).get(environment, {}).items()}
    last = noted.pop(without_password(url), "")
    later = [(at, each) for each, at in noted.items() if at > last]
    return max(later)[1] if later else None


def _noted(file: Path) -> dict[str, dict[str, str]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {str(key): dict(each) for key, each in found.items() if isinstance(each, dict)}
        if isinstance(found, dict)
        else {}
    )


def _of_instance(file: Path) -> str | None:
    """Return the URL of the instance's database, if that is PostgreSQL."""
    if not file.is_file():
        return None
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise StateError(f"{file} cannot be read, so it is not known where the state is: {error}") from error
    if not isinstance(settings, Mapping):
        return None
    storage = settings.get("storage")
    config = storage.get("postgres") if isinstance(storage, Mapping) else None
    older = settings.get("run_storage")  # each storage by itself, as dagster.yaml had it first
    if config is None and isinstance(older, Mapping) and str(older.get("module", "")).startswith("dagster_postgres"):
        config = older.get("config")
    if not isinstance(config, Mapping):
        return None
    if config.get("postgres_url") is not None:
        return _value(config["postgres_url"], file)
    parts = config.get("postgres_db")
    if not isinstance(parts, Mapping):
        return None
    found = {key: _value(value, file) for key, value in parts.items() if key != "params"}
    credentials = quote(found.get("username", ""), safe="")
    if "password" in found:
        credentials += f":{quote(found['password'], safe='')}"
    params = parts.get("params")
    query = f"?{urlencode(params, quote_via=quote)}" if isinstance(params, Mapping) and params else ""
    place = f"{found.get('hostname', 'localhost')}:{found.get('port', '5432')}"
    return f"postgresql://{credentials}@{place}/{found.get('db_name', '')}{query}"


def _value(value: Any, file: Path) -> str:
    """Return a setting of `dagster.yaml`, which may name an environment variable."""
    if isinstance(value, Mapping) and "env" in value:
        name = str(value["env"])
        if name not in os.environ:
            raise StateError(f"{file} needs the environment variable {name}, which is not set")
        return os.environ[name]
    return str(value)
