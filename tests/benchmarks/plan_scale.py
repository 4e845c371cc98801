"""How long a plan of many models takes from stored state, in a cold process with nothing changed.

    python -m tests.benchmarks.plan_scale [MODELS ...]          (default: 1000 5000 10000)

Prints, for each size and as ratios to the first: reading the project for the first and the second time, the plan
besides imports, the first tick of the evaluator in a process, as a code location has it, and the memory of the process. The builds themselves are not run: the
relations are made directly and the state is written as a run would have written it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.generate import generate
from tests.benchmarks.steady_tick import ticking

SIZES = (1000, 5000, 10000)
PHASES = ("load", "reload", "plan", "tick")


def child(folder: Path, phase: str) -> dict[str, float]:
    """One measurement, in a process of its own."""
    import sao_dagster
    import sao_dagster.load  # what a plan imports when it needs it counts as importing
    import sao_dagster.state.sql_store
    import sao_dagster.warehouses.duckdb.profile
    import sao_dagster.warehouses.duckdb.warehouse

    if phase == "tick":
        import sao_dagster.dagster
    imported = time.perf_counter()
    project = sao_dagster.load_project(folder)
    nodes = project.project.nodes
    loaded = time.perf_counter()
    done = loaded
    if phase == "plan":
        plan, _ = project.runner().plan(sao_dagster.select(project.project))
        done = time.perf_counter()
        assert not plan.to_build, plan.to_build[:3]
        assert len(plan.decisions) == len(nodes)
    if phase == "tick":
        with ticking(project) as tick:
            loaded = time.perf_counter()
            tick()
            done = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    read = loaded - imported
    return {"seconds": {"plan": done - imported, "tick": done - loaded}.get(phase, read), "megabytes": memory}


def measure(folder: Path, phase: str) -> dict[str, float]:
    """Return the best of three runs of a phase; the first load of a project can be measured only once."""
    best: dict[str, float] = {}
    for _ in range(1 if phase == "load" else 3):
        command = [sys.executable, "-m", "tests.benchmarks.plan_scale", "--child", str(folder), phase]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        if not best or found["seconds"] < best["seconds"]:
            best = found
    return best


def prepare_state(folder: Path) -> None:
    """Make the relations and the records that a build of everything, and all data tests of it, would have left."""
    import sao_dagster
    from sao_dagster.core.code_version import CODE_SCHEME
    from sao_dagster.core.data_version import DataVersion
    from sao_dagster.core.facts import Facts
    from sao_dagster.core.hashing import digest
    from sao_dagster.core.plan import node_facts
    from sao_dagster.core.records import BuildRecord, TestRecord, Verdict
    from sao_dagster.core.selection import Selection
    from sao_dagster.run.observe import observe
    from sao_dagster.run.stored_facts import kept_sql

    opened = sao_dagster.load_project(folder)
    project, store = opened.project, opened.store
    now = datetime.now(timezone.utc)
    planned, _ = opened.runner().plan(Selection((), (), ()))
    with opened.warehouse.session() as session:
        for start in range(0, len(project.graph.order), 500):
            names = project.graph.order[start : start + 500]
            session.execute(
                ";".join(f"create table {project.nodes[each].relation} as select 1 as id, 1 as v" for each in names)
            )
        seen = observe(
            project, sao_dagster.select(project), store=store, session=session, capabilities=opened.warehouse.capabilities,
            now=now, budget_seconds=600,
        )  # fmt: skip
        content: dict[Any, DataVersion | None] = session.versions(
            session.catalog(), {project.nodes[each].relation: () for each in project.graph.order}, 600
        )
    records: dict[str, BuildRecord] = {}
    facts = replace(seen.facts, records=records)
    for name in project.graph.order:
        node = project.nodes[name]
        version = content[node.relation]
        assert version is not None
        kept = kept_sql(node.compiled, project.dialect)  # type: ignore[attr-defined]
        inputs = {
            key: value
            for key, value in node_facts(project, name, Facts(records=records, versions=facts.versions)).inputs.items()
            if value
        }
        code = facts.code(node)
        records[name] = BuildRecord(
            model=name, relation=str(node.relation), code_version=code.version, code_scheme=code.scheme, code_parts=dict(code.parts),
            definition=node.code.version, sql_id=digest(kept), inputs=inputs, definitions={},
            data_version=version, columns=(("id", "INTEGER"), ("v", "INTEGER")), rows=1,
            observed_at=now, built_at=now, seconds=0.01, run_id="prepared",
        )  # fmt: skip
        store.record_build(planned.environment, records[name], kept)
    verdicts = [
        TestRecord(
            test=name, version=facts.test_version(test), code_scheme=CODE_SCHEME, definition=test.version, verdict=Verdict.PASS, failures=0,
            inputs={read: records[read].data_version for read in test.inputs}, run_at=now, seconds=0.001, run_id="prepared",
        )
        for name, test in project.tests.items()
    ]  # fmt: skip
    store.record_tests(planned.environment, verdicts)
    store.close()


def main(sizes: list[int]) -> None:
    table = Table(*("models", "first load", "second load", "plan", "tick", "memory of a plan"))
    first: dict[str, float] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as place:
            folder = generate(Path(place), size)
            found = {"load": measure(folder, "load")}
            prepare_state(folder)
            for phase in PHASES[1:]:
                found[phase] = measure(folder, phase)
        numbers = {phase: found[phase]["seconds"] for phase in PHASES} | {"memory": found["plan"]["megabytes"]}
        first = first or numbers
        cells = [f"{numbers[key]:.2f} s (x{numbers[key] / first[key]:.1f})" for key in PHASES]
        table.add_row(str(size), *cells, f"{numbers['memory']:.0f} MiB (x{numbers['memory'] / first['memory']:.1f})")
    Console().print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(Path(sys.argv[2]), sys.argv[3])))
    else:
        main([int(each) for each in sys.argv[1:]] or list(SIZES))
