"""Whether inputs were what is known of them while they were read: by what shows writes (`Session.movements`), or in the reader's own snapshot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from sao_dagster.core.data_version import ANY_BUILD, DataVersion
from sao_dagster.core.facts import Facts
from sao_dagster.core.inputs import is_answers, is_undeclared
from sao_dagster.core.nodes import is_source
from sao_dagster.core.project import Project
from sao_dagster.core.relations import Relation
from sao_dagster.core.selection import Selection
from sao_dagster.run.movements import is_watched, may_read_files, movements_of
from sao_dagster.run.observe import Observation
from sao_dagster.run.unwatched import UnwatchedInputs
from sao_dagster.warehouses.protocol import Catalog, ReadFiles, Session


class Watch:
    """Watches what a run reads, from when it was observed.

    Args:
        project: The project.
        session: The warehouse, open.
        facts: What the run knows, as of now whenever it is asked.
        catalog: What is in the warehouse, likewise.
        observe: Observes a selection anew.
        exclusive: Whether nobody else can write in the warehouse while the run goes on.
    """

    def __init__(
        self,
        project: Project,
        session: Session,
        facts: Facts,
        catalog: Catalog,
        observe: Callable[[Selection], Observation],
        *,
        exclusive: bool,
    ) -> None:
        self._project = project
        self._session = session
        self._facts = facts
        self._catalog = catalog
        self._observe = observe
        self._exclusive = exclusive
        self._seen: dict[str, str] = {}
        self._files: dict[Relation, ReadFiles] = {}  # behind views that were looked at; none behind the others

    def note(self, movements: Mapping[str, str]) -> None:
        """Note what showed of some inputs, before their versions were read, that they were written to."""
        self._seen.update(movements)

    def note_build(self, name: str, movement: str | None) -> None:
        """Note what shows from now on that somebody writes to a node that was just built here; None where nothing does."""
        self._seen.pop(name, None)
        self._files.pop(self._project.nodes[name].relation, None)
        if movement is None and self._is_of_files(name):
            movement = self._tokens([name]).get(name)
        if movement is not None:
            self._seen[name] = movement

    def has_moved(self, name: str) -> bool:
        """Return whether what a node reads may be another one than when it was looked at: a source, what is not declared, what a view could not read."""
        facts, graph = self._facts, self._project.graph
        if not self._project.nodes[name].materialized.holds_data:
            return any(facts.schemas.get(each) is None for each in graph.relations_read(name))
        inputs = graph.inputs(name).data
        if any(is_source(each) and facts.versions.get(each) is None for each in inputs):
            return True
        writable = self._writable(each for each in inputs if each not in self._project.nodes and not is_answers(each))
        writable += self._to_prove(each for each in inputs if each in self._project.nodes)
        return self._tokens(writable) != {each: self._seen[each] for each in writable if each in self._seen}

    def unwatched(self, names: Iterable[str]) -> UnwatchedInputs:
        """Return those of some inputs of which nothing shows whether they are written to from now on."""
        silent = [each for each in self._to_prove(names) if each not in self._seen]
        return UnwatchedInputs.of(self._project, self._session, silent)

    def unproven(
        self, names: Iterable[str], readers: Selection, inside: Mapping[str, DataVersion | None] | None = None
    ) -> frozenset[str]:
        """Return which of some inputs may have been something else, while they were read, than what is known of them; the others were not.

        What shows that they were written to is asked. Where nothing does, what counts is what they were in the snapshot in which they were
        read; what a source says of its own age is asked again.

        Args:
            names: The inputs.
            readers: What reads them.
            inside: Versions in that snapshot; None where nothing was read, so that what is there now counts.
        """
        wanted = self._to_prove(names)
        now = self._tokens(wanted)
        moved = {each for each in wanted if each in self._seen and now.get(each) != self._seen[each]}
        silent = {each for each in wanted if each not in self._seen}
        found = dict(inside or {})
        asked = silent if inside is None else {each for each in silent if self._says_its_age(each)}
        if asked:
            versions = self._observe(readers).facts.versions
            found.update({each: versions.get(each) for each in asked})
        return frozenset(moved | {each for each in silent if found.get(each) != self._known(each)})

    def _known(self, name: str) -> DataVersion | None:
        """Return the version of an input; of a view that is not what was built here, that of what it shows."""
        versions = self._facts.versions
        return versions[name] if name in versions else self._facts.version(self._project, name)

    def _to_prove(self, names: Iterable[str]) -> list[str]:
        """Return those of some inputs that others may write to, and whose version says what they hold.

        Nodes that are known by their build alone are taken to be written to by nobody else, where the warehouse shows nothing else of them; so
        are those of another environment, of which another build has another version, which is news then.
        """
        facts, nodes = self._facts, self._project.nodes

        def says_what_it_holds(name: str) -> bool:
            record, node = facts.records.get(name), nodes.get(name)
            if node is None or not node.materialized.holds_data or name in facts.versions or record is None:
                version = facts.versions.get(name)
                return version is not None and not version.comparable(ANY_BUILD)
            return is_watched(record) or not record.data_version.comparable(ANY_BUILD)

        return self._writable(filter(says_what_it_holds, names))

    def _says_its_age(self, name: str) -> bool:
        return is_source(name) and self._project.sources[name].says_loaded_at

    def _writable(self, names: Iterable[str]) -> list[str]:
        """Return those of some inputs that others may write to while the warehouse is open."""
        return [
            each
            for each in names
            if not self._exclusive or may_read_files(self._project, each) or self._is_of_files(each)
        ]

    def _is_of_files(self, name: str) -> bool:
        """Return whether a source, or a node that holds data, is a view over files: others can write these whoever holds the database."""
        node, relation = self._project.nodes.get(name), None if is_undeclared(name) else self._project.relation(name)
        if relation is None or not (node is None or node.materialized.holds_data):
            return False
        info = self._catalog.get(relation.key)
        return info is not None and info.is_view and relation in self._files_behind([relation])

    def _files_behind(self, views: Collection[Relation]) -> dict[Relation, ReadFiles]:
        """Return the files that views read; the warehouse is asked once for each, until it is built again."""
        new = [each for each in views if each not in self._files]
        # what the run knows of the catalog lacks the definitions of what it has built
        found = self._session.files_behind(self._session.catalog(), new) if new else {}
        self._files.update({each: found.get(each, ()) for each in new})
        return {each: self._files[each] for each in views if self._files[each]}

    def _tokens(self, names: Collection[str]) -> dict[str, str]:
        if not names:
            return {}
        return movements_of(self._project, self._session, self._catalog, names, files_behind=self._files_behind)
