"""What a view in DuckDB shows: the tables and files that it reads, through views and macros. Only where there is one is this, and the parser, loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from sqlglot import exp

from sao_dagster.core.inputs import InputKind
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.sql.made_functions import MadeFunctions
from sao_dagster.sql.parsing import UnreadableSqlError, parse_one
from sao_dagster.sql.reads import undeclared_reads
from sao_dagster.sql.volatile import volatility
from sao_dagster.warehouses.duckdb.names import relation_keys
from sao_dagster.warehouses.protocol import Catalog, FunctionInfo
from sao_dagster.warehouses.shared.contents import ViewSources
from sao_dagster.warehouses.shared.files import ReadPaths
from sao_dagster.warehouses.shared.names import without_quotes


class _Macro(NamedTuple):
    """A macro or a type, and database and schema of the view that calls it."""

    name: str
    called_in: tuple[str, str]


class _File(NamedTuple):
    """A path or glob, as the engine takes it."""

    path: str


_Read = RelationKey | _Macro | _File


def view_sources(
    relation: Relation,
    catalog: Catalog,
    functions: Callable[[Collection[str]], Mapping[str, FunctionInfo]],
    made: MadeFunctions,
    paths: ReadPaths,
) -> ViewSources | None:
    """Return what a view shows, through views and macros, or None where that cannot be told.

    Args:
        relation: The view.
        catalog: What is in the warehouse.
        functions: Returns what somebody made, by name.
        made: All that somebody made: a view calls what has the name of one of the engine's own now, not what had it when it was made.
        paths: From where relative paths are taken.
    """
    found: dict[RelationKey, None] = {}
    files: dict[str, None] = {}
    definitions: dict[RelationKey | _Macro, str] = {}
    pending: list[RelationKey | _Macro] = [relation.key]
    while pending:
        each = pending.pop()
        if each in definitions:
            continue
        if isinstance(each, _Macro):
            macro = functions([each.name]).get(each.name)
            if macro is None or macro.expiry is not None:
                return None
            definitions[each] = macro.definition
            below = [_below(query, each.called_in, catalog, made) for query in macro.queries]
        else:
            info = catalog.get(each)
            if info is None:
                return None
            if not info.is_view:
                found[each] = None
                continue
            if info.definition is None:  # it was built in this run, and not looked at since
                return None
            definitions[each] = without_quotes(info.definition)
            below = [_below(_query_of(info.definition), each[:2], catalog, made)]
        for reads in below:
            if reads is None:
                return None
            files.update({each.path: None for each in reads if isinstance(each, _File)})
            pending += [each for each in reads if not isinstance(each, _File)]
    texts = tuple(text for _, text in sorted(definitions.items(), key=repr))
    return ViewSources(texts, tuple(sorted(found)), tuple(map(paths.of, sorted(files))))


def behind_view(
    relation: Relation, catalog: Catalog, functions: Callable[[Collection[str]], Mapping[str, FunctionInfo]]
) -> frozenset[RelationKey]:
    """Return the tables and views that a view reads, through views and macros, as far as that can be told; see `view_sources`."""
    found: set[_Read] = set()
    pending: list[_Read] = [relation.key]
    while pending:
        each = pending.pop()
        if each in found or isinstance(each, _File):
            continue
        found.add(each)
        if isinstance(each, _Macro):
            macro, place = functions([each.name]).get(each.name), each.called_in
            queries = macro.queries if macro is not None else ()
        else:
            info, place = catalog.get(each), each[:2]
            queries = (_query_of(info.definition or ""),) if info is not None and info.is_view else ()
        pending += [read for query in queries for read in _reads(query, place, catalog) if read is not None]
    return frozenset(each for each in found if not isinstance(each, _Macro | _File)) - {relation.key}


def _query_of(definition: str) -> str:
    """Return the query of a view, whose definition is the statement that made it."""
    try:
        tree = parse_one(definition, "duckdb")
    except UnreadableSqlError:
        return definition
    query = tree.expression if isinstance(tree, exp.Create) else None
    return definition if query is None else query.sql(dialect="duckdb")


def _below(query: str, place: tuple[str, str], catalog: Catalog, made: MadeFunctions) -> list[_Read] | None:
    """Return the relations and files that a query reads, and the names of macros and types; None for the catalog, and what changes by itself."""
    reads = [*_reads(query, place, catalog), *(_Macro(each.name, place) for each in made.called_by(query, "duckdb"))]
    known = [each for each in reads if each is not None]
    return None if len(known) < len(reads) or volatility(query, "duckdb").is_volatile else known


def _reads(query: str, place: tuple[str, str], catalog: Catalog) -> Iterator[_Read | None]:
    """Yield what a query reads; None for what is no relation, no file and no macro.

    Args:
        query: Of a view or of a macro.
        place: Database and schema of the view: names without a schema are looked for there first, those in macros that it calls too.
        catalog: What is in the warehouse.
    """
    for each in undeclared_reads(query, "duckdb"):
        if each.kind is InputKind.FUNCTION:
            yield _Macro(each.name, place)
        elif each.kind is InputKind.FILE:
            yield _File(each.name)
        elif each.kind is InputKind.TABLE:  # where there is none, it is one of the engine's own, perhaps
            yield next((key for key in relation_keys(each, *place) if key in catalog), None)
        else:
            yield None
