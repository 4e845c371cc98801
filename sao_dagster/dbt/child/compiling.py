"""Compiling one node several times, in one context of dbt's: to make such a context takes a look at all macros of a project."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any

from dbt.clients import jinja
from dbt.compilation import Compiler
from dbt.contracts.graph.nodes import GenericTestNode


def uncompiled(node: Any) -> Any:
    """Return a copy of a node that is not compiled, and has nothing in common with it: templates can change lists that they are shown."""
    fresh = deepcopy(node)
    fresh.compiled, fresh.compiled_code = False, None
    fresh.extra_ctes, fresh.extra_ctes_injected = [], False
    return fresh


class NodeCompiler(Compiler):
    """Compiles a copy of one node, again and again.

    Args:
        config: dbt's runtime configuration.
        manifest: The manifest, with the ephemeral models that stand in the node.
        node: The node.
    """

    def __init__(self, config: Any, manifest: Any, node: Any) -> None:
        super().__init__(config)
        self.node = copy(node)
        self._original, self._manifest = node, manifest
        self._context: dict[str, Any] = {}
        self._as_made: dict[str, Any] = {}

    def text(self, values: dict[str, Any]) -> str:
        """Return the node's SQL.

        Args:
            values: What its template sees in place of dbt's own.
        """
        vars(self.node).update(vars(uncompiled(self._original)))
        text: str | None = self.compile_node(self.node, self._manifest, values, write=False).compiled_code
        return "" if text is None else text

    def forget(self) -> None:
        """Let the context go, which leads to itself in many ways."""
        self._context.clear()
        self._as_made.clear()

    def _write_node(self, node: Any, *_: Any) -> Any:
        """Leave the file of an ephemeral model in the node to whoever builds, in a run that is not pinned."""
        return node

    def _create_node_context(self, node: Any, manifest: Any, extra_context: dict[str, Any]) -> dict[str, Any]:
        if node is not self.node or not self._context:
            made: dict[str, Any] = super()._create_node_context(node, manifest, extra_context)
            if node is self.node:  # and no ephemeral model in it
                self._context, self._as_made = made, {**made, "model": deepcopy(made["model"])}
            return made
        self._context["_sql_results"].clear()
        self._context.clear()
        self._context.update({**self._as_made, **extra_context, "model": deepcopy(self._as_made["model"])})
        if isinstance(node, GenericTestNode):
            jinja.add_rendered_test_kwargs(self._context, node)
        return self._context
