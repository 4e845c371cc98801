"""The assembled project, kept from one load to the next under a digest of everything it was made from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from sao_dagster.core.project import Project
from sao_dagster.gc_pause import no_collection
from sao_dagster.projects.cache import MADE_BY, TemplateCodes, kept_file, load, save
from sao_dagster.projects.declarations import Declarations
from sao_dagster.projects.templates.texts import builtin_macros


@dataclass(frozen=True)
class AssembledProject:
    """An assembled project.

    Attributes:
        key: Digest of what it was made from.
        variables: The environment variables that were read, with their values then.
        project: The project.
        is_lasting: Whether it is the same at another time: no template configures a node by the clock.
    """

    key: str
    variables: Mapping[str, str | None]
    project: Project
    is_lasting: bool = True

    @property
    def holds(self) -> bool:
        """Whether the environment variables still are what they were."""
        return all(os.environ.get(name) == value for name, value in self.variables.items())


def assemble(declared: Declarations) -> AssembledProject:
    """Return the project that declarations mean, from the cache if nothing it depends on has changed."""
    key = hashlib.blake2b(f"{MADE_BY} {builtin_macros()!r} {declared!r}".encode(), digest_size=16).hexdigest()
    with no_collection():
        return _cached(declared, key) if declared.has_folder else _assembled(declared, key)


def _assembled(declared: Declarations, key: str) -> AssembledProject:
    from sao_dagster.projects.assembly.assemble import put_together  # with Jinja and the parser

    project, variables, is_lasting = put_together(declared)
    return AssembledProject(key, dict(variables), project, is_lasting)


def _cached(declared: Declarations, key: str) -> AssembledProject:
    place = declared.environment if declared.deferred is None else f"{declared.environment} {declared.deferred}"
    file = kept_file(declared.root, place, "project")
    kept = load(file)
    if isinstance(kept, AssembledProject) and kept.key == key and kept.holds:
        return kept
    codes = TemplateCodes.open(file.with_name("templates"))
    made = _assembled(declared, key)
    codes.save()
    # what is wrong with a template may follow from what is installed; what dbt says is wrong is declared
    has_lasting_errors = declared.dbt is not None or not made.project.broken
    if made.is_lasting and has_lasting_errors and not made.project.errors:
        save(file, made)
    return made
