"""What was proven of queries, kept by what it follows from: to work it out takes the parser, to look it up does not.

A proof that rests on what was derived for another relation is kept without that, and put together again with what is derived now;
since the key of that derivation is part of the key, the two are the same.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.proofs import Fact, Proof
from sao_dagster.core.relations import RelationKey
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.inference.proven import Proven, TableFacts
from sao_dagster.sql.kept import Kept

Entry = tuple[str, bytes]
"""A key, and what was proven, pickled."""
_Reference = tuple[RelationKey, int]
"""A table, and which of what was derived for it."""


@dataclass(frozen=True)
class Question:
    """What `infer` is asked about one query; see there."""

    sql: str
    dialect: str
    tables: Mapping[RelationKey, TableFacts]
    hashes_are_unique: bool = False
    own_functions: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """A digest of all that the answer follows from, but for this package and the parser."""
        tables = [[list(key), _plain(table)] for key, table in sorted(self.tables.items())]
        return digest([self.sql, self.dialect, tables, self.hashes_are_unique, sorted(self.own_functions)])

    def answer(self) -> Proven | None:
        """Return what is proven; None where the query is not understood."""
        from sao_dagster.sql.inference.infer import infer  # the parser, where something is not known yet

        found = infer(
            self.sql,
            self.dialect,
            self.tables,
            hashes_are_unique=self.hashes_are_unique,
            own_functions=self.own_functions,
            schema=dialect_named(self.dialect).default_schema or "",
        )
        return None if found is None else found.proven


@dataclass
class KeptProofs(Kept[Entry]):
    """What was proven of the queries of one project; see `Kept`. Several threads may ask."""

    _used: dict[str, tuple[str, Proven | None]] = field(default_factory=dict, init=False)

    def of(self, model: str, question: Question) -> Proven | None:
        """Return what is proven of the query of a model; None where that is not understood."""
        key = question.key
        used = self._used.get(model)
        if used is None or used[0] != key:
            used = key, self._known(model, key, question)
            self._used[model] = used
        return used[1]

    def _known(self, model: str, key: str, question: Question) -> Proven | None:
        """Return what was kept under a key, or else work it out, and keep that."""
        kept = self.entries.get(model)
        if kept is not None and kept[0] == key:
            try:
                return _read(kept[1], question.tables)
            except Exception:  # noqa: BLE001 - whatever is wrong with what was kept, it is made anew
                self.entries.pop(model, None)
        found = question.answer()
        found = None if found is None else replace(found, key=key)
        with suppress(RecursionError):  # a proof that is too deep is worked out each time
            self.entries[model] = key, _written(found, question.tables)
            self._has_news = True
        return found


def _plain(table: TableFacts) -> JSON:
    """Return what a table says as plain data; what was derived for it follows from what that was derived from."""
    derived = [_fact(fact) for fact, _ in table.derived]
    return [list(map(list, table.columns)), [_fact(each) for each in table.facts], derived, table.derived_from]


def _fact(fact: Fact) -> JSON:
    version = None if fact.version is None else str(fact.version)
    return [fact.kind.value, fact.relation, list(fact.columns), fact.because, version, list(fact.values)]


def _derived(tables: Mapping[RelationKey, TableFacts]) -> Iterator[tuple[_Reference, Proof]]:
    for key, table in tables.items():
        for place, (_, proof) in enumerate(table.derived):
            yield (key, place), proof


def _written(found: Proven | None, tables: Mapping[RelationKey, TableFacts]) -> bytes:
    """Return what was proven, pickled, without the proofs of what was derived for the tables."""
    references = {id(proof): reference for reference, proof in _derived(tables)}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> _Reference | None:
            return references.get(id(value)) if isinstance(value, Proof) else None

    stream = io.BytesIO()
    Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(found)
    return stream.getvalue()


def _read(text: bytes, tables: Mapping[RelationKey, TableFacts]) -> Proven | None:
    """Return what was proven, with the proofs of what is derived for the tables now."""

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, reference: _Reference) -> Proof:
            key, place = reference
            return tables[key].derived[place][1]

    found: Proven | None = Unpickler(io.BytesIO(text)).load()
    return found
