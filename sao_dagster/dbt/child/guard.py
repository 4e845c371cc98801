"""Whether the private names of dbt that are used here are what they were in the versions that were tried."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any


def unexpected() -> list[str]:
    """Return what of dbt is not as expected, in words; nothing where all is."""
    import dbt.compilation
    import dbt.task.build
    from dbt import selected_resources
    from dbt.adapters.base import BaseAdapter
    from dbt.adapters.cache import RelationsCache
    from dbt.clients import jinja
    from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
    from dbt.context.manifest import ManifestContext
    from dbt.context.providers import RuntimeRefResolver, RuntimeVar
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.results import RunResult
    from dbt_common.clients.jinja import CallableMacroGenerator, MacroFuzzEnvironment
    from dbt_common.events.event_manager import EventManager
    from jinja2.compiler import CodeGenerator
    from jinja2.sandbox import SandboxedEnvironment

    task = dbt.task.build.BuildTask
    expected: list[tuple[Any, str, tuple[str, ...]]] = [
        (task, "run", ("self",)),
        (task, "_runtime_initialize", ("self",)),
        (task, "before_run", ("self", "adapter", "selected_uids")),
        (task, "defer_to_manifest", ("self",)),
        (task, "execute_nodes", ("self",)),
        (task, "get_runner", ("self", "node")),
        (task, "call_runner", ("self", "runner")),
        (task, "_handle_result", ("self", "result")),
        (task, "get_runner_type", ("self", "node")),
        (task, "populate_adapter_cache", ("self", "adapter")),
        (task, "_pool_thread_initializer", ("invocation_context",)),
        (task, "get_result", ("self", "results", "elapsed_time", "generated_at")),
        (dbt.compilation.Compiler, "compile_node", ("self", "node", "manifest", "extra_context", "write")),
        (dbt.compilation.Compiler, "_create_node_context", ("self", "node", "manifest", "extra_context")),
        (dbt.compilation.Compiler, "_write_node", ("self", "node")),
        (dbt.compilation, "inject_ctes_into_sql", ("sql", "ctes")),
        (jinja, "add_rendered_test_kwargs", ("context", "node")),
        (BaseAdapter, "connection_named", ("self", "name")),
        (BaseAdapter, "execute", ("self", "sql", "auto_begin", "fetch")),
        (BaseAdapter, "list_relations_without_caching", ("self", "schema_relation")),
        (BaseAdapter, "_make_match", ("self", "relations_list", "database", "schema", "identifier")),
        (BaseAdapter, "list_schemas", ("self", "database")),
        (BaseAdapter, "commit_if_has_connection", ("self",)),
        (BaseAdapter, "post_model_hook", ("self", "config", "context")),
        (MacroNamespaceBuilder, "build_namespace", ("self", "macros_by_package", "ctx")),
        (MacroNamespace, "_search_order", ("self",)),
        (ManifestContext, "to_dict", ("self",)),
        (jinja.MacroGenerator, "__init__", ("self", "macro", "context", "node", "stack")),
        (RelationsCache, "__init__", ("self", "log_cache_events")),
        (RunResult, "from_node", ("node", "status", "message")),
        (CallableMacroGenerator, "call_macro", ("self",)),
        (EventManager, "fire_event", ("self", "e", "level")),
        (MacroFuzzEnvironment, "compile", ("self", "source", "name", "filename", "raw", "defer_init")),
        (SandboxedEnvironment, "call_binop", ("self", "context", "operator", "left", "right")),
        (CodeGenerator, "visit_Operand", ("self", "node", "frame")),
        (SandboxedEnvironment, "is_safe_attribute", ("self", "obj", "attr", "value")),
        (RuntimeVar, "has_var", ("self", "var_name")),
        (RuntimeVar, "get_rendered_var", ("self", "var_name")),
        (RuntimeVar, "_generate_merged", ("self",)),
        (Manifest, "resolve_source", ("self",)),
        (Manifest, "build_flat_graph", ("self",)),
        (Manifest, "merge_from_artifact", ("self", "other")),
        (RuntimeRefResolver, "create_relation", ("self", "target_model")),
        (selected_resources, "set_selected_resources", ("selected_resources",)),
    ]
    return [text for owner, name, parameters in expected for text in _differences(owner, name, parameters)]


def _differences(owner: Any, name: str, parameters: tuple[str, ...]) -> Iterator[str]:
    """Yield what is not as expected of a method: it is there, and takes these parameters first."""
    found = getattr(owner, name, None)
    if found is None:
        yield f"{owner.__name__}.{name} is not there"
        return
    there = tuple(inspect.signature(found).parameters)
    if there[: len(parameters)] != parameters:
        yield f"{owner.__name__}.{name} takes {there}"
