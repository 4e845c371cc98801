"""What shows that relations and files were written to (`Session.movements`), and what follows where it has moved since it was seen last.

A relation that has not moved is as it was, without reading it. One that has may still hold the same, so it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

from sao_dagster.core.data_version import ANY_BUILD, DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import InputKind, UndeclaredInput, is_undeclared
from sao_dagster.core.nodes import Source, is_source
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.relations import Relation
from sao_dagster.run.reached import Reached
from sao_dagster.warehouses.protocol import Catalog, ContentTokens, ReadFiles, Session
from sao_dagster.warehouses.shared.files import patterns_of, stamp_of_files

STAMP = "movements"
"""Under which contents of sources are kept in the state, in place of the stamp of a warehouse that has one for everything in it."""


def movements_of(
    project: Project,
    session: Session,
    catalog: Catalog,
    names: Iterable[str],
    reached: Reached | None = None,
    files_behind: Callable[[Collection[Relation]], Mapping[Relation, ReadFiles]] | None = None,
) -> dict[str, str]:
    """Return what shows of sources, nodes and undeclared inputs that they were written to; no entry where nothing does.

    Args:
        project: The project.
        session: The warehouse, open.
        catalog: What is in it.
        names: What is asked for.
        reached: What was followed in the warehouse just before; None to look anew.
        files_behind: Returns the files that views read; None to ask the warehouse.
    """
    wanted = list(names)
    undeclared = [project.undeclared[name] for name in wanted if is_undeclared(name)]
    declared = [name for name in wanted if name in project.nodes or name in project.sources]
    relations = {name: relation for name in declared if (relation := project.relation(name)) is not None}
    reached = reached or Reached(session, project.dialect)
    below = reached.all_of(undeclared) if undeclared else []
    every = dict.fromkeys((*relations.values(), *reached.relations.values()))
    there = [each for each in every if each.key in catalog]
    tokens = dict(session.movements(catalog, there)) if there else {}
    views = [each for each in there if catalog[each.key].is_view and each in tokens]
    asked = files_behind or partial(session.files_behind, catalog)
    for view, files in asked(views).items() if views else ():
        stamp = stamp_of_files(files)
        tokens[view] = digest([tokens[view], stamp])
        if stamp is None:
            del tokens[view]
    found = {name: tokens.get(relation) for name, relation in relations.items()}
    for name in declared:
        if is_source(name) and (source := project.sources[name]).files:
            found[name] = stamp_of_files(patterns_of(source, project.root))
    leaves: dict[UndeclaredInput, str | None] = {}
    for each in below:
        if each in reached.relations:
            leaves[each] = tokens.get(reached.relations[each])
        elif reached.is_file(each):
            leaves[each] = stamp_of_files([session.read_paths().of(each.name)])
    for each in undeclared:
        parts = reached.parts_of(each, leaves)
        if parts is not None:
            functions, behind = parts
            writes = [info.written for name in sorted(functions) if (info := reached.functions[name]) is not None]
            found[each.id] = digest([sorted(functions.items()), sorted(behind.items()), writes])
    return {name: token for name, token in found.items() if token is not None}


def may_read_files(project: Project, name: str) -> bool:
    """Return whether an input is, or may come from, files: others can write these whoever holds the database."""
    if is_undeclared(name):
        return project.undeclared[name].kind is not InputKind.UNKNOWN
    return is_source(name) and bool(project.sources[name].files)


@dataclass(frozen=True)
class KeptSources:
    """Contents of sources that were read before, under the tokens that they had just before that.

    Attributes:
        relations: By source, its table.
        found: What shows now that these tables hold what they did.
    """

    relations: Mapping[str, Relation]
    found: ContentTokens

    @classmethod
    def of(cls, sources: Iterable[Source], session: Session, catalog: Catalog) -> KeptSources:
        """Return the sources among some that are read for their version; their content is to be read after this."""
        read = {each.id: each.relation for each in sources if each.relation is not None and not each.says_loaded_at}
        there = {name: relation for name, relation in read.items() if relation.key in catalog}
        return cls(there, session.content_tokens(list(there.values())) if there else ContentTokens())

    def known(self, kept: Mapping[str, DataVersion]) -> dict[Relation, DataVersion]:
        """Return the versions of what has not changed since it was kept."""
        known = {}
        for name, relation in self.relations.items():
            token, scheme, content = kept[name].token.split(" ", 2) if name in kept else ("", "", "")
            if self.found.are_settled and name in kept and token == self.found.tokens.get(relation):
                known[relation] = DataVersion(scheme, content)
        return known

    def to_keep(self, versions: Mapping[str, DataVersion | None]) -> dict[str, DataVersion]:
        """Return what to keep of the versions that were read."""
        tokens = self.found.tokens
        return {
            name: DataVersion("content", f"{tokens[relation]} {version.scheme} {version.token}")
            for name, relation in self.relations.items()
            if relation in tokens and (version := versions.get(name)) is not None
        }


IDENTITY = "identity "
"""How what is recorded of a build begins where it tells the relation alone (`Session.identities`), and not what is written to it."""


def is_watched(record: BuildRecord) -> bool:
    """Return whether what is recorded of a build shows that somebody has written to it since: the warehouse keeps the build, or has counted it."""
    return record.build_id is not None or (record.movement is not None and not record.movement.startswith(IDENTITY))


@dataclass(frozen=True)
class Moved:
    """Nodes that are known by their build, and were perhaps written to since.

    Attributes:
        records: Their last builds, by name.
        now: By name, what shows writes to each now; None where nothing does.
    """

    records: Mapping[str, BuildRecord]
    now: Mapping[str, str | None]

    @classmethod
    def since(cls, records: Mapping[str, BuildRecord], tokens: Mapping[str, str | None]) -> Moved:
        """Return which of some nodes have moved since they were built, or of which nothing shows whether they have."""
        built = {name: record for name in tokens if (record := records.get(name)) is not None and is_watched(record)}
        moved = {
            name: record for name, record in built.items() if tokens[name] is None or tokens[name] != record.movement
        }
        return cls(moved, {name: tokens[name] for name in moved})

    @cached_property
    def to_read(self) -> list[str]:
        """Those whose content says whether they are as they were built."""
        return [name for name, record in self.records.items() if not record.data_version.comparable(ANY_BUILD)]

    def altered(self, found: Mapping[str, DataVersion | None]) -> dict[str, bool | None]:
        """Return whether each holds something else than was built; None where that is not known.

        Where the version of a build is the build itself, there is no content to compare with, and whoever moved it is taken to have
        changed it.
        """
        said: dict[str, bool | None] = {}
        to_read = set(self.to_read)
        for name, record in self.records.items():
            recorded, content = record.data_version, found.get(name)
            if name not in to_read:
                said[name] = None if None in (self.now[name], record.movement) else True
            elif content is not None and content.comparable(recorded):
                said[name] = content != recorded
            else:
                said[name] = None
        return said

    def unmoved(self, altered: Mapping[str, bool | None]) -> tuple[BuildRecord, ...]:
        """Return the builds of those that hold what was built, with what shows that from now on."""
        return tuple(
            replace(record, movement=self.now[name])
            for name, record in self.records.items()
            if altered[name] is False and self.now[name] is not None
        )
