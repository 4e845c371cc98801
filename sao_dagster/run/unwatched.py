"""Inputs of which nothing shows whether they are written to while they are read: their versions are those of the reader's own snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.inputs import is_undeclared
from sao_dagster.core.nodes import is_source
from sao_dagster.core.project import Project
from sao_dagster.core.relations import Relation
from sao_dagster.run.reached import Reached
from sao_dagster.run.undeclared import UndeclaredVersions
from sao_dagster.warehouses.protocol import Session


@dataclass(frozen=True)
class UnwatchedInputs:
    """Some inputs, and what is read of the warehouse for their versions.

    Attributes:
        project: The project.
        names: The inputs.
        reached: What those that are not declared come down to.
        relations: What is read, with the columns that do not count.
    """

    project: Project
    names: tuple[str, ...]
    reached: Reached
    relations: Mapping[Relation, tuple[str, ...]]

    @classmethod
    def of(cls, project: Project, session: Session, names: Iterable[str]) -> UnwatchedInputs:
        """Return what some inputs come down to; a source that says its own age is not read."""
        wanted, reached = tuple(names), Reached(session, project.dialect)
        relations: dict[Relation, tuple[str, ...]] = {}
        for name in wanted:
            if name in project.nodes:
                relations[project.nodes[name].relation] = project.nodes[name].volatile_columns
            elif is_source(name):
                source = project.sources[name]
                if source.relation is not None and not source.says_loaded_at:
                    relations.setdefault(source.relation, ())
        undeclared = [project.undeclared[name] for name in wanted if is_undeclared(name)]
        for each in reached.all_of(undeclared) if undeclared else ():
            if each in reached.relations:
                relations.setdefault(reached.relations[each], ())
        return cls(project, wanted, reached, relations)

    def versions(self, contents: Mapping[Relation, DataVersion | None], now: datetime) -> dict[str, DataVersion | None]:
        """Return the versions of the inputs, given what the relations held, at a time (UTC); None for what is not known."""
        relations = {name: self.project.relation(name) for name in self.names if not is_undeclared(name)}
        found = {name: contents.get(relation) if relation else None for name, relation in relations.items()}
        undeclared = UndeclaredVersions(
            self.reached, self.project.root, lambda wanted: {each: contents.get(each) for each in wanted}, now
        )
        found.update(undeclared.of(self.project.undeclared[name] for name in self.names if is_undeclared(name)))
        return found
