"""What an observation looks at in the warehouse, for the decisions of a selection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import filterfalse

from sao_dagster.core.inputs import is_answers, is_undeclared
from sao_dagster.core.nodes import DataTest, Materialized, Source, is_source
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection


@dataclass(frozen=True, kw_only=True)
class ToRead:
    """What is looked at; all in a lasting order.

    Attributes:
        sources: Sources whose versions are compared.
        undeclared: Inputs that are not declared, by their id.
        own: Selected nodes whose relation is compared with what was built.
        beside: Nodes that are not selected and hold what the selection reads, and the views in between.
        holding: Those of `own` and `beside` that hold data.
    """

    sources: tuple[Source, ...]
    undeclared: tuple[str, ...]
    own: tuple[str, ...]
    beside: tuple[str, ...]
    holding: tuple[str, ...]

    @property
    def written(self) -> list[str]:
        """All of which it matters whether somebody wrote to it."""
        return [*(each.id for each in self.sources), *self.holding, *self.undeclared]

    @classmethod
    def of(
        cls,
        project: Project,
        selection: Selection,
        records: Mapping[str, BuildRecord],
        standing: Iterable[DataTest],
        *,
        verify: bool,
    ) -> ToRead:
        """Return what is looked at for a selection.

        Args:
            project: The project.
            selection: What is going to be decided.
            records: The last builds, by name.
            standing: Data tests that failed above the selection.
            verify: Whether the content of the selected relations is compared with what was built; what is shown of other environments always is.
        """
        read = _inputs(project, selection, standing)
        recorded = [name for name in selection.nodes if name in records]
        own = [name for name in recorded if verify or records[name].shows is not None]
        beside = _beside(project, selection, read)
        return cls(
            sources=tuple(project.sources[name] for name in sorted(read) if is_source(name)),
            undeclared=tuple(sorted(filter(is_undeclared, read))),
            own=tuple(own),
            beside=tuple(beside),
            holding=tuple(name for name in (*own, *beside) if project.nodes[name].materialized.holds_data),
        )


def tested_nodes(project: Project, selection: Selection) -> set[str]:
    """Return the nodes that the data tests of a selection read."""
    return {each for test in selection.tests for each in project.tests[test].reads if each in project.nodes}


def _inputs(project: Project, selection: Selection, failed: Iterable[DataTest]) -> set[str]:
    """Return the relations whose versions the decisions of a selection compare, with what tests that failed above it read."""
    found: set[str] = set(selection.sources)
    for name in selection.nodes:
        if project.nodes[name].materialized is Materialized.VIEW:
            found.update(each.id for each in project.nodes[name].undeclared)
        else:
            found.update(project.graph.inputs(name).data)
    for test in (*(project.tests[name] for name in selection.tests), *failed):
        for read in filterfalse(is_answers, test.inputs):
            node = project.nodes.get(read)
            holds = node is None or node.materialized.holds_data
            found.update((read,) if holds else project.graph.inputs(read).data)
    return found


def _beside(project: Project, selection: Selection, read: Iterable[str]) -> list[str]:
    """Return the nodes that are not selected and hold what the selection reads, and the views in between."""
    graph = project.graph
    views = {
        view
        for name in selection.nodes
        if project.nodes[name].materialized is not Materialized.VIEW
        for view in graph.inputs(name).views
    }
    tested = tested_nodes(project, selection)
    views |= {each for name in tested for each in graph.behind(name)}
    return sorted({name for name in {*read, *views} if name in project.nodes} - set(selection.nodes))
