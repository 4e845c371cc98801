"""Deferral: what a selection reads and this environment does not have is read from another environment.

As dbt's `--defer` (https://docs.getdbt.com/reference/node-selection/defer), with the shared state in place of a manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from sao_dagster.core.deferral import Deferral
from sao_dagster.core.environment import Environment, KnownEnvironment
from sao_dagster.core.nodes import Materialized
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.core.selection import Selection
from sao_dagster.errors import SelectionError, UnsupportedError
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.warehouses.protocol import AttachingWarehouse, Session, Warehouse


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Another environment of the project, to read from.

    Attributes:
        name: What people call it: its target, or target and schema.
        known: What the state knows of it.
        builds: Reads its last builds, by model.
        assemble: Puts the project together so that nodes are read where a deferral says, for a selection and in a session; None where the
            session has let go of its database for that, so that what is there has to be looked at again.
        database: What SQL calls its database; None where that is the one that is built into.
        favored: Whether it is read even where this environment has a relation of its own.
    """

    name: str
    known: KnownEnvironment
    builds: Callable[[], Mapping[str, BuildRecord]]
    assemble: Callable[[Deferral, Selection, Session], Project | None]
    database: str | None = None
    favored: bool = False

    def reached_by(self, warehouse: Warehouse) -> tuple[Warehouse, Elsewhere]:
        """Return a warehouse whose sessions read this environment, too, and the environment as they name it.

        Raises:
            WarehouseError: It is in a file that is not there.
        """
        if (
            not isinstance(warehouse, AttachingWarehouse)
            or warehouse.place in self.known.places
            or not self.known.places
        ):
            return warehouse, self
        name = f"sao_{self.known.name.rpartition('.')[2]}"
        return warehouse.attaching(self.known.places[0], name), replace(self, database=name)

    def check_is_reached(self, database: str) -> None:
        """Refuse an environment that SQL does not reach.

        Args:
            database: What tells the database that is built into from all others.

        Raises:
            UnsupportedError: It is in another database.
        """
        here = Environment(name=self.known.name, schema=self.known.schema, database=database)
        if self.database is None and here.key != self.known.key:
            places = " or ".join(self.known.places) or "another database"
            raise UnsupportedError(
                f"{self.name} is in {places}, and SQL cannot read that from here; defer to an environment in the same database"
            )

    def relations(self, dialect: str) -> dict[str, Relation]:
        """Return where its models and seeds are, by name, as SQL of this warehouse names them."""
        engine = dialect_named(dialect)
        found = {}
        for name, record in self.builds().items():
            relation = engine.parsed_relation(record.relation)
            if relation is not None:
                database = self.database or relation.database
                found[name] = engine.relation(database, relation.schema, relation.identifier)
        return found


def deferral_of(
    project: Project,
    selection: Selection,
    elsewhere: Elsewhere,
    records: Mapping[str, BuildRecord],
    there: Collection[RelationKey],
) -> Deferral:
    """Return what a selection reads from another environment.

    That is what it reads and does not select, where this environment has no record of it or its relation is gone, and the other one
    has it. An ephemeral model is nowhere: what it reads is read by what reads it.

    Args:
        project: The project, in this environment.
        selection: What is decided, built and tested.
        elsewhere: The other environment.
        records: The last builds of this one, by name.
        there: All tables and views that SQL here sees.
    """
    known = elsewhere.relations(project.dialect)
    found: dict[str, Relation] = {}
    missing: list[str] = []
    for name in sorted(_read(project, selection) - frozenset(selection.nodes)):
        node, record, relation = project.nodes[name], records.get(name), known.get(name)
        is_here = record is not None and record.relation == str(node.relation) and node.relation.key in there
        if (is_here and not elsewhere.favored) or relation is None or relation == node.relation:
            continue
        if relation.key in there:
            found[name] = relation
        elif not is_here:
            missing.append(name)
    return Deferral(environment=elsewhere.name, relations=found, missing=tuple(missing))


def find_environment(known: Iterable[KnownEnvironment], project: str, wanted: str) -> KnownEnvironment:
    """Return the environment of a project that people call by its target, or by target and schema: `prod`, `dev/anna`.

    One that was made for a branch is called with its schema only.

    Args:
        known: All that the state knows.
        project: The project's name.
        wanted: What it is called.

    Raises:
        SelectionError: There is none, or there are several; says which there are.
    """
    target, _, schema = wanted.partition("/")
    own = [each for each in known if each.name.startswith(f"{project}.")]
    alike = [each for each in own if each.name == f"{project}.{target}"]
    found = [each for each in alike if (each.schema == schema if schema else not each.is_branch)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(sorted(_called(project, each) for each in found or own)) or "none"
    if found:
        raise SelectionError(
            f"several environments of {project} are called {wanted!r}: {listed}; name one of them with its schema"
        )
    raise SelectionError(f"the state knows no environment {wanted!r} of {project}; there are: {listed}")


def _called(project: str, environment: KnownEnvironment) -> str:
    places = f" ({', '.join(environment.places)})" if environment.places else ""
    return f"{environment.name.removeprefix(f'{project}.')}/{environment.schema}{places}"


def _read(project: Project, selection: Selection) -> set[str]:
    """Return the nodes that a selection reads directly, or through ephemerals."""
    tests = (project.tests[name] for name in selection.tests)
    pending = [
        *(each for name in selection.nodes for each in project.nodes[name].depends_on),
        *(each for test in tests for each in test.reads),
    ]
    found: set[str] = set()
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in project.nodes:
            continue
        seen.add(name)
        node = project.nodes[name]
        if node.materialized is Materialized.EPHEMERAL:
            pending += node.depends_on
        else:
            found.add(name)
    return found
