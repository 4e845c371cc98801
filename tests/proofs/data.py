"""Random tables that agree with random facts, and are as nasty as they can be otherwise."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from sao_dagster.core.proofs import Fact, FactKind
from sao_dagster.sql.inference.infer import TableFacts

TYPES = {
    "duckdb": {
        "int": "INTEGER", "big": "BIGINT", "text": "VARCHAR", "float": "DOUBLE", "date": "DATE", "bool": "BOOLEAN",
        "digits": "VARCHAR", "huge": "HUGEINT", "unsigned": "UHUGEINT", "part": "DECIMAL(38,37)",
    },
    "postgres": {
        "int": "integer", "big": "bigint", "text": "text", "float": "double precision", "date": "date", "bool": "boolean",
        "digits": "text", "huge": "numeric(39, 0)", "unsigned": "numeric", "part": "numeric(38, 37)",
    },
}  # fmt: skip
VALUES: dict[str, list[str]] = {
    "int": ["0", "1", "2", "3", "-1", "11"],
    "big": ["0", "1", "2", "9007199254740992", "9007199254740993"],
    "text": ["''", "' '", "'a'", "'A'", "'b'", "'a '", "'1'", "'01'"],
    "digits": ["'0'", "'1'", "'01'", "'2'", "'02'"],
    "float": ["'nan'", "'-0.0'", "0.0", "0.4", "1.0", "'infinity'", "9007199254740992.0"],
    "date": ["'2020-01-31'", "'2020-02-29'", "'infinity'", "'1970-01-01'", "'-infinity'"],
    "bool": ["true", "false"],
    "huge": ["0", "1", "1267650600228229401496703205376", "1267650600228229401496703205377"],
    "unsigned": ["0", "1", "1267650600228229401496703205376", "1267650600228229401496703205377"],
    "part": ["0.1", "0.2", "1", "0.5"],
}
ACCEPTED: dict[str, list[tuple[str | int, str]]] = {
    "int": [(0, "0"), (1, "1"), (2, "2"), (3, "3"), (-1, "-1")],
    "text": [("", "''"), ("a", "'a'"), ("A", "'A'"), ("b", "'b'"), ("1", "'1'")],
}


@dataclass(frozen=True)
class Column:
    """A column of a random table."""

    name: str
    kind: str
    not_null: bool
    accepted: tuple[tuple[str | int, str], ...]


@dataclass(frozen=True)
class RandomTable:
    """A random table: its columns, and what is unique in it."""

    name: str
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...]

    def known(self, dialect: str) -> TableFacts:
        """Return it as the proofs know it."""
        facts = [Fact(FactKind.NOT_NULL, self.name, (each.name,), "given") for each in self.columns if each.not_null]
        facts += [Fact(FactKind.UNIQUE, self.name, key, "given") for key in self.unique]
        for each in self.columns:
            if each.accepted:
                values = tuple(value for value, _ in each.accepted)
                facts.append(Fact(FactKind.ACCEPTED_VALUES, self.name, (each.name,), "given", values=values))
        return TableFacts(tuple((each.name, TYPES[dialect][each.kind]) for each in self.columns), tuple(facts))

    def ddl(self, schema: str, dialect: str) -> str:
        """Return the statement that makes it; without constraints, so that the engine knows nothing of the facts."""
        columns = ", ".join(f"{each.name} {TYPES[dialect][each.kind]}" for each in self.columns)
        return f"create table {schema}.{self.name} ({columns})"

    def rows(self, random_: random.Random) -> list[tuple[str, ...]]:
        """Return random rows (as SQL) that agree with the facts."""
        found: list[tuple[str, ...]] = []
        places = {each.name: place for place, each in enumerate(self.columns)}
        for _ in range(random_.choice([0, 1, 2, 3, 5, 8])):
            row = tuple(self._cell(random_, each) for each in self.columns)
            for _ in range(random_.choice([1, 1, 1, 2])):
                if all(self._fits(found, row, [places[name] for name in key]) for key in self.unique):
                    found.append(row)
        return found

    @staticmethod
    def _cell(random_: random.Random, column: Column) -> str:
        if not column.not_null and random_.random() < 0.3:
            return "null"
        if column.accepted:
            return random_.choice(column.accepted)[1]
        return random_.choice(VALUES[column.kind])

    @staticmethod
    def _fits(found: list[tuple[str, ...]], row: tuple[str, ...], key: list[int]) -> bool:
        """Return whether a row breaks no key; `0.0` and `-0.0` are equal."""
        own = [_same(row[place]) for place in key]
        return "null" in own or all([_same(other[place]) for place in key] != own for other in found)


def _same(cell: str) -> str:
    return "0.0" if cell == "'-0.0'" else cell


def random_tables(random_: random.Random) -> list[RandomTable]:
    """Return three random tables."""
    return [_table(random_, f"t{number}") for number in range(3)]


def _table(random_: random.Random, name: str) -> RandomTable:
    kinds = [
        "int",
        "int",
        random_.choice(["int", "big"]),
        "text",
        random_.choice(["text", "float", "date", "digits", "huge"]),
        random_.choice(list(VALUES)),
    ]
    columns = []
    for place, kind in enumerate(kinds[: random_.randint(3, 6)]):
        accepted: tuple[tuple[str | int, str], ...] = ()
        if kind in ACCEPTED and random_.random() < 0.3:
            accepted = tuple(random_.sample(ACCEPTED[kind], random_.randint(1, 3)))
        columns.append(Column("abcdef"[place], kind, random_.random() < 0.45, accepted))
    names = [each.name for each in columns]
    unique = [
        tuple(sorted(random_.sample(names, random_.choice([1, 1, 1, 2])))) for _ in range(random_.choice([0, 1, 1, 2]))
    ]
    return RandomTable(name, tuple(columns), tuple(dict.fromkeys(unique)))


def plain(value: Any) -> Any:
    """Return a value so that Python compares it as the engine does."""
    if isinstance(value, float) and value != value:
        return "NaN"
    return str(value) if isinstance(value, list | dict) else value
