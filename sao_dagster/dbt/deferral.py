"""What is read from another environment where dbt builds: dbt renders what reads it, which is kept from one run to the next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from sao_dagster.core.deferral import Deferral
from sao_dagster.core.hashing import digest
from sao_dagster.core.selection import Selection
from sao_dagster.errors import UnsupportedError
from sao_dagster.projects.cache import kept_file, load, save
from sao_dagster.projects.dbt_manifest import ManifestReader, PreparedManifest
from sao_dagster.projects.declarations import Declarations, ReadByDbt
from sao_dagster.warehouses.protocol import Session

Places = Mapping[str, "tuple[str | None, str, str]"]
"""Database, schema and identifier in the other environment, by what dbt calls a node."""


@dataclass(frozen=True)
class ReadElsewhere:
    """What a node or data test is where it reads something elsewhere.

    Attributes:
        where: A digest of what it reads there, and where that is.
        relations: What of it is written how by dbt, by unique id.
        rendered: See `PreparedManifest.rendered`; None for what is no SQL.
        hooks: See `PreparedManifest.hooks`; None for a data test.
        answered: See `PreparedManifest.answered`.
    """

    where: str
    relations: Mapping[str, str]
    rendered: Mapping[str, Any] | None
    hooks: Mapping[str, Any] | None
    answered: str | None


@dataclass(frozen=True)
class KeptElsewhere:
    """What was rendered so, by unique id: the last of each.

    Attributes:
        key: Digest of all else that it follows from.
    """

    key: str
    found: Mapping[str, ReadElsewhere] = field(default_factory=dict)


@runtime_checkable
class RendersElsewhere(Protocol):
    """A session in which dbt builds, and may read nodes from another environment.

    Attributes:
        elsewhere: What was rendered for that; None as long as nothing is.
    """

    elsewhere: KeptElsewhere | None

    def made_of(self, environment: Mapping[str, str | None]) -> str:
        """Return a digest of all that dbt's account of the project follows from."""

    def read_elsewhere(self, places: Places) -> None:
        """Let dbt read nodes elsewhere in what it builds; nothing has been built yet."""

    def rendered_elsewhere(
        self, places: Places, nodes: Sequence[str], reader: Callable[[PreparedManifest], ManifestReader]
    ) -> tuple[PreparedManifest, Mapping[str, str]]:
        """Return what dbt renders where nodes are read elsewhere, and how it writes these; see `Preparation.rendered_elsewhere`.

        A database that one process alone can have is let go meanwhile.
        """


def deferring_in_dbt(
    declared: Declarations, deferral: Deferral, selection: Selection, session: Session
) -> Declarations | None:
    """Let dbt read nodes from another environment in a session, and return the declarations in which they are read there.

    Args:
        declared: What dbt has declared.
        deferral: What is read there.
        selection: What reads it. What is not selected is as it was built, and reads what it read then.
        session: A session in which dbt builds, which lets go of a database that one process alone can have where dbt has to render something.

    Returns:
        The declarations; None where the session has let go of the database meanwhile, so that something else may be there now.

    Raises:
        WarehouseError: dbt cannot render it; its words.
        UnsupportedError: dbt is given what is to be built.
    """
    said = declared.dbt
    assert said is not None  # noqa: S101 - dbt has read what it builds
    if not isinstance(session, RendersElsewhere):
        raise UnsupportedError(
            f"dbt is given what is to be built here, and its `ref` gives what is in this environment alone, so nothing is read in {deferral.environment}; "
            f"with dbt 1.8 to 1.12 it can be"
        )
    places: dict[str, tuple[str | None, str, str]] = {
        said.ids[name]: (each.database, each.schema, each.identifier)
        for name, each in deferral.relations.items()
        if name in said.ids
    }
    chosen = {said.ids[name] for name in (*selection.nodes, *selection.tests) if name in said.ids}
    wheres = {name: digest(sorted(each.items())) for name, each in _reading(said.manifest, places, chosen).items()}
    kept, file = session.elsewhere, kept_file(declared.root, declared.environment, "deferred")
    if kept is None:
        key, before = session.made_of(said.environment), load(file)
        kept = before if isinstance(before, KeptElsewhere) and before.key == key else KeptElsewhere(key)
    missing = [name for name, where in wheres.items() if name not in kept.found or kept.found[name].where != where]
    if missing:
        reader = partial(_reader, declared, said)
        prepared, relations = session.rendered_elsewhere(places, missing, reader)
        found = {
            name: ReadElsewhere(
                where=wheres[name],
                relations=relations,
                rendered=prepared.rendered.get(name),
                hooks=prepared.hooks.get(name),
                answered=prepared.answered.get(name),
            )
            for name in missing
        }
        session.elsewhere = replace(kept, found={**kept.found, **found})
        save(file, session.elsewhere)
        return None
    session.elsewhere = kept
    session.read_elsewhere(places)
    return _declared(declared, said, deferral, {name: kept.found[name] for name in wheres})


def _reading(manifest: Mapping[str, Any], places: Places, chosen: Collection[str]) -> dict[str, Places]:
    """Return what reads something elsewhere, also by way of ephemerals: what is chosen, and ephemerals; with what that is."""
    nodes = manifest["nodes"]
    ephemerals = {name for name, node in nodes.items() if node["config"].get("materialized") == "ephemeral"}

    def read(name: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
        for each in nodes[name]["depends_on"].get("nodes", ()):
            if each in places:
                yield each
            elif each in ephemerals and each not in seen:
                yield from read(each, seen | {each})

    asked = [each for each in (*chosen, *ephemerals) if each in nodes and each not in places]
    found = {name: {each: places[each] for each in read(name)} for name in asked} if places else {}
    return {name: each for name, each in sorted(found.items()) if each}


def _reader(declared: Declarations, said: ReadByDbt, prepared: PreparedManifest) -> ManifestReader:
    """Return what reads the manifest with other renderings."""
    return ManifestReader(replace(prepared, manifest=said.manifest, profile=said.profile), declared)


def _declared(
    declared: Declarations, said: ReadByDbt, deferral: Deferral, found: Mapping[str, ReadElsewhere]
) -> Declarations:
    """Return the declarations in which nodes are read elsewhere, and what reads them is as it was rendered so."""
    prepared = PreparedManifest(
        said.manifest,
        {name: each.rendered for name, each in found.items() if each.rendered is not None},
        {name: each.answered for name, each in found.items()},
        hooks={name: each.hooks for name, each in found.items() if each.hooks is not None},
    )
    read = _reader(declared, said, prepared)
    nodes, tests = read.declared_anew(found)
    written = {name: text for each in found.values() for name, text in each.relations.items()}
    relations = {
        name: read.written(each, written.get(said.ids.get(name, ""))) for name, each in deferral.relations.items()
    }
    changed = declared.deferring(deferral.environment, relations)
    changed.nodes = [nodes.get(each.id, each) for each in changed.nodes]
    changed.tests = [each if each.name is None else tests.get(each.name, each) for each in changed.tests]
    return changed
