"""What a project lets other projects know of it, made of the project and of its last builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sao_dagster.core.nodes import Access, Materialized, Model, Severity
from sao_dagster.core.project import Project
from sao_dagster.core.published import Published, PublishedModel, PublishedTest
from sao_dagster.core.records import BuildRecord


def published(project: Project, read_records: Callable[[], Mapping[str, BuildRecord]]) -> Published:
    """Return what a project lets others know of it.

    Args:
        project: The project.
        read_records: Reads its last builds, if that is needed: a model that was moved since is where it was built.
    """
    graph = project.graph
    tests = [
        test
        for _, test in sorted(project.tests.items())
        if test.severity is Severity.ERROR and test.error is None and test.reads
    ]
    tested = {read for test in tests for read in test.reads}
    is_any_public = any(node.access is Access.PUBLIC for node in project.nodes.values())
    models, records = [], read_records() if is_any_public else {}
    for name, node in sorted(project.nodes.items()):
        if not isinstance(node, Model) or node.resource_type != "model" or node.fqn[:1] != (project.name,):
            continue
        model = PublishedModel(
            name=name if node.version is None else name.removesuffix(f".v{node.version}"),
            unique_id=f"model.{project.name}.{name}",
            access=node.access,
            version=node.version,
            is_latest=node.is_latest,
            group=node.group,
        )
        if node.access is Access.PUBLIC and node.materialized is not Materialized.EPHEMERAL:
            schema, record = node.config.get("schema"), records.get(name)
            model = replace(
                model,
                relation=str(node.relation) if record is None else record.relation,
                description=node.description,
                columns=node.columns,
                tags=node.tags,
                meta=node.meta,
                schema=None if schema is None else str(schema),
                alias=node.relation.identifier,
                above=tuple(sorted(each for each in tested if each == name or graph.is_below_all(name, (each,)))),
            )
        models.append(model)
    below_public = {read for model in models for read in model.above}
    return Published(
        project=project.name,
        dialect=project.dialect,
        models=tuple(models),
        tests=tuple(
            PublishedTest(
                name=test.name,
                definition=test.version,
                tested=test.tested,
                reads={read: _behind(project, read) for read in test.reads},
                expiry=graph.test_expiry(test),
            )
            for test in tests
            if below_public.issuperset(test.reads)
        ),
    )


def _behind(project: Project, read: str) -> tuple[str, ...]:
    """Return what a view or an ephemeral is made of: itself, and what it looks through to; nothing for what holds data itself."""
    node = project.nodes.get(read)
    if node is None or node.materialized.holds_data:
        return ()
    inputs = project.graph.inputs(read)
    return tuple(dict.fromkeys((read, *inputs.views, *inputs.data)))
