"""What Dagster's UI shows of results: metadata under the keys it knows, and this package's own under `sao/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from sao_dagster.core.decide_test import TestDecision
from sao_dagster.core.evidence import Evidence
from sao_dagster.core.explain import describe_refuted, explain, explain_test
from sao_dagster.core.nodes import Model
from sao_dagster.core.plan import Plan
from sao_dagster.core.reasons import Outcome
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.dagster.project_view import DagsterProject
from sao_dagster.dagster.translator import as_sql
from sao_dagster.run.events import ModelResult, TestResult
from sao_dagster.run.report import RunResult
from sao_dagster.sql.lineage import column_lineage

Columns = Mapping[str, Sequence[tuple[str, str]]]
"""Names and types of columns, by node or source."""

SHOWN_ROWS = 500  # of a table in one event


def model_metadata(dagster_project: DagsterProject, result: ModelResult, columns: Columns, said: str) -> dict[str, Any]:
    """Return what a materialization or an observation says of a model.

    Args:
        dagster_project: The project in Dagster.
        result: What became of the model.
        columns: Of what it reads, for the column lineage of what was built.
        said: The decision in a sentence.
    """
    decision, record = result.decision, result.record
    metadata: dict[str, Any] = {"sao/decision": said}
    if record is not None and decision.outcome is Outcome.REUSED:
        metadata["sao/built_at"] = dg.MetadataValue.timestamp(record.built_at)
        metadata["sao/built_by_run"] = dg.MetadataValue.dagster_run(record.same_as_run or record.run_id)
        metadata["sao/seconds_saved"] = round(result.seconds_saved, 3)
    if record is not None and decision.makes:
        metadata |= record_metadata(dagster_project, result.name, record, columns)
    if not decision.evidence.get("in_place"):  # else the decision says where it is
        metadata["dagster/table_name"] = dagster_project.project.nodes[result.name].relation.plain
    return {
        **metadata,
        "sao/outcome": decision.outcome.value,
        "sao/reason": decision.reason.value,
        "sao/evidence": dg.MetadataValue.json(plain(decision.evidence)),
    }


def record_metadata(
    dagster_project: DagsterProject, name: str, record: BuildRecord, columns: Columns
) -> dict[str, Any]:
    """Return what is known of a build by its record, but for when it was, and in which run.

    Args:
        dagster_project: The project in Dagster.
        name: What was built.
        record: The record of the build.
        columns: Of what it reads, for the column lineage.
    """
    node = dagster_project.project.nodes[name]
    about = {each.name.lower(): each.description or None for each in node.columns}
    metadata: dict[str, Any] = {
        "sao/seconds": round(record.seconds, 3),
        "dagster/table_name": node.relation.plain,
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(column, kind, description=about.get(column.lower())) for column, kind in record.columns]
        ),
    }
    if record.rows is not None:
        metadata["dagster/row_count"] = record.rows
    if isinstance(node, Model):
        metadata["sao/compiled_sql"] = as_sql(node.compiled.sql)
        lineage = _lineage(dagster_project, node, dict(record.columns), columns)
        if lineage is not None:
            metadata["dagster/column_lineage"] = lineage
            metadata["sao/columns_made_of"] = _lineage_table(lineage)
    return metadata


def _lineage_table(lineage: dg.TableColumnLineage) -> dg.TableMetadataValue:
    """Return the lineage of columns as a table, which Dagster shows where it draws none."""
    rows = ((column, ", ".join(_written(each) for each in deps)) for column, deps in lineage.deps_by_column.items())
    return _table({"column": column, "made of": made_of} for column, made_of in rows)


def _written(dep: dg.TableColumnDep) -> str:
    return f"{dep.asset_key.to_user_string()}.{dep.column_name}"


def _lineage(
    dagster_project: DagsterProject, node: Model, own: Mapping[str, str], columns: Columns
) -> dg.TableColumnLineage | None:
    """Return the lineage of a model's columns, or None where nothing is known of it."""
    names: dict[RelationKey, str] = {}
    tables: dict[Relation, list[str]] = {}
    for name in dagster_project.project.graph.relations_read(node.name):
        relation = dagster_project.project.relation(name)
        if relation is not None and name in columns:
            names[relation.key] = name
            tables[relation] = [column for column, _ in columns[name]]
    written = {(name, column.lower()): column for name in names.values() for column, _ in columns[name]}
    found = column_lineage(node.compiled.sql, dagster_project.project.dialect, tables)
    deps = {
        column: list(
            dict.fromkeys(  # two sources may be one asset
                dg.TableColumnDep(dagster_project.keys[names[key]], written[names[key], origin])
                for key, origin in found[column.lower()]
                if (names[key], origin) in written
            )
        )
        for column in own
        if found.get(column.lower())
    }
    return dg.TableColumnLineage(deps) if deps else None


def check_metadata(result: TestResult) -> dict[str, Any]:
    """Return what a check says of one data test that has a verdict."""
    assert result.verdict is not None  # noqa: S101 - a test without a verdict is not reported
    decision = result.decision
    metadata: dict[str, Any] = {
        "sao/verdict": result.verdict.value,
        "sao/failures": result.failures or 0,
        "sao/outcome": decision.outcome.value,
    }
    if not result.is_earlier:  # why it ran then is not kept with it
        metadata["sao/reason"] = decision.reason.value
    if result.sample:
        metadata["sao/failing_rows"] = _rows(result.sample)
    if result.error:
        metadata["sao/error"] = result.error
    if result.record is not None:
        metadata["sao/last_run_at"] = dg.MetadataValue.timestamp(result.record.run_at)
        metadata["sao/from_run"] = dg.MetadataValue.dagster_run(result.record.same_as_run or result.record.run_id)
        if result.record.same_as is not None:
            metadata["sao/from_environment"] = result.record.same_as
    if "rules" in decision.evidence:
        metadata["sao/proof"] = _proof_table(decision.evidence)
    if decision.evidence.get("refuted"):
        metadata["sao/proof_refuted"] = describe_refuted(result.test, decision)
    if "age_seconds" in decision.evidence:
        metadata["sao/age_seconds"] = decision.evidence["age_seconds"]
        metadata["sao/loaded_at"] = dg.MetadataValue.timestamp(datetime.fromisoformat(decision.evidence["loaded_at"]))
    if result.statement:
        metadata["sao/statement"] = result.statement
    return metadata


def because(result: TestResult) -> str:
    """Return in words why a test has the result that it has; of a verdict of an earlier run, when it was given."""
    if result.is_earlier and result.record is not None:
        return f"ran at {result.record.run_at:%Y-%m-%d %H:%M} UTC"
    return explain_test(result.decision)


def _proof_table(evidence: Evidence) -> dg.TableMetadataValue:
    """Return a proof as its steps: the facts that it rests on, what follows from the SQL, and by which rules."""
    steps = [("known", str(each["fact"]), str(each["because"])) for each in evidence.get("facts", ())]
    steps += [("follows", str(each), "from the SQL") for each in evidence.get("through", ())]
    steps += [("by the rule", str(each), "") for each in evidence.get("rules", ())]
    return _table({"step": n, "what": what, "is": said, "because": why} for n, (what, said, why) in enumerate(steps, 1))


def tests_table(results: Sequence[TestResult]) -> dg.TableMetadataValue:
    """Return the data tests behind one check as a table."""
    return _table(
        {
            "test": each.test.name,
            "severity": each.test.severity.value,
            "outcome": each.decision.outcome.value,
            "verdict": each.verdict.value if each.verdict else "",
            "failures": each.failures or 0,
            "because": because(each),
            "statement": each.statement or "",
        }
        for each in results
    )


def plan_table(plan: Plan) -> dg.TableMetadataValue:
    """Return a plan as a table: what would be built first, then the rest, as far as there is room."""
    models = sorted(plan.decisions.values(), key=lambda each: each.outcome is not Outcome.BUILT)
    rows = [(each.model, each.outcome.value, each.reason.value, explain(each)) for each in models]
    tests: list[TestDecision] = [plan.tests[name] for name in plan.to_test]
    rows += [(each.test, each.outcome.value, each.reason.value, explain_test(each)) for each in tests]
    return _table(dict(zip(("name", "would be", "reason", "because"), row, strict=True)) for row in rows[:SHOWN_ROWS])


def run_table(result: RunResult) -> dg.TableMetadataValue:
    """Return what a run did with each model, and why: what failed, then what was built, then the rest, as far as there is room."""
    order = [Outcome.FAILED, Outcome.SKIPPED, Outcome.BUILT, Outcome.REUSED]
    models = sorted(result.models, key=lambda each: order.index(each.decision.outcome))
    return _table(
        {
            "outcome": each.decision.outcome.value,
            "model": each.name,
            "because": explain(each.decision),
            "seconds": round(each.seconds, 3),
            "seconds saved": round(each.seconds_saved, 3),
        }
        for each in models[:SHOWN_ROWS]
    )


def savings_metadata(result: RunResult) -> dict[str, Any]:
    """Return what a run did and saved, as numbers that Dagster plots over time."""
    summary = {name: value for name, value in result.summary().items() if isinstance(value, int | float)}
    merged = int(summary["tests_ran"]) - int(summary["test_statements"])
    numbers = {**summary, "statements_merged": max(0, merged), "seconds_deciding": round(result.deciding_seconds, 3)}
    return {f"sao/{name}": value for name, value in numbers.items()}


def _rows(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    return _table({name: "" if value is None else value for name, value in row.items()} for row in rows)


def _table(rows: Any) -> dg.TableMetadataValue:
    records = [dg.TableRecord(row) for row in rows]
    kinds: dict[str, str] = {
        name: "int" if isinstance(value, int) else "float" if isinstance(value, float) else "string"
        for name, value in (records[0].data if records else {}).items()
    }
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in kinds.items()])
    return dg.MetadataValue.table(records, schema=schema)


def plain(value: Any) -> Any:
    """Return evidence as JSON's own types."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
