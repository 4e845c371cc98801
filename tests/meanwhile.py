"""Somebody else who acts just before and just after each build of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sao_dagster.core.nodes import Node
from sao_dagster.core.selection import select
from sao_dagster.warehouses.protocol import BuildRequest, Built
from tests.world import World


@dataclass(frozen=True)
class Meanwhile:
    """Builds, and lets somebody else act just before and just after each build, or those of some nodes."""

    before: Callable[[], object]
    after: Callable[[], object]
    nodes: frozenset[str] | None = None

    def build(self, node: Node, request: BuildRequest) -> Built:
        if self.nodes is not None and node.name not in self.nodes:
            return request.session.materializer().build(node, request)
        self.before()
        built = request.session.materializer().build(node, request)
        self.after()
        return built


def run_meanwhile(
    world: World, before: Callable[[], object], after: Callable[[], object], *nodes: str, include: str | None = None
) -> None:
    """Run a project, or a part of it, with somebody else who acts around the builds of some nodes; of all where none is named."""
    runner = world.runner()
    meanwhile = Meanwhile(before, after, frozenset(nodes) if nodes else None)
    replace(runner, materializer=meanwhile).run(select(runner.project, include))
