"""Rendering all SQL of a project as fingerprints want it: with the run's values pinned, both ways of an incremental model, and what was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from . import run_values
from .asked import Asked, Unanswered
from .compiling import NodeCompiler, uncompiled
from .ephemerals import found_at_sight
from .quiet import quietly
from .run_values import Looked, Run, in_run, places_that_differ
from .tracing import MadeOf, Traces, telling

Texts = tuple[str, "str | None"]
"""The SQL of a node, and that of an increment; None where there is none."""


@dataclass(frozen=True)
class InOneRun:
    """The SQL of a node in one run.

    Attributes:
        texts: It.
        looked: What was made of the values of the run.
    """

    texts: Texts
    looked: Looked

    @property
    def plain(self) -> Texts:
        """The texts, which know no more of runs."""
        return self._of_each(str.__str__)

    def in_other(self, run: Run) -> Texts:
        """Return the texts in another run, if no more was made of its values than text."""
        return self._of_each(lambda text: in_run(text, run))

    def in_others(self, pinned: Run, others: Iterable[Run]) -> list[Texts]:
        """Return the texts in several runs, likewise; nothing where they are the same in all of them.

        One that differs only where those before it do tells no more than these: it is left as it is in this run.
        """
        found, known = [], set[tuple[int, int]]()
        for run in others:
            places = {
                (number, place)
                for number, text in enumerate(self.texts)
                for place in places_that_differ(text or "", pinned, run)
            }
            found.append(self.plain if places <= known else self.in_other(run))
            known |= places
        return found if known else []

    def _of_each(self, change: Callable[[str], str]) -> Texts:
        full, incremental = self.texts
        return change(full), None if incremental is None else change(incremental)


class Renderer:
    """Renders the nodes of a manifest; a copy of it, since dbt keeps in a node what it has compiled.

    Args:
        config: dbt's runtime configuration.
        manifest: The manifest.
        adapter: The adapter.
        runs: The runs to render for: that of fingerprints, one in which all is different, and others to compare with.
    """

    def __init__(self, config: Any, manifest: Any, adapter: Any, runs: list[Run]) -> None:
        self.config, self.adapter = config, adapter
        self.pinned, self.different, *self.others = runs
        self.original = manifest
        self.manifest = object.__new__(type(manifest))  # its own `deepcopy` fails where something is disabled twice
        self.manifest.__dict__.update(manifest.__dict__)
        self.manifest.nodes = dict(manifest.nodes)
        self._ephemerals = [name for name, node in manifest.nodes.items() if node.is_ephemeral_model]
        for name in self._ephemerals:
            self.manifest.nodes[name] = uncompiled(manifest.nodes[name])
        self.traces = Traces(config, self.manifest, manifest)
        self.asked = Asked()
        self._lock = threading.Lock()
        self._rendered: dict[str, dict[str, Any]] = {}

    def rendered(self, unique_id: str) -> dict[str, Any]:
        """Return what a model, snapshot or data test is in SQL.

        Returns:
            `sql`; `incremental_sql` of an incremental model; `others`, pairs of both for the other runs, where they differ; whether the template
            `asks_time`, or for something else of the run; `asked`, what it and the ephemerals in it asked the warehouse; and what it was
            `made_of`. Where it cannot be rendered: the `error`, what was `asked` before, and no `others`.
        """
        if unique_id not in self._rendered:
            self._rendered[unique_id] = self._new(unique_id)
        return self._rendered[unique_id]

    def _new(self, unique_id: str) -> dict[str, Any]:
        original = self.manifest.nodes[unique_id]
        below = [self.rendered(each) for each in original.depends_on.nodes if self._is_ephemeral(each)]
        asked = [question for each in below for question in each["asked"]]
        node = NodeCompiler(self.config, self.manifest, original)
        try:
            self._forget_ephemerals(self._ask_no_time)  # which another node has left in its last run
            with self.traces.noting() as trace, quietly(), found_at_sight():
                with self.asked.noting(asked):
                    first = self._in_run(node, self.pinned)
                first.looked.at |= any(each.get("asks_time") for each in below)
                first.looked.into |= first.looked.at and bool(below)
                others = self._others(node, first)
            found = {
                "asked": asked,
                "sql": first.plain[0],
                "incremental_sql": first.plain[1],
                "others": others,
                "asks_time": first.looked.at,
                "made_of": self.traces.made_of(unique_id, trace, (each.get("made_of") for each in below)),
            }
        except Exception as error:  # noqa: BLE001 - templates may raise anything; it is this node that has the error
            return {"error": str(error), "asked": asked, "others": []}
        finally:
            node.forget()
        if original.is_ephemeral_model and not first.looked.at:  # as it is compiled, for all that it stands in
            self.manifest.nodes[unique_id] = node.node
        return found

    def hooks(self, unique_id: str) -> dict[str, Any]:
        """Return the hooks of a node as SQL: what they execute while they are rendered, and what they are rendered to.

        Nothing is executed here. One that makes anything of an answer, or asks in another way, is as it is written, and in `asking`.
        With them, what they were `made_of`.
        """
        node = self.original.nodes[unique_id]
        found: dict[str, Any] = {"asking": []}
        with self.traces.noting() as trace, run_values.looking(self.pinned):
            context = lru_cache(partial(self._context_of_hooks, node))
            for key in ("pre_hook", "post_hook"):
                templates = [each.sql for each in getattr(node.config, key, None) or ()]
                texts = [self._hook(node, each, context) for each in templates]
                found["asking"] += [each for each, text in zip(templates, texts) if text is None]  # noqa: B905 - dbt 1.8 runs on Python 3.9
                found[key] = [each if text is None else text for each, text in zip(templates, texts)]  # noqa: B905
        found["made_of"] = self.traces.made_of(unique_id, trace)
        return found

    def holds(self, made_of: MadeOf | None) -> bool:
        """Return whether a text would be rendered as before."""
        return self.traces.holds(made_of)

    def _hook(self, node: Any, template: str, context: Callable[[], dict[str, Any]]) -> str | None:
        if "{" not in template:
            return template
        from dbt.clients import jinja

        try:
            with self.asked.answering_nothing() as executed:
                rendered = str(jinja.get_rendered(template, context(), node))
            return ";\n".join(filter(None, (each.strip("; \n") for each in (*executed, rendered))))
        except Exception:  # noqa: BLE001 - what is wrong with it shows when it runs
            return None

    def _context_of_hooks(self, node: Any) -> dict[str, Any]:
        from dbt.context.providers import generate_runtime_model_context

        context: dict[str, Any] = generate_runtime_model_context(node, self.config, self.manifest)
        context.update(_of_a_run(incremental=False))
        context.update(store_result=lambda *_, **__: "", load_result=lambda _: Unanswered())
        return context

    def again(self, unique_id: str) -> dict[str, Any]:
        """Return the same once more, rendered anew; the manifest may have been built since."""
        with self._lock:
            self.forget()
            return self.rendered(unique_id)

    def forget(self) -> None:
        """Render all anew from now on, but for ephemeral models that ask neither for the time nor the warehouse."""
        self._rendered = {name: each for name, each in self._rendered.items() if self._stays(name)}
        self._forget_ephemerals(self._stays)

    def _stays(self, name: str) -> bool:
        known = self._rendered.get(name, {"error": ""})
        return self._is_ephemeral(name) and not ("error" in known or known["asked"] or known["asks_time"])

    def _others(self, node: NodeCompiler, first: InOneRun) -> list[tuple[str, str | None]]:
        """Return the SQL in the other runs; nothing where it is the same in all of them.

        It is rendered once more in a run in which all is different. Where nothing but text was made of the values of runs, and is as expected then, the
        others follow from it.
        """
        if not first.looked.at and not any(self.pinned[1] in text for text in first.texts if text is not None):
            return []  # an id of a run may be in a text that has not looked at it: as JSON
        if not first.looked.into and self._in_run(node, self.different).plain == first.in_other(self.different):
            return first.in_others(self.pinned, self.others)
        first.looked.at = True
        texts = []
        for run in self.others:
            self._forget_ephemerals(self._ask_no_time)
            texts.append(self._in_run(node, run).plain)
        return [] if all(each == first.plain for each in texts) else texts

    def _in_run(self, node: NodeCompiler, run: Run) -> InOneRun:
        """Return the SQL in a run, and that of an increment; none where there is none."""
        is_incremental = str(node.node.config.materialized) == "incremental"
        with run_values.looking(run) as looked:
            texts = [node.text(_of_a_run(incremental=each)) for each in ((False, True) if is_incremental else (False,))]
        return InOneRun((texts[0], texts[1] if is_incremental else None), looked)

    def _ask_no_time(self, name: str) -> bool:
        return not self._rendered.get(name, {}).get("asks_time", True)

    def _is_ephemeral(self, unique_id: str) -> bool:
        node = self.manifest.nodes.get(unique_id)
        return node is not None and node.is_ephemeral_model

    def _forget_ephemerals(self, but: Callable[[str], bool]) -> None:
        """Let ephemerals be compiled anew, but some: dbt keeps the text of the run that compiled them first."""
        for name in self._ephemerals:
            if self.manifest.nodes[name].compiled and not but(name):
                self.manifest.nodes[name] = uncompiled(self.original.nodes[name])


def _of_a_run(*, incremental: bool) -> dict[str, Any]:
    """Return what templates see of the run that this thread is in, in place of what dbt gives them."""
    from dbt import selected_resources
    from dbt.context.base import get_context_modules

    return {
        **run_values.values(get_context_modules()),
        "is_incremental": lambda: incremental,
        "selected_resources": telling([*selected_resources.SELECTED_RESOURCES]),
    }
