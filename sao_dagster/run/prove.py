"""Proves data tests of one project: facts that stand for what a model was built from, carried through its SQL.

A fact stands if it was found for exactly the data version that was read: a data test that passed on it, the content of a
seed, what the SQL of the relation itself proves; or if the warehouse enforces it. Where anything else than the query could
have changed a relation (statements of the user's own, incremental builds, other code than that of today), nothing is proven.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.facts import Facts
from sao_dagster.core.nodes import DataTest, Materialized, Model, Seed, is_source
from sao_dagster.core.project import Project
from sao_dagster.core.proofs import Fact, FactKind, Proof
from sao_dagster.core.records import BuildRecord, Verdict
from sao_dagster.core.relations import RelationKey, quote
from sao_dagster.errors import WarehouseError
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.inference.kept import KeptProofs, Question
from sao_dagster.sql.inference.proven import Proven, TableFacts
from sao_dagster.warehouses.protocol import Catalog, Constraints, Session

SEED_ROWS = 100_000  # the greatest seed whose content is looked at

_HARMLESS = re.compile(
    r"\s*(grant|revoke|analyze|vacuum|comment\s+on|checkpoint|create\s+(unique\s+)?index|create\s+schema)\b[^;]*;?\s*",
    re.IGNORECASE,
)
"""One statement that changes no rows, and not how they are compared."""
_SAME_MEANING = frozenset({
    "timezone", "calendar", "datestyle", "intervalstyle", "timezone_abbreviations", "bytea_output", "extra_float_digits", "xmlbinary",
    "xmloption", "lc_monetary", "lc_numeric", "lc_time", "default_text_search_config", "text search", "search_path", "schema", "role",
    "default_null_order", "null_order", "default_order", "preserve_insertion_order", "file_search_path", "lc_collate", "lc_ctype",
})  # fmt: skip
"""Settings that change values, or their order, and not whether one is null or the same as another; of all others nobody has tried."""


@dataclass
class Prover:
    """Proves that data tests must pass.

    Attributes:
        project: The project.
        session: The warehouse, open.
        facts: Returns what is known now; it grows while a run goes on.
        catalog: What is in the warehouse; only its sources are looked up here.
        exclusive: Whether nobody else can write in the warehouse while the session is open.
        kept: What was proven before.
    """

    project: Project
    session: Session
    facts: Callable[[], Facts]
    catalog: Catalog
    exclusive: bool
    kept: KeptProofs = field(default_factory=KeptProofs)
    _seeds: dict[tuple[str, DataVersion], tuple[Fact, ...]] = field(default_factory=dict)
    _known: dict[tuple[str, str, DataVersion], Proven | None] = field(default_factory=dict)

    def prove(self, test: DataTest) -> Proof | None:
        """Return why a data test must pass; None where that cannot be proven."""
        wanted = test.asserts
        if wanted is None or not self._is_possible:
            return None
        try:
            found = self._proven(test.tested)
        except WarehouseError:
            return None
        return None if found is None else found.proof_of(wanted)

    @cached_property
    def _is_possible(self) -> bool:
        """Whether anything can be proven here.

        It needs an engine on which proofs were fuzzed, whose SQL nobody redefined, and nothing but queries that changes what was built.
        """
        if not self.project.proofs.enabled or not dialect_named(self.project.dialect).proofs_fuzzed:
            return False
        if not _SAME_MEANING.issuperset(self.facts().settings.given):
            return False
        statements = [*self.project.on_run_start, *self.project.on_run_end]
        for node in self.project.nodes.values():
            statements += node.hooks
        redefined = self._constraints.collations or self._constraints.overrides
        return all(map(_HARMLESS.fullmatch, statements)) and not redefined

    @cached_property
    def _constraints(self) -> Constraints:
        return self.session.constraints()

    # ------------------------------------------------------------------ models

    def _proven(self, name: str) -> Proven | None:
        """Return what the SQL of a model proves of its content as it is now; None where nothing is certain.

        It is worked out once for each content, when the tests of the model are decided or when something above it is.
        """
        node, facts = self.project.nodes.get(name), self.facts()
        record = facts.records.get(name)
        if not isinstance(node, Model) or record is None or not _is_query(node):
            return None
        if record.adopted or facts.code_changed(node, record):
            return None
        version = facts.version(self.project, name)
        changed = node.materialized.holds_data and version != record.data_version
        if changed or version is None or facts.altered.get(name) is not False:
            return None
        key = (name, record.run_id, version)
        if key not in self._known:
            self._known[key] = self._read(node, record, facts)
        return self._known[key]

    def _read(self, node: Model, record: BuildRecord, facts: Facts) -> Proven | None:
        """Return what a query proves, given what is known of all that it reads."""
        name = node.name
        tables: dict[RelationKey, TableFacts] = {}
        for read in self.project.graph.relations_read(name):
            relation = self.project.relation(read)
            table = self._table(read, facts.version_read(self.project, name, read))
            if relation is not None and table is not None:
                tables[relation.key] = table
        trusts_hashes, own = self.project.proofs.hashes_are_unique, self._constraints.functions
        found = self.kept.of(name, Question(node.compiled.sql, self.project.dialect, tables, trusts_hashes, own))
        engine = dialect_named(self.project.dialect)
        stored = tuple(engine.compared(column, quoted=True) for column, _ in record.columns)
        if found is None or len(stored) != len(found.names):
            return None
        named = all(mine in ("", theirs) for mine, theirs in zip(found.names, stored, strict=True))
        return found if named else None

    # ------------------------------------------------------------------ what a model has read

    def _table(self, name: str, version: DataVersion | None) -> TableFacts | None:
        """Return the columns of a relation, and what holds for the content that it has in a version."""
        facts = self.facts()
        node = self.project.nodes.get(name)
        record = facts.records.get(name)
        if node is None:
            source = self.project.sources[name]
            info = self.catalog.get(source.relation.key) if source.relation is not None else None
            columns = info.columns if info is not None else None
        else:
            columns = record.columns if record is not None else None
        if columns is None:
            return None
        found: list[Fact] = []
        inferred: Proven | None = None
        as_built = node is None or facts.altered.get(name) is False
        if as_built and version is not None and version == facts.version(self.project, name):
            found += self._enforced(name, version)
            found += self._tested(name, version)
            if isinstance(node, Seed) and record is not None:
                found += self._content(node, record, version)
            inferred = self._proven(name) if node is not None else None
        facts_found = tuple(dict.fromkeys(found))
        if inferred is None:
            return TableFacts(columns, facts_found)
        derived = tuple((replace(fact, relation=name, version=version), proof) for fact, proof in inferred.claims)
        return TableFacts(columns, facts_found, derived, inferred.key)

    def _tested(self, name: str, version: DataVersion) -> Iterator[Fact]:
        """Yield what data tests that passed on a version say of it.

        Where others write at the same time, a source may have changed between its test and what was built from it. A view with a
        clock may have, anywhere.
        """
        if self._is_volatile_view(name):
            return
        graph = self.project.graph
        node = self.project.nodes.get(name)
        from_sources = node is None or (
            not node.materialized.holds_data and any(map(is_source, graph.inputs(name).data))
        )
        if from_sources and not self.exclusive:
            return
        records = self.facts().test_records
        for test in self.project.tests_of.get(name, ()):
            record = records.get(test.name)
            if test.asserts is None or record is None or record.version != self.facts().test_version(test):
                continue
            if node is not None and test.asserts.column in map(str.lower, node.volatile_columns):
                continue  # it is no part of the data version
            if record.verdict is Verdict.PASS and record.failures == 0 and record.inputs.get(name) == version:
                yield Fact(test.asserts.kind, name, (test.asserts.column,), test.name, version, test.asserts.values)

    def _is_volatile_view(self, name: str) -> bool:
        """Return whether a relation shows other rows by itself: a view that is volatile, or over one that is."""
        node = self.project.nodes.get(name)
        if node is None:
            relation = self.project.sources[name].relation
            info = self.catalog.get(relation.key) if relation is not None else None
            return info is not None and info.is_view and self._has_volatile_views
        if node.materialized.holds_data:
            return False
        viewed = [self.project.nodes[each] for each in (name, *self.project.graph.inputs(name).views)]
        return any(isinstance(each, Model) and (each.expiry is not None or each.volatile_columns) for each in viewed)

    @cached_property
    def _has_volatile_views(self) -> bool:
        """Whether any view in the catalog is volatile; which of them a view of others reads is not known."""
        from sao_dagster.sql.volatile import volatility

        definitions = [info.definition for info in self.catalog.values() if info.is_view]
        return any(each is None or volatility(each, self.project.dialect).is_volatile for each in definitions)

    def _enforced(self, name: str, version: DataVersion) -> Iterator[Fact]:
        relation = self.project.relation(name)
        if relation is None:
            return
        for column in self._constraints.not_null.get(relation.key, ()):
            yield Fact(FactKind.NOT_NULL, name, (column,), "constraint", version)
        for columns in self._constraints.unique.get(relation.key, ()):
            yield Fact(FactKind.UNIQUE, name, columns, "constraint", version)

    def _content(self, seed: Seed, record: BuildRecord, version: DataVersion) -> tuple[Fact, ...]:
        """Return what holds for the rows of a seed, looked up once for each version of it."""
        if record.data_version != version or record.rows is None or record.rows > SEED_ROWS:
            return ()
        key = (seed.name, version)
        if key not in self._seeds:
            names = [column for column, _ in record.columns]
            quoted = [quote(each, seed.relation.quotes) for each in names]
            counts = ", ".join(f"count({each}), count(distinct {each})" for each in quoted)
            row = self.session.query(f"select count(*), {counts} from {seed.relation}").rows[0]
            found = []
            for place, column in enumerate(names):
                filled, different = row[1 + 2 * place], row[2 + 2 * place]
                if filled == row[0]:
                    found.append(Fact(FactKind.NOT_NULL, seed.name, (column,), "content", version))
                if filled == different:
                    found.append(Fact(FactKind.UNIQUE, seed.name, (column,), "content", version))
            same = all(expected == record.build_id for expected in self.session.build_ids([seed.relation]).values())
            self._seeds[key] = tuple(found) if same else ()
        return self._seeds[key]


def _is_query(node: Model) -> bool:
    """Return whether the content of a model is what its query gives, and nothing else."""
    kept = node.materialized in (Materialized.TABLE, Materialized.VIEW)
    return kept and node.compiler is None and all(map(_HARMLESS.fullmatch, node.hooks))
