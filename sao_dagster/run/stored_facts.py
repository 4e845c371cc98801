"""What the state says of a project: records, with edits recognised that change no result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from sao_dagster.core.code_version import PLACES
from sao_dagster.core.facts import Facts
from sao_dagster.core.inputs import InputKind
from sao_dagster.core.nodes import Materialized, Model, Node
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection
from sao_dagster.core.templates import CompiledSql
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Catalog


def stored_facts(
    project: Project, selection: Selection, store: StateStore, catalog: Callable[[], Catalog]
) -> tuple[Facts, int]:
    """Return what the state says, with cosmetic edits recognised, and the sequence for later changes.

    The catalog is asked for only where some SQL was edited.
    """
    records, sequence = store.changes(project.environment, 0)
    edited: dict[str, BuildRecord] = {}
    moved: list[Model] = []
    for name in selection.nodes:
        node, record = project.nodes[name], records.get(name)
        if record is None or not isinstance(node, Model):
            continue
        if node.code.has_changed("sql", *record.code):
            edited[name] = record
        if node.code.has_changed(PLACES, *record.code):
            moved.append(node)
    kept = store.sql({record.sql_id for record in edited.values()}) if edited else {}
    same = {
        name
        for name, record in edited.items()
        if record.sql_id in kept and _is_cosmetic(project, name, kept[record.sql_id], catalog(), records)
    }
    quiet = {node.name for node in moved if not _may_tell(node, project.dialect)}
    harmless = {
        name: frozenset({"sql"} if name in same else ()).union({PLACES} if name in quiet else ())
        for name in same | quiet
    }
    facts = Facts(records=records, test_records=store.tests(project.environment), harmless=harmless)
    return facts, sequence


def _may_tell(node: Model, dialect: str) -> bool:
    """Return whether what a model gives may say where it reads; what is no SQL may."""
    from sao_dagster.sql.shown_names import may_name_relations  # the parser, where something is read from elsewhere

    return any(may_name_relations(each, dialect) for each in node.compiled.statements)


def kept_sql(compiled: CompiledSql, dialect: str) -> str:
    """Return the text under which the SQL of a build is kept in the state; relations are no part of it."""
    from sao_dagster.sql.fingerprint import with_ids  # the parser, where a model was built or edited

    both = (compiled.sql, compiled.incremental_sql)
    return json.dumps([None if each is None else with_ids(each, dialect, compiled.names) for each in both])


def _is_cosmetic(project: Project, name: str, kept: str, catalog: Catalog, records: Mapping[str, BuildRecord]) -> bool:
    node = project.nodes[name]
    if not kept or not isinstance(node, Model) or "macros" in node.code.parts:
        return False
    try:
        before = json.loads(kept)
    except ValueError:  # what is kept is damaged
        return False
    if not isinstance(before, list) or not all(isinstance(each, str | None) for each in before):
        return False
    from sao_dagster.sql.fingerprint import equivalent

    after = json.loads(kept_sql(node.compiled, project.dialect))
    columns = _names_read(project, node, catalog, records)
    return len(before) == len(after) and all(
        old == new or (old is not None and new is not None and equivalent(old, new, project.dialect, columns))
        for old, new in zip(before, after, strict=True)
    )


def _names_read(
    project: Project, node: Node, catalog: Catalog, records: Mapping[str, BuildRecord]
) -> frozenset[str] | None:
    """Return the names of all columns that a node reads, as they are compared; None where those of one input are not known."""
    if any(each.kind is not InputKind.FUNCTION for each in node.undeclared):
        return None
    names: set[str] = set()
    itself = (node.name,) if node.materialized is Materialized.INCREMENTAL else ()  # it may read itself
    for read in (*project.graph.relations_read(node.name), *itself):
        relation = project.relation(read)
        there = None if relation is None else catalog.get(relation.key)
        record = records.get(read)
        columns = there.columns if there is not None else record.columns if record is not None else None
        if columns is None:
            return None
        names.update(column for column, _ in columns)
    engine = dialect_named(project.dialect)
    return frozenset(engine.compared(name, quoted=True) for name in names)
