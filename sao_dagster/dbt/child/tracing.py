"""What a text was rendered from, so that after an edit of the project only what it may change is rendered again.

While a node is rendered it is noted which macros are called and which variables are looked up. With the node itself, what it refers to and
the settings that hold for all nodes, these are all that dbt's context has for a template, but for what the warehouse answers, which is
asked again at each decision, and environment variables, which are watched apart. A template that looks at anything else has no trace.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import Any

MadeOf = dict[str, Any]
"""Of a text: the `parts`, by unique id the node and the ephemeral models in it, each with its `macros` and `variables`; and a `digest` of all."""

PASSING = frozenset(
    {"created_at", "build_path", "compiled", "compiled_code", "compiled_path", "extra_ctes", "extra_ctes_injected"}
)
"""What in a node is of one invocation."""

BEHIND_REF = PASSING | {
    *("raw_code", "checksum", "description", "columns", "docs", "doc_blocks", "patch_path", "depends_on", "refs"),
    *("sources", "metrics", "functions", "constraints", "config_call_dict", "unrendered_config_call_dict"),
    "unrendered_config",
}
"""What of a node does not show in `ref`."""

BY_NODE = frozenset(
    {
        *(
            "models",
            "seeds",
            "snapshots",
            "sources",
            "data_tests",
            "tests",
            "unit_tests",
            "metrics",
            "exposures",
            "functions",
        ),
        *("semantic-models", "saved-queries", "vars", "version", "on-run-start", "on-run-end"),
    }
)
"""What of `dbt_project.yml` shows in nodes, in variables, or in no template of a node."""


class Trace:
    """What is looked at while one template is rendered; `is_known` is false where that cannot be told."""

    def __init__(self) -> None:
        self.macros: set[str] = set()
        self.variables: set[str] = set()
        self.sources: set[str] = set()
        self.is_known = True


_noting = threading.local()


def _trace() -> Trace | None:
    return getattr(_noting, "trace", None)


def _anything() -> None:
    trace = _trace()
    if trace is not None:
        trace.is_known = False


class Traces:
    """Notes what is looked at while nodes are rendered, and says whether that is still the same.

    Args:
        config: dbt's runtime configuration.
        manifest: The manifest that is rendered from, where what leads to more than the node is replaced by what tells of it.
        original: The manifest as it was parsed.
    """

    def __init__(self, config: Any, manifest: Any, original: Any) -> None:
        _install()
        self.config, self.original = config, original
        manifest.flat_graph = telling(manifest.flat_graph)
        resolve = manifest.resolve_source

        def resolve_source(*args: Any, **kwargs: Any) -> Any:
            found, trace = resolve(*args, **kwargs), _trace()
            if trace is not None:
                trace.sources.add(str(getattr(found, "unique_id", None)))
            return found

        manifest.resolve_source = resolve_source
        self._digests: dict[tuple[str, str], str] = {}
        self._whole = ""

    @contextmanager
    def noting(self) -> Iterator[Trace]:
        """Note what is looked at meanwhile in this thread."""
        before, _noting.trace = _trace(), Trace()
        try:
            yield _noting.trace
        finally:
            _noting.trace = before

    def made_of(self, unique_id: str, trace: Trace, below: Iterable[MadeOf | None] = ()) -> MadeOf | None:
        """Return what a text was made of; None where that cannot be told.

        Args:
            unique_id: The node.
            trace: What was looked at.
            below: What the ephemeral models in it were made of.
        """
        parts = {unique_id: {"macros": sorted(trace.macros), "variables": sorted(trace.variables)}}
        for each in below:
            if each is None:
                return None
            parts.update(each["parts"])
        declared = {source for name in parts for source in _refers_to(self.original.nodes[name])}
        if not trace.is_known or not trace.sources <= declared:
            return None
        digest = self._digest_of(parts)
        return None if digest is None else {"parts": parts, "digest": digest}

    def holds(self, made_of: MadeOf | None) -> bool:
        """Return whether the same text would be made of the project as it is now."""
        return made_of is not None and self._digest_of(made_of["parts"]) == made_of["digest"]

    def _digest_of(self, parts: dict[str, Any]) -> str | None:
        """Return a digest of all that a text is made of; None where something is not there, or nobody knows what it is."""
        found: list[Any] = [self._whole or self._of_all()]
        for unique_id, part in sorted(parts.items()):
            if unique_id not in self.original.nodes or not {*part["macros"]} <= self.original.macros.keys():
                return None
            node = self.original.nodes[unique_id]
            refers_to = [self._behind_ref(each) for each in _refers_to(node)]
            if None in refers_to:
                return None
            found.append([unique_id, self._digest("node", unique_id, partial(_dictionary, node, PASSING))])
            found += [self._macro(each) for each in part["macros"]]
            found += [self._variables(node, part["variables"]), refers_to]
        return _digest(found)

    def _of_all(self) -> str:
        """Return a digest of what each template can see: the target, flags, what macros there are, and how they are looked for."""
        import jinja2
        from dbt.flags import get_flags

        config = self.config
        project = config.to_project_config(with_packages=True)
        self._whole = _digest(
            [
                {key: value for key, value in project.items() if key not in BY_NODE and not key.endswith("-paths")},
                [[name, each.version] for name, each in config.load_dependencies().items()],
                config.to_target_dict(),
                {
                    key: value
                    for key, value in vars(get_flags()).items()
                    if key.isupper() and key != "INVOCATION_COMMAND"
                },
                sorted(each for each in os.environ.items() if each[0].startswith("DBT_ENV_CUSTOM_ENV_")),
                [jinja2.__version__, sys.version],
                sorted(self.original.macros),
            ]
        )
        return self._whole

    def _macro(self, unique_id: str) -> str:
        macro = self.original.macros[unique_id]
        return self._digest("macro", unique_id, lambda: [unique_id, macro.macro_sql, str(macro.arguments)])

    def _behind_ref(self, unique_id: str) -> str | None:
        """Return a digest of what a node shows to whoever refers to it; None where it is neither a node nor a source."""
        source = self.original.sources.get(unique_id)
        if source is not None:
            return self._digest("source", unique_id, lambda: _dictionary(source, PASSING))
        node = self.original.nodes.get(unique_id)
        return node and self._digest("ref", unique_id, lambda: _dictionary(node, BEHIND_REF))

    def _variables(self, node: Any, names: list[str]) -> list[Any]:
        """Return the values that variables have for a node, before they are rendered."""
        if not names:
            return []
        from dbt.context.providers import RuntimeVar

        values = RuntimeVar({}, self.config, node)._merged
        return [[name, [values[name]] if name in values else None] for name in names]

    def _digest(self, kind: str, unique_id: str, value: Callable[[], Any]) -> str:
        if (kind, unique_id) not in self._digests:
            self._digests[kind, unique_id] = _digest(value())
        return self._digests[kind, unique_id]


def telling(value: Any) -> Any:
    """Return a dictionary or list that tells, as soon as anybody looks into it, that nobody knows what a text is made of."""
    kind = type(value)
    methods = inspect.getmembers(kind, inspect.ismethoddescriptor)
    members = {name: told(method, _anything) for name, method in methods if name != "__init__"}
    return type("Telling", (kind,), members)(value)


def told(method: Callable[..., Any], tell: Callable[[], None]) -> Callable[..., Any]:
    """Return a method that tells each time that it is called."""

    def telling(*args: Any, **kwargs: Any) -> Any:
        tell()
        return method(*args, **kwargs)

    return telling


def _install() -> None:
    """Let macros, variables and adapters tell what is looked at, once in this process."""
    from dbt.context.base import Var
    from dbt.context.providers import BaseResolver, RuntimeDatabaseWrapper, RuntimeVar
    from dbt_common.clients.jinja import BaseMacroGenerator, CallableMacroGenerator
    from jinja2.sandbox import SandboxedEnvironment

    if getattr(CallableMacroGenerator.call_macro, "tells", False):
        return
    call, has, get = CallableMacroGenerator.call_macro, RuntimeVar.has_var, RuntimeVar.get_rendered_var
    is_safe = SandboxedEnvironment.is_safe_attribute

    def call_macro(generator: Any, *args: Any, **kwargs: Any) -> Any:
        trace = _trace()
        if trace is not None:
            trace.macros.add(generator.macro.unique_id)
        return call(generator, *args, **kwargs)

    def has_var(variable: Any, name: Any) -> Any:
        _variable(name)
        return has(variable, name)

    def get_rendered_var(variable: Any, name: Any) -> Any:
        _variable(name)
        return get(variable, name)

    def config(wrapper: Any) -> Any:
        if not str(sys._getframe(1).f_globals.get("__name__")).startswith("dbt."):  # a template, and not dbt itself
            _anything()
        return wrapper._adapter.config

    def is_safe_attribute(environment: Any, obj: Any, attr: str, value: Any) -> bool:
        """Tell where a template looks into what stands in front of the whole project, instead of calling it."""
        if isinstance(obj, (BaseResolver, Var, BaseMacroGenerator)) and attr != "has_var":
            _anything()
        return bool(is_safe(environment, obj, attr, value))

    SandboxedEnvironment.is_safe_attribute = is_safe_attribute  # type: ignore[assignment, method-assign]
    call_macro.tells = True  # type: ignore[attr-defined]
    CallableMacroGenerator.call_macro = call_macro
    RuntimeVar.has_var, RuntimeVar.get_rendered_var = has_var, get_rendered_var
    RuntimeDatabaseWrapper.config = property(config)


def _variable(name: Any) -> None:
    trace = _trace()
    if trace is None:
        return
    if isinstance(name, str):
        trace.variables.add(str(name))
    else:
        trace.is_known = False


def _dictionary(node: Any, without: frozenset[str] | set[str]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in node.to_dict(omit_none=True).items() if key not in without}


def _plain(value: Any) -> Any:
    """Return a value without members of enumerations: dbt has texts in their place in what it has kept from its last parse."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value.value if isinstance(value, Enum) else value


def _refers_to(node: Any) -> list[str]:
    return list(getattr(node.depends_on, "nodes", ()))  # a seed has macros alone


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode(errors="surrogatepass")).hexdigest()[:32]
