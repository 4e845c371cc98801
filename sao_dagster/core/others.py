"""Other projects, as this one reads them: their public models are inputs like sources, and their failed data tests hold back what is below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sao_dagster.core.nodes import Access, NodeError, Source, project_model_id
from sao_dagster.core.published import PublishedModel
from sao_dagster.core.relations import Relation


@dataclass(frozen=True, kw_only=True)
class ProjectModel(Source):
    """A public model of another project, which builds and tests it; here it is read.

    `source_name` is that project, and `table_name` the model, as in `customers.v2`.

    Attributes:
        environment: What people call the environment that it is read from.
        version: The version, for a versioned model.
        schema: The schema that its configuration names, if it names one.
        alias: The name of its relation.
    """

    environment: str
    version: str | None = None
    schema: str | None = None
    alias: str = ""

    @property
    def id(self) -> str:
        """The name by which decisions, records and selections call it.

        >>> project_model_id("core", "customers")
        'project:core.customers'
        """
        return project_model_id(self.source_name, self.table_name)


@dataclass(frozen=True)
class FailureElsewhere:
    """An `error` test of another project whose failure stands.

    Attributes:
        project: That project.
        test: The test.
        tested: What it is about.
        reads: What it reads.
        above: By id of a model of that project that is read here, those of them that are above it, or it.
    """

    project: str
    test: str
    tested: str
    reads: frozenset[str]
    above: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def holds(self, read: Iterable[str]) -> bool:
        """Return whether it holds back what reads some models of other projects, directly or through anything: all that it reads is above.

        >>> both = frozenset({"customers", "orders"})
        >>> found = FailureElsewhere("core", "t", "orders", both, {"project:core.orders": both, "project:core.customers": frozenset({"customers"})})
        >>> found.holds(["project:core.orders"]), found.holds(["project:core.customers"])
        (True, False)
        """
        return self.reads <= frozenset[str]().union(*(self.above.get(each, frozenset()) for each in read))


@dataclass(frozen=True, kw_only=True)
class OtherProject:
    """Another project, as it is read from here.

    Attributes:
        name: Its name.
        environment: What people call the environment that it is read from.
        models: Its models by name and version.
        relations: Where the public ones are, by the same, as SQL names them here.
        place: The database that has to be attached to read them; empty where none has.
        database: What SQL calls that.
        key: What the state of that environment is kept under; empty where it is read from a manifest.
        schema: The schema of that environment.
        problem: Why nothing is known of it, and how to go on; empty where it is known.
    """

    name: str
    environment: str
    models: tuple[PublishedModel, ...] = ()
    relations: Mapping[str, Relation] = field(default_factory=dict)
    place: str = ""
    database: str = ""
    key: str = ""
    schema: str = ""
    problem: str = ""

    def with_database(self, database: str, place: str) -> OtherProject:
        """Return the same project in a database that SQL calls otherwise here."""
        moved = {name: replace(each, database=database) for name, each in self.relations.items()}
        return replace(self, relations=moved, database=database, place=place)

    def find(self, name: str, version: str | None) -> PublishedModel | None:
        """Return a model by its name and version; the latest where no version is named."""
        return next(
            (
                each
                for each in self.models
                if each.name == name and (each.is_latest if version is None else each.version == version)
            ),
            None,
        )

    def input(self, name: str, version: str | None) -> ProjectModel | None:
        """Return a public model of it as an input; None where there is none.

        Where nothing is known of the project, it is an input that is wrong for that reason: what reads it is not built.
        """
        if self.problem:
            model = PublishedModel(
                name=name, unique_id=f"model.{self.name}.{name}", access=Access.PUBLIC, version=version
            )
            unknown = replace(self, relations={model.id: Relation(None, self.name, name)})
            return replace(unknown._input(model), error=NodeError(self.problem))
        found = self.find(name, version)
        is_known = found is not None and found.access is Access.PUBLIC and found.id in self.relations
        return self._input(found) if found is not None and is_known else None

    def _input(self, model: PublishedModel) -> ProjectModel:
        """Return a model as an input."""
        relation = self.relations[model.id]
        return ProjectModel(
            source_name=self.name,
            table_name=model.id,
            relation=relation,
            expression=str(relation),
            fqn=(self.name, model.id),
            description=model.description,
            columns=model.columns,
            tags=model.tags,
            meta=model.meta,
            environment=self.environment,
            version=model.version,
            schema=model.schema,
            alias=model.alias,
        )
