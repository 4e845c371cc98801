"""Compiling each template once: dbt has Jinja compile one each time that it is rendered, when it parses, when it renders and when it builds."""

from __future__ import annotations

from types import CodeType
from typing import Any

from dbt_common.clients.jinja import MacroFuzzEnvironment


def compile_once() -> None:
    """Let dbt's environments of Jinja keep what they have compiled, from now on in this process."""
    original, known = MacroFuzzEnvironment.compile, dict[tuple[Any, ...], CodeType]()

    def compiled(
        environment: Any,
        source: Any,
        name: Any = None,
        filename: Any = None,
        raw: bool = False,
        defer_init: bool = False,
    ) -> Any:
        if raw or not isinstance(source, str):
            return original(environment, source, name, filename, raw, defer_init)
        # filters and extensions are the same in all environments of a type
        key = (type(environment), source, name, filename, defer_init)
        if key not in known:
            known[key] = original(environment, source, name, filename, raw, defer_init)
        return known[key]

    MacroFuzzEnvironment.compile = compiled
