"""What models and data tests read without saying so: found in their SQL, made an edge where it is a node, and told once."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.nodes import Materialized, is_source
from sao_dagster.core.policy import RefreshPolicy
from sao_dagster.core.project import Notice
from sao_dagster.core.relations import RelationKey, folded
from sao_dagster.errors import Location, ProjectError
from sao_dagster.projects.assembly.drafts import Draft, Drafts
from sao_dagster.sql.ctes import prepend_ctes
from sao_dagster.sql.fingerprint import sql_digest
from sao_dagster.sql.hooks import calls, changes_rows, is_head, may_write, renames, tables_in
from sao_dagster.sql.reads import names_text, undeclared_reads

_VALUE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_BLOCK = re.compile(r"\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_MACRO = re.compile(r"\{%-?\s*macro\b.*?\bendmacro\s*-?%\}", re.DOTALL)
_THIS = re.compile(r"\{\{-?\s*this\s*-?\}\}")
_PLACE = '"__template__"'
_MAKES_SQL = re.compile(r"\b(insert|update|delete|merge|truncate|copy|create|drop|alter)(?!d)", re.IGNORECASE)


@dataclass
class _Told:
    """Who reads an undeclared input: the first by its name and place, what kind of notice it is, and how many more do."""

    reader: str
    location: Location | None
    kind: str
    more: int = 0


@dataclass
class UndeclaredReads:
    """Finds what is read without being declared.

    Attributes:
        drafts: All drafts, rendered.
    """

    drafts: Drafts
    _told: dict[str, _Told] = field(default_factory=dict)

    @cached_property
    def _ids(self) -> dict[RelationKey, str]:
        """Nodes and sources by where they are."""
        found = {each.relation.key: each.id for each in self.drafts.declared.sources if each.relation is not None}
        for draft in self.drafts.by_id.values():
            if draft.materialized is not Materialized.EPHEMERAL:
                found[draft.relation.key] = draft.id
        return found

    def find(self, draft: Draft) -> None:
        """Note what a model reads without saying so.

        Raises:
            ProjectError: Its `inputs` name something that is not there.
        """
        policy = draft.policy
        self._tell_writes(draft)
        if policy.inputs is not None:
            draft.undeclared = self._said(draft, policy.inputs)
            return
        draft.named = found = (*self._in_sql(draft), *self._in_config(draft), *self._in_hooks(draft))
        edges, draft.undeclared = self.divide(draft.id, draft.declared.location, found, policy)
        draft.depends_on = tuple(dict.fromkeys((*draft.depends_on, *edges)))

    def divide(
        self,
        reader: str,
        location: Location | None,
        found: Iterable[UndeclaredInput],
        policy: RefreshPolicy | None = None,
    ) -> tuple[tuple[str, ...], tuple[UndeclaredInput, ...]]:
        """Return which nodes and sources undeclared inputs are, and those that are none; each is told once."""
        edges: dict[str, None] = {}
        others: list[UndeclaredInput] = []
        stable = {name.lower() for name in policy.stable_functions} if policy is not None else set()
        for each in found:
            if each.kind is InputKind.FUNCTION and each.name in stable:
                continue
            node = self._node_of(each)
            if node is None:
                self._tell(_described(each), reader, location, f"undeclared {each.kind.value}")
                others.append(each)
            elif not is_source(node) and self._is_above(reader, node):
                self._tell(
                    f"reads {node} by its name, which is itself or below it: it reads what was there before, and is decided again in the next run",
                    reader,
                    location,
                    "undeclared circle",
                )
                others.append(each)
            else:
                way = "source()" if is_source(node) else f"ref('{node}')"
                self._tell(f"reads {each.written} by its name; read it with {way}", reader, location, "undeclared edge")
                edges[node] = None
                if len(each.parts) == 1 and not self.drafts.context.engine.default_schema:
                    others.append(each)  # what the name means is for the search path to say
        return tuple(edges), tuple(others)

    def notices(self) -> Iterable[Notice]:
        """Yield one notice for each undeclared input."""
        for text, told in self._told.items():
            more = f" (and so do {told.more} more)" if told.more else ""
            yield Notice(f"{told.reader} {text}{more}", told.location, kind=told.kind)

    def _tell_writes(self, draft: Draft) -> None:
        """Tell of the hooks of a node that write to the table of another one, to which that is somebody else."""
        dialect = self.drafts.declared.dialect
        for hook in filter(may_write, (*draft.pre_hooks, *draft.post_hooks)):
            for parts in sorted(tables_in(hook, dialect)):
                node = self._node_of(UndeclaredInput(InputKind.TABLE, ".".join(parts), parts=parts))
                if node is None or node == draft.id or is_source(node):
                    continue
                if changes_rows(hook, self.drafts.by_id[node].relation, dialect, unread=False):
                    text = f"writes to the table of {node} in a hook: the next run finds that changed by someone else, and builds it without these rows until the hook runs again"
                    self._tell(text, draft.id, draft.declared.location, "hook writes")

    def _tell(self, text: str, reader: str, location: Location | None, kind: str) -> None:
        if text in self._told:
            self._told[text].more += 1
        else:
            self._told[text] = _Told(reader, location, kind)

    def _in_sql(self, draft: Draft) -> tuple[UndeclaredInput, ...]:
        """Return what the SQL of a model names, in all the ways in which it may run.

        What a statement before it makes is no input, and what that statement reads is. A template that asks the warehouse has no SQL yet:
        what it says outside of its templates is looked at; the rest of what it reads is known when it is asked (`TemplateCompiler.answers`).
        """
        dialect, compiled = self.drafts.declared.dialect, draft.declared.compiled
        if compiled is not None and compiled.program:
            return (UndeclaredInput(InputKind.UNKNOWN, compiled.program),)
        if draft.declared.language != "sql" or (draft.declared.sql is None and compiled is None):
            return ()
        if draft.dynamic and not draft.sql:
            text = _masked(draft.declared.sql or "")
            named = undeclared_reads(text, dialect, {_PLACE: "template"})
            known = (each for each in named if each.kind is not InputKind.UNKNOWN)
            return tuple(each for each in known if _PLACE.strip('"') not in each.parts)
        names = self.drafts.names(draft.depends_on, draft.id)
        making = [hook for hook in draft.pre_hooks if "create" in hook.lower()]
        inlined = () if compiled is not None else self.drafts.ephemerals(draft.depends_on, draft.id)
        ctes = self.drafts.ctes(inlined)
        found: dict[UndeclaredInput, None] = {}
        for sql in (draft.sql, draft.incremental_sql):
            if sql is not None:
                whole = prepend_ctes(sql, ctes, dialect)
                found.update(dict.fromkeys(undeclared_reads(";\n".join((*making, whole)), dialect, names)))
                sql_digest(
                    whole, dialect, names
                )  # which is kept: its tokens are at hand now, and not when the node is made
        makes_table = draft.materialized.holds_data and draft.materialized is not Materialized.INCREMENTAL
        if makes_table and names_text(draft.sql, dialect, str(draft.relation)):
            found[UndeclaredInput(InputKind.UNKNOWN, "what it holds itself")] = None  # each build gives another one
        for sql in (draft.sql, draft.incremental_sql) if self.drafts.fillings else ():
            found.update(dict.fromkeys(self._filled(sql or "")))
        if any(map(renames, draft.pre_hooks)):
            return tuple(self._renamed(each) for each in found)
        return tuple(found)

    def _filled(self, sql: str) -> Iterator[UndeclaredInput]:
        """Yield what `on-run-start` reads to fill the tables that some SQL names, also by way of others.

        What it reads of a node is what was there before the run.
        """
        tables = tables_in(sql, self.drafts.declared.dialect)
        pending = list(self.drafts.fillings)
        while chosen := [each for each in pending if each.is_read(tables)]:
            pending = [each for each in pending if each not in chosen]
            for read in (read for each in chosen for read in each.reads):
                tables |= {tuple(map(str.lower, read.parts))} if read.parts else set()
                node = self._node_of(read)
                is_node = node is not None and not is_source(node)
                yield UndeclaredInput(InputKind.UNKNOWN, f"what on-run-start has read of {node}") if is_node else read

    def _renamed(self, found: UndeclaredInput) -> UndeclaredInput:
        """Return an input as far as it is known where a hook has changed what names mean."""
        whole = 3 if self.drafts.context.engine.default_schema else 2
        if found.kind is not InputKind.TABLE or len(found.parts) >= whole:
            return found
        return UndeclaredInput(InputKind.UNKNOWN, f"what {found.written} is after the hooks before it")

    def _in_config(self, draft: Draft) -> tuple[UndeclaredInput, ...]:
        """Return what the predicates and the keys of an incremental model name."""
        config = draft.config
        if draft.materialized is not Materialized.INCREMENTAL:
            return ()
        keys = [key for key in config.unique_key if "(" in key]
        texts = [*(config.incremental_predicates or config.predicates or ()), *keys]
        names = self.drafts.names(draft.depends_on, draft.id) if texts else {}
        found = (
            undeclared_reads(f"select 1 as one where ({text})", self.drafts.declared.dialect, names) for text in texts
        )
        return tuple(dict.fromkeys(each for read in found for each in read if self._node_of(each) != draft.id))

    def _in_hooks(self, draft: Draft) -> tuple[UndeclaredInput, ...]:
        """Return what the hooks of a node read where they change its rows, and what they call, which may do so; what they do elsewhere is no part of it."""
        asking, macros = self._asking_hooks(draft)
        if not asking and not draft.pre_hooks and not draft.post_hooks:
            return ()
        dialect = self.drafts.declared.dialect
        hooks = [_without_templates(each, draft) for each in (*draft.pre_hooks, *draft.post_hooks)]
        templated = replace(draft.relation, database=None, schema="", identifier=_PLACE.strip('"'))

        def changes(hook: str) -> bool:
            return any(changes_rows(hook, each, dialect) for each in (draft.relation, templated))

        called = tuple(dict.fromkeys(each for hook in hooks for each in calls(hook, dialect)))
        for template in asking:
            if self._may_change((template, *macros), draft):
                words = f"what the hook {textwrap.shorten(template, 60)} does"
                called = (*called, UndeclaredInput(InputKind.UNKNOWN, words))
        changing = {each for each in hooks if changes(each)}
        if not changing:
            return called
        names = self.drafts.names(draft.depends_on, draft.id)
        reading = [each for each in hooks if "create" in each.lower() or each in changing]
        found = undeclared_reads(";\n".join(reading), dialect, names)
        if any(map(renames, hooks)):
            found = tuple(map(self._renamed, found))
        target = folded(draft.relation.identifier)
        others = (each for each in found if self._node_of(each) != draft.id and not is_head(each, target))
        return tuple(dict.fromkeys((*others, *called)))

    def _asking_hooks(self, draft: Draft) -> tuple[Iterable[str], Iterable[str]]:
        """Return the hooks that ask the warehouse, as templates, and the texts of the macros that they may call."""
        compiled = draft.declared.compiled
        if compiled is not None and compiled.post_hooks is not None:
            return compiled.asking_hooks, compiled.hook_macros
        asking = [each for each in (*draft.pre_hooks, *draft.post_hooks) if _masked(each) != each]
        if not asking or not draft.trace.needs_connection:
            return (), ()
        reached = self.drafts.context.macros.reached(" ".join(asking), draft.trace.macros.values())
        return asking, [each for file in reached for each in _MACRO.findall(file.text)]

    def _may_change(self, texts: Sequence[str], draft: Draft) -> bool:
        """Return whether templates, which ask the warehouse, may change rows of a node."""
        tags = (tag for text in texts for tag in (*_VALUE.findall(text), *_BLOCK.findall(text)))
        if any(map(_MAKES_SQL.search, tags)):
            return True
        place = replace(draft.relation, database=None, schema="", identifier=_PLACE.strip('"'))
        dialect = self.drafts.declared.dialect
        return any(
            changes_rows(_without_templates(text, draft), relation, dialect, unread=True)
            for text in texts
            for relation in (draft.relation, place)
        )

    def _node_of(self, found: UndeclaredInput) -> str | None:
        """Return the node or source that a table is, as far as its name says."""
        if found.kind is not InputKind.TABLE:
            return None
        engine, declared = self.drafts.context.engine, self.drafts.declared
        schema = engine.default_schema or declared.schema
        places: list[tuple[str | None, str, str]] = []
        match found.parts:
            case (name,):
                places = [(declared.database, schema, name)]
            case (one, name):
                places = [(declared.database, one, name)]
                if engine.default_schema:  # else it is never a database
                    places.append((one, engine.default_schema, name))
            case (database, one, name):
                places = [(database, one, name)]
        keys = (engine.relation(*place).key for place in places)
        return next((self._ids[key] for key in keys if key in self._ids), None)

    def _is_above(self, name: str, other: str) -> bool:
        """Return whether a node is another one, or above it."""
        pending, seen = [other], set[str]()
        while pending:
            each = pending.pop()
            if each == name:
                return True
            if each not in seen and each in self.drafts.by_id:
                seen.add(each)
                pending += self.drafts.by_id[each].depends_on
        return False

    def _said(self, draft: Draft, inputs: Sequence[str]) -> tuple[UndeclaredInput, ...]:
        """Return what a configuration says that is read: nodes and sources become edges."""
        sources = {f"{each.source_name}.{each.table_name}": each.id for each in self.drafts.declared.sources}
        found: list[UndeclaredInput] = []
        for text in inputs:
            node = text if text in self.drafts.by_id else sources.get(text.removeprefix("source:"))
            if node is not None:
                if self._is_above(draft.id, node):
                    raise ProjectError(
                        f"{draft.id} cannot have {text} among its inputs, which is itself or below it",
                        location=draft.declared.location,
                    )
                draft.depends_on = tuple(dict.fromkeys((*draft.depends_on, node)))
            elif "/" in text or self.drafts.context.engine.is_file(text):
                found.append(UndeclaredInput(InputKind.FILE, text))
            else:
                found += undeclared_reads(f"select * from {text}", self.drafts.declared.dialect)
        return tuple(found)


def _without_templates(hook: str, draft: Draft) -> str:
    """Return a hook that is rendered in the run as far as it is SQL: `this` by its name, and a word of our own for all else that is a template."""
    if "{" not in hook:
        return hook
    return _masked(_THIS.sub(str(draft.relation), hook))


def _masked(template: str) -> str:
    """Return what a template says outside of its blocks and values; in place of a value stands a word of our own."""
    return _BLOCK.sub(" ", _VALUE.sub(_PLACE, template))


def _described(found: UndeclaredInput) -> str:
    """Return what is told of an input that is read by no declaration, after the name of who reads it."""
    if found.kind is InputKind.TABLE:
        return f"reads the table {found.written} by its name, which is an input from now on; declare it as a source, and read it with source()"
    if found.kind is InputKind.FILE:
        return f"reads {found.name}, which is an input from now on; declare it as a source with an external_location"
    if found.kind is InputKind.FUNCTION:
        return (
            f"calls {found.name}(), which is none of the engine's own: it is an input as far as the catalog shows what it does, and else "
            "unknown; `stable_functions: [...]` in the config says that it reads nothing, and `inputs: [...]` what is read"
        )
    return f"is built each time, because {found.name} cannot be followed; say what it reads with `inputs: [...]` in its config"
