"""Other environments of a project: how they are found, what they have built, and what of that may be taken in place of a build here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.elsewhere import Clone, Difference, Offer, Refusal, never_elsewhere
from sao_dagster.core.environment import Environment, KnownEnvironment
from sao_dagster.core.hashing import digest
from sao_dagster.core.nodes import DataTest, Materialized, Model, Node, Seed
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord, TestRecord
from sao_dagster.core.relations import Relation
from sao_dagster.core.templates import CompiledSql
from sao_dagster.core.verdicts import VerdictOffer, may_pass_elsewhere, views_read
from sao_dagster.errors import SaoError, SelectionError, StateError, UnsupportedError, WarehouseError
from sao_dagster.run.contents import content_key
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import (
    AttachingWarehouse,
    BuildRequest,
    Built,
    Catalog,
    Materializer,
    Session,
    ToldWarehouse,
    Warehouse,
)

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R", BuildRecord, TestRecord)


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Another environment of the project, to read from.

    Attributes:
        name: What people call it: its target, or target and schema.
        known: What the state knows of it.
        builds: Reads its last builds, by model.
        tests: Reads its last verdicts, by data test.
        database: What SQL calls its database; None where that is the one that is built into, or its relations are named with theirs.
        is_reached: Whether it may be in another database, since SQL names what is there.
        not_attached: Why the file that it was found in cannot be read; then it may be in the one that is built into, which was moved.
    """

    name: str
    known: KnownEnvironment
    builds: Callable[[], Mapping[str, BuildRecord]]
    tests: Callable[[], Mapping[str, TestRecord]]
    database: str | None = None
    is_reached: bool = False
    not_attached: str = ""

    def reached_by(self, warehouse: Warehouse, names: dict[str, str]) -> tuple[Warehouse, Self]:
        """Return a warehouse whose sessions read this environment, too, and the environment as they name it.

        Args:
            warehouse: What is built into.
            names: What other databases are called in its sessions already, by their places; another one is added.
        """
        places = self.known.places
        if isinstance(warehouse, ToldWarehouse):
            is_reached = any(map(warehouse.reaches, self.known.places))
            return warehouse.told_of(self.relations(warehouse.dialect)), replace(self, is_reached=is_reached)
        if not isinstance(warehouse, AttachingWarehouse) or warehouse.place in places or not places:
            return warehouse, self
        place = current_place(places)
        attached = warehouse.attached_as(place)
        if attached is not None:
            names[place] = attached
        if place not in names:
            name = f"sao_{self.known.name.rpartition('.')[2]}"
            name = f"{name}_{digest(place)[:6]}" if name in names.values() else name
            try:
                warehouse = warehouse.attaching(place, name)
            except WarehouseError as error:
                return warehouse, replace(self, not_attached=str(error))
            names[place] = name
        return warehouse, replace(self, database=names[place])

    def check_is_reached(self, database: str) -> None:
        """Refuse an environment that SQL does not reach.

        Args:
            database: What tells the database that is built into from all others.

        Raises:
            UnsupportedError: It is in another database.
        """
        if self.database is None and not self.is_reached and not self.known.is_in(database):
            places = " or ".join(self.known.places) or "another database"
            if self.not_attached:
                raise UnsupportedError(f"{self.name} is in {places}: {self.not_attached}")
            raise UnsupportedError(
                f"{self.name} is in {places}, and SQL cannot read that from here; only an environment in the same database can be read"
            )

    def relations(self, dialect: str) -> dict[str, Relation]:
        """Return where its models and seeds are, by name, as SQL of this warehouse names them."""
        found = {name: self.relation(record, dialect) for name, record in self.builds().items()}
        return {name: relation for name, relation in found.items() if relation is not None}

    def relation(self, record: BuildRecord, dialect: str) -> Relation | None:
        """Return where a build of it is, as SQL of this warehouse names that; None where the name is not understood.

        That is never a view over what others have built: what such a view shows is where it is.
        """
        engine = dialect_named(dialect)
        relation = engine.parsed_relation(record.shows or record.relation)
        if relation is None:
            return None
        return engine.relation(self.database or relation.database, relation.schema, relation.identifier)


def current_place(places: Sequence[str]) -> str:
    """Return the file, of those in which a database was found, that was written to last: it may have been moved; the first where none is there."""
    there = [each for each in places if Path(each).is_file()]
    return max(there, key=lambda each: Path(each).stat().st_mtime_ns) if there else places[0]


@dataclass(frozen=True)
class Reusable:
    """The environments from which builds are taken, in the order in which they are asked.

    Attributes:
        environments: Those.
        clone: How they are taken; see `Settings.clone`.
        warnings: What the user should know of those that cannot be asked.
    """

    environments: tuple[Elsewhere, ...] = ()
    clone: Clone = "view"
    warnings: tuple[str, ...] = ()

    def reached_by(self, warehouse: Warehouse, names: dict[str, str]) -> tuple[Warehouse, Reusable]:
        """Return a warehouse whose sessions read them, too, and those that they read; see `Elsewhere.reached_by`."""
        reached = []
        for each in self.environments:
            warehouse, one = each.reached_by(warehouse, names)
            reached.append(one)
        return warehouse, replace(self, environments=tuple(reached))

    def seen_from(self, here: Environment) -> Reusable:
        """Return those that SQL reaches from an environment, without that one itself."""
        seen = replace(self, environments=())
        for each in self.environments:
            try:
                each.check_is_reached(here.database)
            except UnsupportedError as error:
                seen = seen._without(each, error)
            else:
                others = () if each.known.key == here.key else (each,)
                seen = replace(seen, environments=(*seen.environments, *others))
        return seen

    def _without(self, elsewhere: Elsewhere, error: SaoError) -> Reusable:
        return replace(self, warnings=(*self.warnings, f"nothing is reused from {elsewhere.name}: {error}"))


@dataclass
class Offers:
    """What other environments have of nodes that are to be built here, and of data tests that are to be run; used by several threads.

    What they have built and tested is read once, when it is first asked for: what is taken of it is compared with what is there then.

    Attributes:
        environments: Those that are asked, in their order.
        project: The project, as it is here.
        session: The warehouse, open.
        catalog: What is in it.
        known: What is known to be still in it; see `content_key`.
        seconds: The time for reading what one table holds.
        by_view: Whether views are made over what is taken, where that is possible.
        in_place: Whether nothing is made of what is taken, since it is read there.
        warnings: What the user should know of those that cannot be asked.
    """

    environments: tuple[Elsewhere, ...]
    project: Project
    session: Session
    catalog: Catalog
    known: Mapping[str, DataVersion]
    seconds: float
    by_view: bool = False
    in_place: bool = False
    warnings: list[str] = field(default_factory=list)
    _builds: dict[str, Mapping[str, BuildRecord]] = field(default_factory=dict, init=False)
    _tests: dict[str, Mapping[str, TestRecord]] = field(default_factory=dict, init=False)

    def of(self, node: Node) -> Iterator[Offer | Refusal]:
        """Yield what they have of a node, or why nothing of them is taken; nothing for what nobody expects to be."""
        if not node.materialized.holds_data or (isinstance(node, Seed) and not self.in_place):
            return  # made, or loaded, in less time than it is taken in
        never, names = never_elsewhere(node), tuple[str, ...]()
        if never is None and self.in_place and node.volatile_columns:
            never, names = Difference.BUILD_COLUMNS, node.volatile_columns
        for each in self.environments:
            if never is None:
                yield self._offer(node, each)
            else:
                yield Refusal(environment=each.name, difference=never, names=names)

    def _offer(self, node: Node, elsewhere: Elsewhere) -> Offer | Refusal:
        builds = self._builds_of(elsewhere)
        record = builds.get(node.name)
        relation = None if record is None else elsewhere.relation(record, self.project.dialect)
        if record is None or relation is None:
            return Refusal(environment=elsewhere.name, difference=Difference.NOT_BUILT)
        if self._says_where(node, record):
            return Refusal(environment=elsewhere.name, difference=Difference.PLACE)
        # what is another column in each build is no part of a version, so that nobody would notice it in a view; and what a branch has is built
        # from another edit with the next push, and dropped in the end
        stays = elsewhere.database is None and not elsewhere.known.is_branch and not node.volatile_columns
        by_view = self.by_view and not self.in_place and stays
        holds = partial(self._fault_of_content, record, relation, node.volatile_columns)
        return Offer(
            environment=elsewhere.name,
            key=elsewhere.known.key,
            record=record,
            views={name: builds[name] for name in record.definitions if name in builds},
            relation=relation,
            same_database=elsewhere.database is None,
            fault=holds if by_view or self.in_place else partial(self._fault, record, relation),
            by_view=by_view,
        )

    def verdicts_of(self, test: DataTest) -> Iterator[VerdictOffer]:
        """Yield what they have said of a data test."""
        if not may_pass_elsewhere(test):
            return
        views = views_read(self.project, test)
        own = () if test.asserts is not None else (test.sql,)  # dbt's own tests name all columns
        for each in self.environments:
            record, builds = self._read(self._tests, each, each.tests).get(test.name), self._builds_of(each)
            if record is not None and not self._may_say_where(*own, *self._sql_of(views)):
                there = {name: builds[name] for name in views if name in builds}
                yield VerdictOffer(environment=each.name, key=each.known.key, record=record, views=there)

    def _says_where(self, node: Node, record: BuildRecord) -> bool:
        """Return whether its rows or columns, or those of views that it reads through, may say where something is, which is elsewhere there."""
        return self._may_say_where(*self._sql_of((node.name, *record.definitions)))

    def _may_say_where(self, *queries: str) -> bool:
        from sao_dagster.sql.shown_names import may_name_relations  # the parser, where something is to be made

        return any(may_name_relations(each, self.project.dialect) for each in queries)

    def _sql_of(self, names: Iterable[str]) -> Iterator[str]:
        read = (self.project.nodes[name] for name in names if name in self.project.nodes)
        return (each.compiled.sql for each in read if isinstance(each, Model))

    def _builds_of(self, elsewhere: Elsewhere) -> Mapping[str, BuildRecord]:
        return self._read(self._builds, elsewhere, elsewhere.builds)

    def _read(
        self, known: dict[str, Mapping[str, R]], elsewhere: Elsewhere, read: Callable[[], Mapping[str, R]]
    ) -> Mapping[str, R]:
        """Return what the state of an environment says, as far as that is known, or read it."""
        key = elsewhere.known.key
        if key not in known:
            try:
                known[key] = read()
            except StateError as error:
                known[key] = {}
                self.warnings.append(f"nothing is reused from {elsewhere.name}: {error}")
        return known[key]

    def _fault(self, record: BuildRecord, relation: Relation) -> Difference | None:
        """Return why there is no table like that of a build; None where there is one. What it holds is compared when it is copied."""
        info = self.catalog.get(relation.key)
        is_there = info is not None and not info.is_view and info.columns in (None, record.columns)
        return None if is_there else Difference.ALTERED

    def _fault_of_content(self, record: BuildRecord, relation: Relation, omitted: tuple[str, ...]) -> Difference | None:
        """Return why there is no table that is known to hold what a build has left; None where there is one."""
        if (fault := self._fault(record, relation)) is not None:
            return fault
        known = self.known.get(content_key(relation, omitted))
        if known is None:
            known = self.session.versions(self.catalog, {relation: omitted}, self.seconds).get(relation)
        if known is None:
            return Difference.UNREADABLE
        return None if known == record.data_version else Difference.ALTERED


class Taker(Materializer):
    """Takes what another environment has built, in place of the build: as a view over it, or as a copy.

    Args:
        materializer: Who builds.
        offer: What is taken; a copy that would hold something else than its record says is undone.
    """

    def __init__(self, materializer: Materializer, offer: Offer) -> None:
        self._materializer = materializer
        self._kind = Materialized.VIEW if offer.by_view else Materialized.TABLE
        expected = None if offer.by_view else offer.record.data_version
        self._compiled = CompiledSql(f"select * from {offer.relation}", expects=expected)

    def build(self, node: Node, request: BuildRequest) -> Built:
        """Make the view or the copy, as the build of the node.

        Raises:
            WarehouseError: What is taken is gone, or holds something else.
        """
        node = replace(node, materialized=self._kind)
        asked = replace(request, compile=lambda: self._compiled, full_refresh=True, reads={}, unwatched={})
        return self._materializer.build(node, asked)


def environments_called(store: StateStore, project: str, wanted: str) -> list[KnownEnvironment]:
    """Return the environments of a project that people call by its target, or by target and schema.

    One that was made for a branch is called with its schema only. Of several, those in which nothing was built are none: a plan, or a run
    that was refused, leaves such a one.

    Args:
        store: The state that knows them.
        project: The project's name.
        wanted: What it is called: `prod`, `dev/anna`.

    Raises:
        StateError: The state cannot be reached or read.
    """
    target, _, schema = wanted.partition("/")
    alike = [each for each in store.environments() if each.name == f"{project}.{target}"]
    found = [each for each in alike if (each.schema == schema if schema else not each.is_branch)]
    return found if len(found) < 2 else [each for each in found if store.builds(each.key)] or found


def find_environment(store: StateStore, project: str, wanted: str) -> KnownEnvironment:
    """Return the one environment of a project that people call so; see `environments_called`.

    Raises:
        SelectionError: There is none, or there are several; says which there are.
        StateError: The state cannot be reached or read.
    """
    found = environments_called(store, project, wanted)
    if len(found) == 1:
        return found[0]
    own = [each for each in store.environments() if each.name.startswith(f"{project}.")]
    listed = ", ".join(sorted(_called(project, each) for each in found or own)) or "none"
    if found:
        raise SelectionError(
            f"several environments of {project} are called {wanted!r}: {listed}; name one of them with its schema"
        )
    raise SelectionError(f"the state knows no environment {wanted!r} of {project}; there are: {listed}")


def _called(project: str, environment: KnownEnvironment) -> str:
    places = f" ({', '.join(environment.places)})" if environment.places else ""
    return f"{environment.name.removeprefix(f'{project}.')}/{environment.schema}{places}"
