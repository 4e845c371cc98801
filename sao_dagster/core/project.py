"""A project: nodes, sources and data tests, and the graph between them."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from sao_dagster.core.deferral import Deferral
from sao_dagster.core.graph import Graph
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.nodes import DataTest, Materialized, Node, NodeError, Source, is_source, source_id
from sao_dagster.core.others import FailureElsewhere, OtherProject
from sao_dagster.core.proofs import ProofSettings
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.core.selectors import Selector
from sao_dagster.core.templates import RunTemplate
from sao_dagster.errors import Location, ProjectErrors, SaoError, UnknownNodeError


@dataclass(frozen=True)
class Notice:
    """Something in the project that is accepted but has no effect here, or deserves a look.

    Attributes:
        message: What it is.
        location: Where.
        name: The node or data test that it is about, where the message is the same for others.
        kind: What it is a case of, where the messages of its kind differ in their words.
    """

    message: str
    location: Location | None = None
    name: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        """Return the place, the name and the message.

        >>> str(Notice("it has no effect", Location("models/a.sql"), "a"))
        'models/a.sql: a: it has no effect'
        """
        return "".join(f"{each}: " for each in (self.location, self.name) if each is not None) + self.message


@dataclass(frozen=True, kw_only=True)
class Project:
    """A set of models, seeds, sources and data tests that belongs to one environment.

    Attributes:
        name: The project's name.
        environment: The place it is built into: project and target, as people call it; in a run the key of its `Environment`, which all
            state belongs to.
        dialect: sqlglot's name of the SQL dialect.
        root: The folder that relative paths start from, absolute.
        nodes: Models and seeds by name.
        sources: Sources by id.
        tests: Data tests by name.
        on_run_start: Statements to run before a run that builds something.
        on_run_end: Statements to run after it.
        templates: What renders such a statement anew in each run, by the statement, where it depends on the run or on the warehouse.
        proofs: Whether data tests are proven, and how far proofs are trusted.
        deferral: What is read from another environment, where something is.
        others: The projects whose models are read here, by name.
        failures: Data tests of other projects whose failure stands.
        seen_through: By node, the sources and undeclared inputs through which it is read: what they show is another thing once it is built.
        selectors: Selections that have a name, by it.
        notices: What the user should know.
        errors: What is wrong with the project as a whole: nothing is planned or run. What is wrong with one node is its own `error`.
    """

    name: str
    environment: str
    dialect: str
    root: str
    nodes: Mapping[str, Node]
    sources: Mapping[str, Source]
    tests: Mapping[str, DataTest]
    on_run_start: tuple[str, ...] = ()
    on_run_end: tuple[str, ...] = ()
    templates: Mapping[str, RunTemplate] = field(default_factory=dict)
    proofs: ProofSettings = field(default_factory=ProofSettings)
    deferral: Deferral | None = None
    others: Mapping[str, OtherProject] = field(default_factory=dict)
    failures: tuple[FailureElsewhere, ...] = ()
    seen_through: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    selectors: Mapping[str, Selector] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    errors: tuple[SaoError, ...] = ()

    def check(self) -> None:
        """Refuse what is wrong as a whole.

        Raises:
            ProjectErrors: All that is.
        """
        if self.errors:
            raise ProjectErrors(self.errors)

    @cached_property
    def graph(self) -> Graph:
        """The graph between the nodes."""
        return Graph(self.nodes, self.sources)

    def in_environment(self, key: str) -> Project:
        """Return the same project in an environment; what was worked out of it stays."""
        moved = replace(self, environment=key)
        moved.__dict__.update({name: value for name, value in self.__dict__.items() if name in ("graph", "tests_of")})
        return moved

    def following_views(self) -> Project:
        """Return the same project, in which what reads a view follows the process that runs it where the view does.

        A view is part of the query that reads it: a cast in it has the time zone of whoever reads it, not of who made it. So a view over it need
        not be made again for that, and hands it on to what reads both.

        Raises:
            CycleError: Models depend on each other in a circle.
        """
        through = {name for name, node in self.nodes.items() if not node.materialized.holds_data}
        following = {name for name in through if self.nodes[name].follows_process}
        if not following:
            return self
        nodes = dict(self.nodes)
        for name in self.graph.order:
            if following.isdisjoint(self.graph.parents[name]):
                continue
            if name in through:
                following.add(name)
            elif not nodes[name].follows_process:
                nodes[name] = replace(nodes[name], follows_process=True)
        tests = {
            name: test
            if test.follows_process or following.isdisjoint(test.reads)
            else replace(test, follows_process=True)
            for name, test in self.tests.items()
        }
        return replace(self, nodes=nodes, tests=tests)

    @cached_property
    def undeclared(self) -> Mapping[str, UndeclaredInput]:
        """What nodes and data tests read without saying so, by id."""
        by_nodes = (found for node in self.nodes.values() for found in node.undeclared)
        by_tests = (found for test in self.tests.values() for found in test.undeclared)
        return {found.id: found for found in (*by_nodes, *by_tests)}

    @cached_property
    def by_identifier(self) -> Mapping[str, tuple[str, ...]]:
        """The nodes that have a relation, by the last part of its name, in the order of the project."""
        grouped: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            if node.materialized is not Materialized.EPHEMERAL:
                grouped.setdefault(node.relation.key[2], []).append(name)
        return {identifier: tuple(names) for identifier, names in grouped.items()}

    @cached_property
    def tests_of(self) -> Mapping[str, tuple[DataTest, ...]]:
        """The data tests by what they belong to, in the order of the project."""
        grouped: dict[str, list[DataTest]] = {}
        for test in self.tests.values():
            grouped.setdefault(test.tested, []).append(test)
        return {name: tuple(tests) for name, tests in grouped.items()}

    @cached_property
    def broken(self) -> Mapping[str, NodeError]:
        """What is wrong with single nodes, sources and data tests, by name or id."""
        everything: Mapping[str, Node | Source | DataTest] = {**self.nodes, **self.sources, **self.tests}
        return {name: each.error for name, each in everything.items() if each.error is not None}

    def broken_above(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the broken nodes and sources above what is named: the nearest ones, since nothing is known beyond them."""
        return tuple(dict.fromkeys(each for name in names for each in self._broken_above.get(name, ())))

    @cached_property
    def by_relation(self) -> Mapping[RelationKey, str]:
        """The nodes that have a relation, by what that is compared by."""
        return {
            node.relation.key: name
            for name, node in self.nodes.items()
            if node.materialized is not Materialized.EPHEMERAL
        }

    def is_ephemeral(self, name: str) -> bool:
        """Return whether a node or source is an ephemeral model, which is nowhere but in the queries that read it."""
        node = self.nodes.get(name)
        return node is not None and node.materialized is Materialized.EPHEMERAL

    def broken_among(self, reads: Iterable[str]) -> tuple[str, ...]:
        """Return the broken ones among nodes and sources that are read, or the nearest ones above them."""
        return tuple(
            dict.fromkeys(
                each for read in reads for each in ((read,) if read in self.broken else self.broken_above((read,)))
            )
        )

    def stopped_among(
        self, reads: Iterable[str], stopped: Container[str], failed: Collection[DataTest]
    ) -> tuple[str, ...]:
        """Return what holds back a data test: what it reads, through views too, that is stopped, and what is broken above.

        An ephemeral has no outcome of its own: it is held back by the tests that would hold back any other node in its place.

        Args:
            reads: What the data test reads.
            stopped: The nodes that failed or were skipped.
            failed: The `error` tests that failed in the run.
        """
        behind = (each for read in reads if read in self.nodes for each in self.graph.behind(read))
        ephemerals = (each for each in reads if self.is_ephemeral(each)) if failed else ()
        below = self.graph.is_below_all
        held = (each for each in ephemerals if any(below(each, test.reads) for test in failed))
        return tuple(dict.fromkeys((*(each for each in behind if each in stopped), *self.broken_among(reads), *held)))

    @cached_property
    def _broken_above(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name in self.graph.order if self.broken else ():
            above: dict[str, None] = {}
            for parent in self.graph.parents[name]:
                above.update(dict.fromkeys((parent,) if parent in self.broken else found.get(parent, ())))
            if above:
                found[name] = tuple(above)
        return found

    def node(self, name: str) -> Node:
        """Return the model or seed of that name.

        Raises:
            UnknownNodeError: There is none; close names are suggested.
        """
        if name not in self.nodes:
            raise unknown(f"no model or seed is called {name!r}", name, self.nodes)
        return self.nodes[name]

    def namesakes(self, name: str) -> tuple[str, ...]:
        """Return the other nodes or sources that have the plain name of one in their packages, in the order of the project."""
        return tuple(each for each in self._namesakes.get(self._plain_name(name), ()) if each != name)

    @cached_property
    def _namesakes(self) -> Mapping[str, tuple[str, ...]]:
        """Nodes and sources by a plain name that several have."""
        qualified = [name for name, node in self.nodes.items() if node.qualifier]
        qualified += [name for name, source in self.sources.items() if source.qualifier]
        grouped: dict[str, list[str]] = {self._plain_name(name): [] for name in qualified}
        for name in (*self.nodes, *self.sources) if grouped else ():
            if (plain := self._plain_name(name)) in grouped:
                grouped[plain].append(name)
        return {plain: tuple(names) for plain, names in grouped.items()}

    def _plain_name(self, name: str) -> str:
        if is_source(name):
            return source_id(self.sources[name].source_name, self.sources[name].table_name)
        return self.nodes[name].plain_name

    def relation(self, read: str) -> Relation | None:
        """Return where a node, or the source of an id, is; None for a source that is read from files."""
        return self.sources[read].relation if is_source(read) else self.nodes[read].relation


def unknown(message: str, name: str, known: Mapping[str, object], location: Location | None = None) -> UnknownNodeError:
    """Return an error that suggests the names that are close to `name`, those that begin with a package first."""
    return UnknownNodeError(message + did_you_mean(name, known), location=location)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return the end of a message with the names that are close to one, those that begin with a package first; empty where none is.

    >>> did_you_mean("ordrs", ["orders", "customers"])
    "; did you mean 'orders'?"
    """
    from difflib import get_close_matches

    of_packages = [each for each in known if each.endswith(f".{name}")]
    close = of_packages[:3] or get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(repr(each) for each in close)}?" if close else ""
