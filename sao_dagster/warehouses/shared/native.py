"""Building natively: every kind of node that this package builds itself, by the primitives of a warehouse."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from sao_dagster.core.nodes import Model, Node, Seed
from sao_dagster.core.relations import Relation
from sao_dagster.core.templates import CompiledSql
from sao_dagster.errors import ChangedRelationError, UnsupportedError
from sao_dagster.warehouses.protocol import BuildRequest, Built


class NativeBuilder(Protocol):
    """What a session does so that models and seeds can be built in it natively."""

    def ensure_schemas(self, relations: Collection[Relation]) -> None:
        """Create the schemas that the relations live in, where they are not there."""

    def build_model(
        self,
        model: Model,
        compiled: CompiledSql,
        *,
        full_refresh: bool,
        reads: Mapping[Relation, str | None],
        unwatched: Mapping[Relation, Collection[str]],
    ) -> Built:
        """Build a table, a view or an incremental model; with transactional DDL in one transaction, with its hooks.

        Args:
            model: The model.
            compiled: Its statements; with what they are expected to give, the build is undone where it gives something else (`check_expected`).
            full_refresh: Whether to build an incremental model from the start.
            reads: The relations of other models that it reads, as in the request; `Built.read` says which builds of them were read.
            unwatched: As in the request; `Built.contents` says what they hold in the snapshot of the build, where it has one.
        """

    def load_seed(self, seed: Seed) -> Built:
        """Replace a seed's table by its file, likewise."""


def check_expected(built: Built, compiled: CompiledSql) -> None:
    """Refuse what was built, if it is known what it should be and it is something else; called within the transaction.

    Raises:
        ChangedRelationError: It is.
    """
    if compiled.expects is not None and built.data_version != compiled.expects:
        raise ChangedRelationError("it holds something else than was recorded of it, since somebody has changed it")


@dataclass(frozen=True)
class NativeMaterializer:
    """Builds in a session; see `sao_dagster.warehouses.protocol.Materializer`."""

    builder: NativeBuilder

    def build(self, node: Node, request: BuildRequest) -> Built:
        """Build a model or a seed.

        Raises:
            UnsupportedError: It is of a kind, or in a language, that is not built here.
        """
        if isinstance(node, Seed):
            self.builder.ensure_schemas([node.relation])
            return self.builder.load_seed(node)
        if not isinstance(node, Model) or not node.is_native:
            raise UnsupportedError(
                f"{node.name} is a {node.resource_type} with materialized: {node.materialized.value!r}, which is not built natively",
                location=node.location,
            )
        compiled = request.compile()
        self.builder.ensure_schemas([node.relation])
        return self.builder.build_model(
            node, compiled, full_refresh=request.full_refresh, reads=request.reads, unwatched=request.unwatched
        )
