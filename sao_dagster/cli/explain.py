"""`sao explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sao_dagster.cli.common import OK, Request, run_command
from sao_dagster.cli.options import AsJson, Now, ProjectDir, Target, Vars
from sao_dagster.cli.terminal import Terminal
from sao_dagster.core.evidence import Evidence, as_json
from sao_dagster.core.explain import describe_node, explain, explain_test
from sao_dagster.core.selection import select
from sao_dagster.sql.inference.rules import RULES

if TYPE_CHECKING:
    from sao_dagster.run.runner import Runner
    from sao_dagster.sql_project import SqlProject

app = typer.Typer()


@app.command("explain")
def explain_command(
    model: Annotated[str, typer.Argument(help="A model, seed or data test.")],
    project_dir: ProjectDir = Path(), target: Target = None, now: Now = None, as_json: AsJson = False,
    variables: Vars = None,
) -> None:  # fmt: skip
    """Say what would become of one model or data test now, what it rests on, and what was decided before."""
    terminal = Terminal(as_json)
    request = Request(project_dir, target, variables, now, None, terminal)

    def action() -> int:
        opened = request.open()
        project = opened.project
        runner = request.runner(opened)
        if model in project.tests:
            shown = _explain_test(opened, runner, model)
        else:
            project.node(model)
            shown = _explain_model(opened, runner, model)
        if as_json:
            terminal.json(shown)
        else:
            _print_facts(terminal, shown)
        return OK

    run_command(request, action)


def _explain_model(opened: SqlProject, runner: Runner, name: str) -> dict[str, Any]:
    """Return what is known of a model and its last decisions, as plain data in the order in which it is printed."""
    project = opened.project
    node = project.nodes[name]
    planned, seen = runner.plan(select(project, f"+{name}"))
    decision = planned.decisions.get(name)
    record = seen.facts.records.get(name)
    history = opened.store.decisions(opened.environment, name, 5)
    return {
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
            "run_id": record.run_id,
            "seconds": record.seconds,
            "rows": record.rows,
            "data_version": str(record.data_version),
            "code_parts": dict(record.code_parts),
            "inputs": {name: str(version) for name, version in record.inputs.items()},
        },
        "decided_before": [
            {"at": each.decided_at.isoformat(), "outcome": each.outcome, "reason": each.reason} for each in history
        ],
    }


def _explain_test(opened: SqlProject, runner: Runner, name: str) -> dict[str, Any]:
    """Return what is known of a data test and its last decisions, as plain data in the order in which it is printed."""
    project = opened.project
    test = project.tests[name]
    above = " ".join(f"+{read}" for read in test.reads)  # what a proof of it would rest on is looked at, too
    planned, seen = runner.plan(select(project, f"{name} {above}"))
    decision = planned.tests[name]
    record = seen.facts.test_records.get(name)
    return {
        "name": name,
        "now": {
            "outcome": decision.outcome.value,
            "reason": decision.reason.value,
            "because": explain_test(decision),
            "evidence": as_json(decision.evidence),
        },
        "proof": _proof(decision.evidence),
        "kind": test.kind,
        "model": test.tested,
        "column": test.column,
        "reads": list(test.reads),
        "shares_a_statement": test.shares_statement,
        "sql": test.sql,
        "decided_before": [
            {"at": each.decided_at.isoformat(), "outcome": each.outcome, "reason": each.reason}
            for each in opened.store.decisions(opened.environment, name, 5)
        ],
        "last_verdict": None
        if record is None
        else {
            "verdict": record.verdict.value,
            "failures": record.failures,
            "run_at": record.run_at.isoformat(),
            "inputs": {name: str(version) for name, version in record.inputs.items()},
        },
    }


def _proof(evidence: Evidence) -> list[str]:
    """Return a proof line by line: what it rests on, and by which rules."""
    facts = [f"{each['fact']}, from {each['because']}, at {each['version']}" for each in evidence.get("facts", ())]
    return [*facts, *(f"{rule}: {RULES.get(rule, '')}" for rule in evidence.get("rules", ()))]


def _print_facts(terminal: Terminal, shown: Mapping[str, Any]) -> None:
    from rich.markup import escape

    rows = []
    for key, value in shown.items():
        if isinstance(value, Mapping):
            text = "\n".join(f"{name}: {_plain(each)}" for name, each in value.items())
        elif isinstance(value, list):
            text = "\n".join(
                ", ".join(map(str, each.values())) if isinstance(each, dict) else str(each) for each in value
            )
        else:
            text = "-" if value is None else str(value)
        rows.append((f"[bold]{key.replace('_', ' ')}[/]", escape(text or "-")))
    terminal.table(rows)


def _plain(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
