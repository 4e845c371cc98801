"""Jinja as dbt uses it: macros in files of their own, looked up by name and package, that can `return` anything.

Macros are compiled once. When a template uses one, it is bound to the context of that template, as dbt does, so
that `this`, `config` and `execute` inside a macro are those of the model that called it.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any, TypeAlias, TypeVar

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import missing

from sao_dagster.errors import Location, RenderError, SaoError, words_of
from sao_dagster.projects.cache import TemplateCodes
from sao_dagster.projects.templates.blocks import blocks, macros_only
from sao_dagster.projects.templates.python_syntax import parsed
from sao_dagster.projects.templates.texts import MacroFile

T = TypeVar("T")
Filters: TypeAlias = Mapping[str, Callable[..., Any]]

_PREFIX = "macro__"  # so that a name in a macro file is looked up here, and not bound to a neighbour by Jinja

BUILDING_MACROS = (
    "alter_column_type", "alter_relation_add_remove_columns", "check_for_schema_changes", "collect_freshness", "create_csv_table",
    "create_table_as", "create_view_as", "get_create_table_as_sql", "get_create_view_as_sql", "get_csv_sql", "get_delete_insert_merge_sql",
    "get_incremental_append_sql", "get_incremental_default_sql", "get_incremental_delete_insert_sql", "get_incremental_merge_sql",
    "get_insert_into_sql", "get_limit_subquery_sql", "get_merge_sql", "get_merge_update_columns", "get_test_sql", "load_csv_rows",
    "process_schema_changes", "reset_csv_table", "sync_column_schemas",
)  # fmt: skip
"""Macros by which dbt builds, tests and looks at sources, and which a project may replace; none of them is called here."""

ATTACHING_MACROS = (
    "alter_column_comment", "alter_relation_comment", "apply_grants", "copy_grants", "create_indexes", "create_schema",
    "get_create_index_sql", "get_grant_sql", "get_revoke_sql", "get_show_grant_sql", "persist_docs",
)  # fmt: skip
"""Macros by which dbt makes schemas and what hangs on a relation; none is called here either, and no content follows from them."""


class MacroReturn(Exception):  # noqa: N818 - control flow, not an error
    """Carries the value of `return` out of a macro."""

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__()


class _Propagated(jinja2.Undefined):
    """Nothing, and so is all that is taken from it: what dbt sees of an undefined name while it reads a project, without a warehouse."""

    unsafe_callable = alters_data = False  # which the sandbox asks for, and which would be undefined, too

    def __getitem__(self, name: Any) -> _Propagated:  # type: ignore[override]
        return self

    def __getattr__(self, name: str) -> _Propagated:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(self)(hint=self._undefined_hint, name=name)

    def __call__(self, *args: Any, **kwargs: Any) -> _Propagated:  # type: ignore[override]
        return self


class _SaoContext(Context):
    """Looks up what a template does not define itself in the render that it is part of."""

    def resolve_or_missing(self, key: str) -> Any:
        value = super().resolve_or_missing(key)
        if value is missing and (lookup := self.parent.get("__lookup__")) is not None:
            return lookup(key)
        return value


class _MacroParser(Parser):
    """Reads macro files as dbt does: arguments of macros may have types, which say nothing here."""

    def parse_macro(self) -> nodes.Macro:
        macro = super().parse_macro()
        macro.name = _PREFIX + macro.name
        return macro

    def parse_signature(self, node: Any) -> None:
        args: list[nodes.Name] = []
        defaults: list[nodes.Expr] = []
        node.args, node.defaults = args, defaults
        self.stream.expect("lparen")
        while self.stream.current.type != "rparen":
            if args:
                self.stream.expect("comma")
            arg = self.parse_assign_target(name_only=True)
            arg.set_ctx("param")
            if self.stream.skip_if("colon"):
                self._skip_type()
            if self.stream.skip_if("assign"):
                defaults.append(self.parse_expression())
            elif defaults:
                self.fail("an argument without a default after one that has one")
            args.append(arg)
        self.stream.expect("rparen")

    def _skip_type(self) -> None:
        self.stream.expect("name")
        if self.stream.skip_if("lbracket"):
            while self.stream.current.type != "rbracket":
                self._skip_type()
                self.stream.skip_if("comma")
            self.stream.expect("rbracket")


class _TestTag(Extension):
    """`{% test name(model, column_name) %}`: a macro called `test_name`."""

    tags = {"test", "data_test"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        token = next(parser.stream)
        node = nodes.Macro(lineno=token.lineno)
        node.name = f"{_PREFIX}test_{parser.parse_assign_target(name_only=True).name}"
        parser.parse_signature(node)
        node.body = parser.parse_statements((f"name:end{token.value}",), drop_needle=True)
        return node


class _DocsTag(Extension):
    """`{% docs name %}`: kept as it is written."""

    tags = {"docs"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        parser.parse_assign_target(name_only=True)
        return parser.parse_statements(("name:enddocs",), drop_needle=True)


def _same(value: Any) -> Any:
    return value


class _Text(str):
    """A text of YAML that is to stay one: `as_text`."""

    __slots__ = ()


class _Literal(str):
    """A text of YAML that is read as Python writes values: `as_native`."""

    __slots__ = ()
    kind = "value"
    types: tuple[type, ...] = (object,)


class _Bool(_Literal):
    __slots__ = ()
    kind, types = "boolean", (bool,)


class _Number(_Literal):
    __slots__ = ()
    kind, types = "number", (int, float)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


_IN_TEXT: Filters = {"as_text": _same, "as_bool": _same, "as_native": _same, "as_number": _same, "is_list": _is_list}
_IN_YAML: Filters = {
    "as_text": _Text,
    "as_bool": _Bool,
    "as_native": _Literal,
    "as_number": _Number,
    "is_list": _is_list,
}


class _Environment(SandboxedEnvironment):
    """As dbt has it: a sandbox, in which templates change their own lists and dictionaries, and reach nothing else.

    Args:
        mangled: Whether macros get names that are not found by each other, as in macro files.
        undefined: What stands for a name without a value.
        filters: dbt's filters, which mean something in YAML only.
    """

    context_class = _SaoContext

    def __init__(
        self,
        *,
        mangled: bool = False,
        undefined: type[jinja2.Undefined] = jinja2.Undefined,
        filters: Filters = _IN_TEXT,
    ) -> None:
        super().__init__(
            extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols", _TestTag, _DocsTag],
            undefined=undefined,
            autoescape=False,
        )
        self.filters.update(filters)
        self.mangled = mangled

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if self.mangled:
            return _MacroParser(self, source, name, filename).parse()
        return super()._parse(source, name, filename)


class _NativeEnvironment(_Environment):
    code_generator_class = NativeCodeGenerator


_templates = _Environment()
_reading = _Environment(undefined=_Propagated)
_macros = _Environment(mangled=True)
_natives = _NativeEnvironment(filters=_IN_YAML)


@lru_cache(maxsize=20_000)
def _template(text: str, path: str, reads: bool = False) -> jinja2.Template:
    return _compile(_reading if reads else _templates, text, path)


@lru_cache(maxsize=20_000)
def _macro_template(text: str, path: str, name: str | None = None) -> jinja2.Template:
    return _compile(_macros, macros_only(text, name), path)


def _compile(environment: _Environment, text: str, path: str) -> jinja2.Template:
    try:
        code = _code(environment, text, path)
        return jinja2.Template.from_code(environment, code, dict(environment.globals))
    except jinja2.TemplateSyntaxError as error:
        raise RenderError(f"Jinja cannot read this: {error.message}", location=Location(path, error.lineno)) from error


def _code(environment: _Environment, text: str, path: str) -> CodeType:
    def compile_() -> CodeType:
        return environment.compile(text, name=path, filename=path)

    codes = TemplateCodes.current
    return (
        compile_()
        if codes is None or environment is _natives
        else codes.code(text, path, environment.mangled, compile_)
    )


class MacroRegistry:
    """All macros by package and name.

    Args:
        files: Macro files; of two macros of one name in one package, the later file wins.

    Raises:
        RenderError: A file is not Jinja.
    """

    def __init__(self, files: Iterable[MacroFile]) -> None:
        self._found: dict[str, dict[str, MacroFile]] = {}
        for file in files:
            package = self._found.setdefault(file.package, {})
            for block in blocks(file.text):
                package[block.macro] = file

    def find(self, package: str, name: str) -> MacroFile | None:
        """Return the file that defines a macro."""
        return self._found.get(package, {}).get(name)

    @staticmethod
    def check(file: MacroFile) -> None:
        """Compile a file that may be needed later.

        Raises:
            RenderError: It is not Jinja.
        """
        _macro_template(file.text, file.path)

    def reached(self, text: str, files: Iterable[MacroFile] = ()) -> list[MacroFile]:
        """Return every file of macros that a template may reach.

        Names are followed through the text of the macro files, which errs on the side of too many.

        Args:
            text: The template.
            files: Those that it is known to reach.
        """
        packages = list(self.packages())
        found = {file.path: file for file in files}
        names = set(re.findall(r"\w+", text)).union(*(re.findall(r"\w+", file.text) for file in found.values()))
        while names:
            more = {
                file.path: file
                for name in names
                for package in packages
                if (file := self.find(package, name)) and file.path not in found
            }
            found.update(more)
            names = {name for file in more.values() for name in re.findall(r"\w+", file.text)}
        return list(found.values())

    def packages(self) -> Iterable[str]:
        """Return the packages that have macros."""
        return self._found

    def names(self, package: str) -> Mapping[str, MacroFile]:
        """Return the macros of a package."""
        return self._found.get(package, {})

    @staticmethod
    def bind(file: MacroFile, name: str, variables: Mapping[str, Any]) -> Macro:
        """Return a macro that sees the variables of a render; it finds others by these alone."""
        module = _macro_template(file.text, file.path, name).make_module(dict(variables))
        macro: Macro = getattr(module, _PREFIX + name)
        return macro


def render(text: str, path: str, variables: Mapping[str, Any], name: str | None = None, *, reads: bool = False) -> str:
    """Return a template, rendered.

    As in dbt, what is undefined prints as nothing, and nothing can be called or taken from it.

    Args:
        text: The template.
        path: Where it is written, for messages.
        variables: What it sees; `__lookup__` is asked for the rest.
        name: The model or test it belongs to, for messages.
        reads: Whether it is only read, for what it asks for; then all that is taken from what is undefined is undefined, too.

    Raises:
        RenderError: It is not Jinja, or fails.
    """

    def rendered() -> str:
        try:
            return _template(text, path, reads).render(dict(variables))
        except MacroReturn as returned:
            return "" if returned.value is None else str(returned.value)

    return guarded(rendered, path, name)


def render_native(text: str, path: str, variables: Mapping[str, Any], name: str | None = None) -> Any:
    """Return the value of a text in YAML: that of its expression where it is nothing but one, else the text.

    `as_bool`, `as_number` and `as_native` read what the expression gives as Python writes values.

    >>> [render_native(text, "", {"n": "4"}) for text in ("{{ n }}", "{{ n | as_number }}", "{{ n }} days", "{{ [n] }}")]
    ['4', 4, '4 days', ['4']]

    Raises:
        RenderError: It is not Jinja, or fails, or is of another type than its filter says.
    """

    def rendered() -> Any:
        template = _native_template(text, path)
        parts = list(template.root_render_func(template.new_context(dict(variables))))
        if len(parts) != 1:
            return "".join(map(str, parts))
        return _native(parts[0])

    return guarded(rendered, path, name)


@lru_cache(maxsize=5_000)
def _native_template(text: str, path: str) -> jinja2.Template:
    return _compile(_natives, text, path)


def _native(value: Any) -> Any:
    if isinstance(value, jinja2.Undefined):
        return ""
    if isinstance(value, _Text):
        return str(value)
    if not isinstance(value, _Literal):
        return value
    try:
        found: Any = literal_eval(parsed(value.lstrip(" \t")))
    except (ValueError, SyntaxError, MemoryError):
        found = str(value)
    if not isinstance(found, value.types) or (isinstance(found, bool) and isinstance(value, _Number)):
        raise RenderError(f"{str(value)!r} is no {value.kind}")
    return found


def evaluate(text: str, path: str, variables: Mapping[str, Any], name: str | None = None) -> Any:
    """Return the value of a Jinja expression, which may be anything.

    Raises:
        RenderError: It is not an expression, or fails.
    """
    holder: list[Any] = []
    template = "{% do __keep__(" + text + ") %}"
    seen = {**variables, "__keep__": holder.append}
    guarded(lambda: _template(template, path).render(seen), path, name)
    return holder[0]


def guarded(action: Callable[[], T], path: str, name: str | None) -> T:
    """Return what an action with templates gives.

    Args:
        action: It renders a template, or calls a macro.
        path: Where the template is written, for messages.
        name: What it belongs to, for messages.

    Raises:
        RenderError: It fails, with the deepest line of a template that it was in.
    """
    try:
        return action()
    except SaoError as error:
        error.name = error.name or name
        error.location = error.location or _place(error, path)
        raise
    except jinja2.TemplateError as error:
        raise RenderError(str(error.message), name=name, location=_place(error, path)) from error
    except RecursionError as error:
        raise RenderError("a macro calls itself without end", name=name, location=Location(path)) from error
    except Exception as error:  # what templates call may raise anything
        message = f"rendering failed with {words_of(error)}"
        raise RenderError(message, name=name, location=_place(error, path)) from error


def _place(error: BaseException, path: str) -> Location:
    """Return the deepest line of a template in a traceback.

    Jinja rewrites tracebacks of whole templates so that they name lines; those of a macro that was called from here are of the
    Python that it made.
    """
    line = None
    where = path
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if filename == path or filename.endswith((".sql", ".yml", ".yaml")):
            template = trace.tb_frame.f_globals.get("__jinja_template__")
            where, line = filename, trace.tb_lineno
            if isinstance(template, jinja2.Template):
                line = template.get_corresponding_lineno(line)
        trace = trace.tb_next
    return Location(where, line)
