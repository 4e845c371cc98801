"""What shows that relations were written to (`Session.movements`), and what follows where it has moved since it was seen last.

A relation that has not moved is as it was, without reading it. One that has may still hold the same, so it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from sao_dagster.core.data_version import ANY_BUILD, DataVersion
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.warehouses.protocol import Catalog, Session

STAMP = "movements"
"""Under which movements are kept in the state, in place of the stamp of a warehouse that has one for everything in it."""


def movements_of(project: Project, session: Session, catalog: Catalog, names: Iterable[str]) -> dict[str, str]:
    """Return what shows of sources and nodes that they were written to; no entry where nothing does, as of undeclared inputs."""
    declared = [name for name in names if name in project.nodes or name in project.sources]
    relations = {name: relation for name in declared if (relation := project.relation(name)) is not None}
    there = {relation for relation in relations.values() if relation.key in catalog}
    tokens = session.movements(catalog, there) if there else {}
    return {name: tokens[relation] for name, relation in relations.items() if relation in tokens}


def movement_of(build_id: str, token: str) -> DataVersion:
    """Return what is kept of a build: where this is the same, nobody has written to its relation since."""
    return DataVersion("movement", f"{build_id} {token}")


@dataclass(frozen=True)
class Moved:
    """Nodes that are known by their build, and were perhaps written to since.

    Attributes:
        records: The last builds.
        kept: By node, what was kept of a build.
        now: By node, the same as it is now, of those that somebody may have written to.
    """

    records: Mapping[str, BuildRecord]
    kept: Mapping[str, DataVersion]
    now: Mapping[str, DataVersion]

    @classmethod
    def since(
        cls, records: Mapping[str, BuildRecord], kept: Mapping[str, DataVersion], tokens: Mapping[str, str]
    ) -> Moved:
        """Return which of the nodes with tokens have moved since something was kept of them, or of which nothing was kept."""
        now = {
            name: movement_of(build_id, token)
            for name, token in tokens.items()
            if (record := records.get(name)) is not None and (build_id := record.build_id) is not None
        }
        return cls(records, kept, {name: each for name, each in now.items() if kept.get(name) != each})

    @cached_property
    def to_read(self) -> list[str]:
        """Those whose content says whether they are as they were built."""
        return [name for name in self.now if not self.records[name].data_version.comparable(ANY_BUILD)]

    def altered(self, found: Mapping[str, DataVersion | None]) -> dict[str, bool | None]:
        """Return whether each holds something else than was built; None where that is not known.

        Where the version of a build is the build itself, there is no content to compare with, and whoever moved it is taken to have
        changed it.
        """
        said: dict[str, bool | None] = {}
        to_read = set(self.to_read)
        for name in self.now:
            recorded, content = self.records[name].data_version, found.get(name)
            if name not in to_read:
                said[name] = name in self.kept and self.kept[name].token.split()[0] == self.records[name].build_id
            elif content is not None and content.comparable(recorded):
                said[name] = content != recorded
            else:
                said[name] = None
        return said
