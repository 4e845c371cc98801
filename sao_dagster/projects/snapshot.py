"""The assembled project, kept from one load to the next under a digest of everything it was made from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from sao_dagster.core.collection import no_collection
from sao_dagster.core.models import Project
from sao_dagster.projects.cache import FOLDER, MADE_BY, TemplateCodes, load, save
from sao_dagster.projects.declarations import Declarations

Assemble = Callable[[Declarations], tuple[Project, Mapping[str, str | None]]]


def cached_assembly(declared: Declarations, assemble: Assemble, also: str) -> Project:
    """Return the project that declarations mean, from the cache if nothing it depends on has changed.

    Args:
        declared: The declarations.
        assemble: Puts them together; also returns the environment variables that were read, with their values.
        also: What else the result depends on.
    """
    with no_collection():
        return _cached(declared, assemble, also)


def _cached(declared: Declarations, assemble: Assemble, also: str) -> Project:
    folder = Path(declared.root) / FOLDER
    file = folder / f"{declared.environment}.project"
    key = hashlib.blake2b(f"{MADE_BY} {also} {declared!r}".encode(), digest_size=16).hexdigest()
    kept = load(file)
    if isinstance(kept, tuple) and kept[0] == key and _same_environment(kept[1]):
        found: Project = kept[2]
        return found
    codes = TemplateCodes.open(folder / "templates")
    project, variables = assemble(declared)
    codes.save()
    if not project.errors:
        save(file, (key, dict(variables), project))
    return project


def _same_environment(variables: Mapping[str, str | None]) -> bool:
    return all(os.environ.get(name) == value for name, value in variables.items())
