"""Whether nodes are what was built: by the build that the warehouse keeps of them, by what shows writes, or by their content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sao_dagster.core.code_version import PLACES, RELATION
from sao_dagster.core.data_version import ANY_BUILD, DataVersion
from sao_dagster.core.inputs import InputKind
from sao_dagster.core.nodes import Materialized, Node
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.relations import Relation
from sao_dagster.core.selection import Selection
from sao_dagster.run.contents import CachedContents, content_key, contents_of
from sao_dagster.run.movements import IDENTITY, Moved, is_watched, movements_of
from sao_dagster.run.to_read import ToRead, tested_nodes
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.warehouses.protocol import Capabilities, Catalog, Session, VersionsBy
from sao_dagster.warehouses.shared.files import is_any_gone


@dataclass(frozen=True)
class NodesSeen:
    """What was seen of nodes.

    Attributes:
        altered: Whether each is something else than was built; None where that is not known.
        versions: Versions of those that are not known to be as their record says, as far as it is known where they are selected, and of those that
            show something else of another environment than they did; None where one is not known.
        unmoved: The builds of those to which somebody may have written and which are as they were built, with what shows writes from now on.
    """

    altered: Mapping[str, bool | None]
    versions: Mapping[str, DataVersion | None]
    unmoved: tuple[BuildRecord, ...]


def nodes_seen(
    project: Project,
    to_read: ToRead,
    records: Mapping[str, BuildRecord],
    reader: CachedContents,
    capabilities: Capabilities,
    tokens: Mapping[str, str],
) -> NodesSeen:
    """Return what nodes are now. One that is as its record says has the record's version; any other has that of its content.

    Args:
        project: The project.
        to_read: What is looked at.
        records: The last builds, by name.
        reader: Reads contents.
        capabilities: What the warehouse can do; without versions of models no content is read.
        tokens: By node, what showed just before that it was written to.
    """
    catalog = reader.catalog
    names = [name for name in to_read.beside if _is_recorded(project, name, records)]
    foreign = sorted({*to_read.beside}.difference(names))
    recorded = (*to_read.own, *names)
    has_versions = capabilities.model_versions is not VersionsBy.NONE
    by_content = {name: None for name in recorded if _is_known_by_content(project, name, records)}
    shown = {
        name: relation
        for name, relation in shown_elsewhere(project, recorded, records).items()
        if _is_altered(project, name, records[name], {}, catalog) is False  # else it shows that no more
    }
    found = contents_of(project, [*foreign, *by_content] if has_versions else [], reader, shown)
    altered = {name: _is_altered(project, name, records[name], found, catalog) for name in recorded}
    altered.update(dict.fromkeys(_made_anew(project, recorded, records, reader), True))
    others = [name for name in by_content if altered[name] and name not in shown]
    altered.update(dict.fromkeys(_as_recorded_in_whole(project, others, records, reader), False))
    built = [name for name in to_read.holding if altered.get(name) is False] if capabilities.build_ids else []
    moved = Moved.since(records, {name: tokens.get(name) for name in built})
    found.update(contents_of(project, moved.to_read, reader))
    altered.update(moved.altered(found))
    unmoved = moved.unmoved(altered)
    altered.update({name: True for name in names if project.nodes[name].relation.key not in catalog})
    moved_views = [name for name in names if _names_other_relations(project.nodes[name], records[name])]
    other = [*foreign, *moved_views, *(name for name, is_other in altered.items() if is_other)]
    if has_versions:
        unknown = [*moved.records, *(name for name in by_content if _is_recorded(project, name, records))]
        other += [name for name in unknown if altered[name] is None]
        found.update(contents_of(project, [name for name in other if name not in found], reader))
    live = [name for name in _shown_live(project, recorded, records, catalog) if name in found or name in names]
    written = _files_written(project, live, records, found, reader.session, catalog)
    altered.update(dict.fromkeys(written, True))
    shown_now = [name for name in (*shown, *live) if altered[name] is False]
    other += [*written, *(name for name in shown_now if found.get(name) != records[name].data_version)]
    return NodesSeen(altered, {name: found.get(name) for name in other}, unmoved)


def known_above(
    project: Project, selection: Selection, records: Mapping[str, BuildRecord], reader: CachedContents
) -> dict[str, bool | None]:
    """Return by model above a selection whether it was altered, where that costs no reading; None also where somebody may have written to it."""
    tested = tested_nodes(project, selection)
    read = tested | project.graph.ancestors([*selection.nodes, *tested])
    found: dict[str, bool | None] = {}
    for name in sorted(read - set(selection.nodes)):
        node, record = project.nodes.get(name), records.get(name)
        if node is None or record is None:
            continue
        shown = shown_elsewhere(project, [name], records).get(name, node.relation)
        known = {name: _known_version(node, shown, record, reader)}
        found[name] = _is_altered(project, name, record, known, reader.catalog)
        if record.shown_by is not None and known[name] != record.data_version:
            found[name] = found[name] or None
    watched = [name for name, is_other in found.items() if is_other is False and is_watched(records[name])]
    holding = [name for name in watched if project.nodes[name].materialized.holds_data]
    tokens = movements_of(project, reader.session, reader.catalog, holding) if holding else {}
    found.update({name: None for name in holding if tokens.get(name) != records[name].movement})
    return found


def shown_elsewhere(project: Project, names: Iterable[str], records: Mapping[str, BuildRecord]) -> dict[str, Relation]:
    """Return the relations of other environments that some nodes are views over, by name."""
    engine = dialect_named(project.dialect)
    shown = ((name, records[name].shows) for name in names)
    parsed = {name: engine.parsed_relation(text) for name, text in shown if text is not None}
    return {name: relation for name, relation in parsed.items() if relation is not None}


def _shown_live(
    project: Project, names: Iterable[str], records: Mapping[str, BuildRecord], catalog: Catalog
) -> list[str]:
    """Return the nodes among some that are views in place of tables: they show what is behind them now, and not what was there when they were built."""
    return [
        name
        for name in names
        if project.nodes[name].materialized.holds_data
        and records[name].shows is None
        and (info := catalog.get(project.nodes[name].relation.key)) is not None
        and info.is_view
    ]


def _files_written(
    project: Project,
    names: Iterable[str],
    records: Mapping[str, BuildRecord],
    found: Mapping[str, DataVersion | None],
    session: Session,
    catalog: Catalog,
) -> list[str]:
    """Return the views in place of tables among some whose own files somebody else has written since they were built, or has taken away.

    Those that the query of the node reads are no such files: what is new in these is news.
    """
    changed = [name for name in names if found.get(name) != records[name].data_version]
    relations = {name: project.nodes[name].relation for name in changed}
    if not relations:
        return []
    files, paths, written = session.files_behind(catalog, [*relations.values()]), session.read_paths(), []
    for name, relation in relations.items():
        read = {paths.of(each.name) for each in project.nodes[name].undeclared if each.kind is InputKind.FILE}
        own = [each for each in files.get(relation, ()) if each not in read]
        now = found.get(name)
        is_other = now is not None and now.comparable(records[name].data_version)
        if own and (is_other or is_any_gone(own)):
            written.append(name)
    return written


def built_elsewhere(project: Project, records: Mapping[str, BuildRecord], catalog: Catalog) -> frozenset[str]:
    """Return the models whose relation a run built that this state knows nothing of, where the warehouse keeps who built what."""
    return frozenset(
        name
        for name, record in records.items()
        if name in project.nodes
        and record.build_id is not None
        and (info := catalog.get(project.nodes[name].relation.key)) is not None
        and info.build_id not in (None, record.build_id)
    )


def _is_recorded(project: Project, name: str, records: Mapping[str, BuildRecord]) -> bool:
    """Return whether the record of a node speaks of the relation that the node has now."""
    record = records.get(name)
    return record is not None and record.relation == str(project.nodes[name].relation)


def _names_other_relations(node: Node, record: BuildRecord) -> bool:
    """Return whether a view was made when what it reads was elsewhere, such as in another environment: it shows that, whatever the project says now."""
    is_view = node.materialized is Materialized.VIEW
    return is_view and record.code_parts.get(RELATION) != node.code.parts.get(RELATION)


def _is_known_by_content(project: Project, name: str, records: Mapping[str, BuildRecord]) -> bool:
    """Return whether its content says whether a node is as its record says."""
    record = records[name]
    is_build = is_watched(record) or record.data_version.comparable(ANY_BUILD)
    return project.nodes[name].materialized.holds_data and not is_build


def _as_recorded_in_whole(
    project: Project, names: Iterable[str], records: Mapping[str, BuildRecord], reader: CachedContents
) -> list[str]:
    """Return the nodes among some that hold all that their record says, with the columns that are no part of their content now.

    They were built when nobody knew yet that these columns are volatile: a template that asks about tables which are not there is no query
    until they are, where dbt renders it.
    """
    relations = {name: node.relation for name in names if (node := project.nodes[name]).volatile_columns}
    found = reader.read(dict.fromkeys(relations.values(), ()))
    return [name for name, relation in relations.items() if found[relation] == records[name].data_version]


def _made_anew(
    project: Project, names: Iterable[str], records: Mapping[str, BuildRecord], reader: CachedContents
) -> list[str]:
    """Return the nodes among some that are other relations than were built, or were emptied, where the warehouse keeps no builds and shows that.

    Nobody knows of the others whether they hold what was built: rows that were written in place do not show.
    """
    relations = {
        name: project.nodes[name].relation
        for name in names
        if (records[name].movement or "").startswith(IDENTITY) and _is_recorded(project, name, records)
    }
    there = {name: relation for name, relation in relations.items() if relation.key in reader.catalog}
    found = reader.session.identities([*there.values()]) if there else {}
    return [
        name
        for name, relation in there.items()
        if relation in found and IDENTITY + found[relation] != records[name].movement
    ]


def _known_version(node: Node, shown: Relation, record: BuildRecord, reader: CachedContents) -> DataVersion | None:
    """Return what is known, without reading, of the content of a node; None where that does not say whether it is as its record says."""
    now = reader.known.get(content_key(shown, node.volatile_columns))
    if not node.volatile_columns or now == record.data_version:
        return now
    whole = reader.known.get(content_key(shown, ()))
    return whole if whole in (None, record.data_version) else now


def _is_altered(
    project: Project, name: str, record: BuildRecord, found: Mapping[str, DataVersion | None], catalog: Catalog
) -> bool | None:
    """Return whether a relation differs from what was built, or None where that is not known."""
    node = project.nodes[name]
    info = catalog.get(node.relation.key)
    if info is None or record.relation != str(node.relation):
        return None
    if record.shows is not None or (info.is_view and record.shown_by is not None):
        return not info.is_view or str(info.definition_version) != record.shown_by
    if record.build_id is not None:
        return info.build_id != record.build_id or info.columns != record.columns
    if is_watched(record):
        return info.is_view or info.columns != record.columns
    if node.materialized is Materialized.VIEW:
        if not info.is_view:
            # it shows nothing of what is behind it now; or it was built when it was to be a table
            return None if PLACES in record.code_parts else True
        now = info.definition_version
        was_view = record.rows is None
        return now != record.data_version if was_view and now.comparable(record.data_version) else None
    if info.is_view:  # which other materializations of dbt may have made
        if record.data_version.comparable(info.definition_version):
            return None  # an older record says nothing of what it showed
        makes_tables = (Materialized.TABLE, Materialized.INCREMENTAL, Materialized.SEED)
        return record.rows is not None or node.materialized in makes_tables
    content = found.get(name)
    if content is None or not content.comparable(record.data_version):
        return None
    return content != record.data_version
