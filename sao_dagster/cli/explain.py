"""`sao explain`: what would become of a model, a data test or a source now, what that rests on, and what was decided before."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sao_dagster.cli.common import OK, Request, run_command
from sao_dagster.cli.explanation import print_explanation
from sao_dagster.cli.options import (
    AsJson,
    Defer,
    FavorState,
    Now,
    ProfilesDir,
    ProjectDir,
    StateUrl,
    Target,
    Vars,
    names_in_files,
)
from sao_dagster.cli.terminal import Terminal
from sao_dagster.core.evidence import Evidence, as_json
from sao_dagster.core.explain import describe_node, explain, explain_test
from sao_dagster.core.hashing import digest
from sao_dagster.core.nodes import Model, is_source
from sao_dagster.core.project import unknown
from sao_dagster.core.selection import select
from sao_dagster.run.missing import with_missing_inputs
from sao_dagster.run.stored_facts import kept_sql
from sao_dagster.sql.inference.rules import RULES

if TYPE_CHECKING:
    from sao_dagster.core.decide import Decision
    from sao_dagster.core.facts import Facts
    from sao_dagster.core.project import Project
    from sao_dagster.core.records import BuildRecord
    from sao_dagster.core.selection import Selection
    from sao_dagster.run.runner import Runner
    from sao_dagster.sql_project import SqlProject
    from sao_dagster.state.protocol import DecisionRecord, StateStore

app = typer.Typer()

_RELATION = re.compile(r'\bn([0-9a-f]{24})(?:\.(?:"[^"]*"|\w+))?')  # as `with_ids` writes it
HISTORY = 5
"""How many earlier decisions are shown."""


@app.command("explain")
def explain_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model, seed, data test or source (`raw.orders`).", autocompletion=names_in_files)],
    project_dir: ProjectDir = Path(), target: Target = None, now: Now = None, as_json: AsJson = False,
    variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show what changed in its SQL since its last build.")] = False,
    defer: Defer = None, favor_state: FavorState = False,
) -> None:  # fmt: skip
    """Say what would become of a model, data test or source now, what it rests on, and what was decided before."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, now, None, terminal, profiles_dir, state_url, defer, favor_state)

    def action() -> int:
        opened = request.open()
        project = opened.project
        project.check()
        runner = request.runner(opened)
        source = name if is_source(name) else f"source:{name}"
        if name in project.tests:
            shown = _explain_test(opened, runner, name, terminal)
        elif name in project.nodes:
            # with --defer, what is above it is not selected, as in `sao build --select NAME --defer ENV`
            selection = select(project, name if defer else f"+{name}")
            shown = _explain_model(opened, runner, name, selection, terminal, diff=diff)
        elif source in project.sources:
            shown = _explain_source(opened, runner, source, terminal)
        else:
            short = [each.removeprefix("source:") for each in project.sources]
            message = f"no model, seed, data test or source is called {name!r}"
            raise unknown(message, name, dict.fromkeys((*project.nodes, *project.tests, *short)))
        if as_json:
            terminal.json(shown)
        else:
            print_explanation(terminal, shown)
        return OK

    run_command(request, action)


def _explain_model(
    opened: SqlProject, runner: Runner, name: str, selection: Selection, terminal: Terminal, *, diff: bool
) -> dict[str, Any]:
    """Return what is known of a model and its last decisions, as plain data in the order in which it is printed."""
    project = opened.project
    node = project.nodes[name]
    planned, seen = runner.plan(selection, on_message=terminal.message)
    planned = with_missing_inputs(planned, project, seen)
    decision = planned.decisions.get(name)
    record = seen.facts.records.get(name)
    shown = {
        "name": name,
        "now": None
        if decision is None
        else {
            "outcome": decision.outcome.value,
            "reason": decision.reason.value,
            "because": explain(decision),
            "evidence": as_json(decision.evidence),
        },
        **describe_node(project, node, planned.taken_at),
        "last_build": None
        if record is None
        else {
            "built_at": record.built_at.isoformat(),
            "adopted": record.adopted,
            "same_as": record.same_as,
            "shows": record.shows,
            "run_id": record.same_as_run or record.run_id,
            "seconds": record.seconds,
            "rows": record.rows,
            "data_version": str(record.data_version),
            "code_parts": dict(record.code_parts),
            "inputs": {name: str(version) for name, version in record.inputs.items()},
        },
        "input_versions": _input_versions(project, name, record, seen.facts, decision),
        "decided_before": _history(opened, name),
    }
    if diff:
        shown["diff"] = _diff(opened.store, project, name, seen.facts.records)
    return shown


def _explain_test(opened: SqlProject, runner: Runner, name: str, terminal: Terminal) -> dict[str, Any]:
    """Return what is known of a data test and its last decisions, as plain data in the order in which it is printed."""
    project = opened.project
    test = project.tests[name]
    above = " ".join(f"+{read}" for read in test.reads)  # what a proof of it would rest on is looked at, too
    selection = select(project, f"{name} {above}")
    planned, seen = runner.plan(selection, on_message=terminal.message)
    decision = planned.tests.get(name)
    record = seen.facts.test_records.get(name)
    return {
        "name": name,
        "now": None
        if decision is None
        else {
            "outcome": decision.outcome.value,
            "reason": decision.reason.value,
            "because": explain_test(decision),
            "evidence": as_json(decision.evidence),
        },
        "error": str(project.broken[name]) if name in project.broken else None,
        "unrendered": test.unrendered or None,
        "proof": [] if decision is None else _proof(decision.evidence),
        "kind": test.kind,
        "model": test.tested,
        "column": test.column,
        "file": str(test.location) if test.location else None,
        "reads": list(test.reads),
        "shares_a_statement": test.shares_statement,
        "sql": test.sql,
        "decided_before": _history(opened, name),
        "last_verdict": None
        if record is None
        else {
            "verdict": record.verdict.value,
            "failures": record.failures,
            "run_at": record.run_at.isoformat(),
            "run_id": record.same_as_run or record.run_id,
            "same_as": record.same_as,
            "seconds": record.seconds,
            "inputs": {name: str(version) for name, version in record.inputs.items()},
        },
    }


def _explain_source(opened: SqlProject, runner: Runner, name: str, terminal: Terminal) -> dict[str, Any]:
    """Return what is known of a source, and for whom it has news, as plain data in the order in which it is printed."""
    project = opened.project
    source = project.sources[name]
    planned, seen = runner.plan(select(project, f"{name}+"), on_message=terminal.message)
    version = seen.facts.versions.get(name)
    records = seen.facts.records
    readers = [each for each in planned.decisions if name in project.graph.inputs(each).data]
    history = seen.facts.history.get(name, ())
    loaded = seen.loaded_at.get(name)
    return {
        "name": name,
        "relation": None if source.relation is None else str(source.relation),
        "files": list(source.files),
        "file": str(source.location) if source.location else None,
        "error": str(project.broken[name]) if name in project.broken else None,
        "version": None if version is None else str(version),
        "seen_since": history[-1][1].isoformat() if history and history[-1][0] == version else None,
        "loaded_at": None if loaded is None or loaded.time is None else loaded.time.isoformat(),
        "age_seconds": None
        if loaded is None or loaded.time is None
        else (planned.taken_at - loaded.time).total_seconds(),
        "age_unknown": None if loaded is None else loaded.problem or None,
        "read_by": [
            {
                "name": each,
                "recorded": str(records[each].inputs[name])
                if each in records and name in records[each].inputs
                else None,
                "news": name in _news(planned.decisions[each]),
                "reason": planned.decisions[each].reason.value,
            }
            for each in readers
        ],
        "tests": [test.name for test in project.tests.values() if name in test.reads],
    }


def _news(decision: Decision) -> set[str]:
    """Return the inputs that differ from what the last build read, or cannot be compared with it."""
    evidence = decision.evidence
    return {*(each["input"] for each in evidence.get("news", ())), *evidence.get("unknown", ())}


def _input_versions(
    project: Project, name: str, record: BuildRecord | None, facts: Facts, decision: Decision | None
) -> dict[str, dict[str, Any]]:
    """Return by input the version that the last build read, the one that is there, None where they are not known, and whether that is news.

    For a view that is the version of the columns, since the rest it does not keep.
    """
    node = project.nodes[name]

    def now(read: str) -> str | None:
        version = facts.versions.get(read)
        if not node.materialized.holds_data and read in facts.schemas:
            version = facts.schemas[read]
        elif read in project.nodes or read in project.sources:
            version = facts.version(project, read, project.graph.read_by_build(name))
        return None if version is None else str(version)

    recorded = {} if record is None else {each: str(version) for each, version in record.inputs.items()}
    news = set() if decision is None else _news(decision)
    return {
        each: {"recorded": recorded.get(each), "now": now(each), "news": each in news}
        for each in project.graph.inputs(name).data
    }


def _history(opened: SqlProject, name: str) -> list[dict[str, str]]:
    """Return the last decisions, newest first; of what failed with the first line of its error."""

    def error_of(record: DecisionRecord) -> dict[str, str]:
        said = str(record.evidence.get("error") or "").strip()
        return {"error": said.splitlines()[0]} if said else {}

    return [
        {"at": each.decided_at.isoformat(), "outcome": each.outcome, "reason": each.reason, **error_of(each)}
        for each in opened.store.decisions(opened.environment, name, HISTORY)
    ]


def _diff(store: StateStore, project: Project, name: str, records: Mapping[str, BuildRecord]) -> list[str]:
    """Return what changed in the SQL of a model, and of the views and ephemerals it reads through, since the last build of each.

    What is compared is the compiled SQL as it is kept, in which a relation is named by the node or source that it is of. A part of the definition that is no SQL (a config, a
    hook) is named by the reason `code_changed`; its text is not kept.
    """
    nodes = [project.nodes[each] for each in (*project.graph.inputs(name).views, name)]
    built = [(node, records[node.name]) for node in nodes if isinstance(node, Model) and node.name in records]
    kept = store.sql({record.sql_id for _, record in built})
    names = {digest(each): each for each in (*project.nodes, *project.sources)}

    def lines_of(sql: str | None) -> list[str]:
        return _RELATION.sub(lambda found: names.get(found[1], found[0]), sql or "").splitlines()

    lines: list[str] = []
    for node, record in built:
        assert isinstance(node, Model)  # noqa: S101 - chosen above
        try:
            before = json.loads(kept.get(record.sql_id, ""))
        except ValueError:
            continue
        for old, new in zip(before, json.loads(kept_sql(node.compiled, project.dialect)), strict=False):
            lines += difflib.unified_diff(
                lines_of(old), lines_of(new), f"{node.name} as built", f"{node.name} now",
                record.built_at.isoformat(timespec="seconds"), lineterm="",
            )  # fmt: skip
    return lines


def _proof(evidence: Evidence) -> list[str]:
    """Return a proof line by line: what it rests on, and by which rules."""
    facts = [f"{each['fact']}, from {each['because']}, at {each['version']}" for each in evidence.get("facts", ())]
    return [*facts, *(f"{rule}: {RULES.get(rule, '')}" for rule in evidence.get("rules", ()))]
