"""A program that stands in for `dbt` where that is not there: `parse` and `build` of plain models on a DuckDB file, and it can be told to misbehave.

A project has `models/*.sql` (tables, with `ref` and `source` alone), `tests.json` (pairs of a generic test and `model.column`), and
`behave.json`: what it does besides (`before` and `after` the build: SQL in another process), what it says of nodes (`says`: status by name),
what it builds that nobody asked for (`more`), whether it ends itself before it says anything (`killed`), and a file that it changes (`edits`).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path.cwd()
FILE = ROOT / "shop.duckdb"
SAID: dict[str, Any] = json.loads((ROOT / "behave.json").read_text()) if (ROOT / "behave.json").exists() else {}
MODELS = {file.stem: file.read_text() for file in sorted((ROOT / "models").glob("*.sql"))}
REF, SOURCE = re.compile(r"\{\{ ref\('(\w+)'\) \}\}"), re.compile(r"\{\{ source\('raw', '(\w+)'\) \}\}")
NOTHING: dict[str, Any] = {
    "description": "",
    "columns": {},
    "tags": [],
    "meta": {},
    "package_name": "shop",
    "unrendered_config": {},
}
GRAPH = "{{ graph.nodes | length }}"  # which dbt alone can say
HELD_SECONDS = 0.5  # for which it has the file, so that it is seen to have it where the machine is busy, as dbt is


def place(schema: str, name: str) -> dict[str, Any]:
    return {"database": "shop", "schema": schema, "relation_name": f'"shop"."{schema}"."{name}"'}


def package(name: str) -> str:
    """Return the package of a model: that of the project, but for `lib_…`."""
    return "lib" if name.startswith("lib_") else "shop"


def model_id(name: str) -> str:
    return f"model.{package(name)}.{name}"


def model(name: str, text: str) -> dict[str, Any]:
    nodes = [model_id(each) for each in REF.findall(text)] + [
        f"source.shop.raw.{each}" for each in SOURCE.findall(text)
    ]
    config = {"materialized": "table", "enabled": True}
    where = {"original_file_path": f"models/{name}.sql", "fqn": [package(name), name], "alias": name, "name": name}
    made = {
        "resource_type": "model",
        "package_name": package(name),
        "raw_code": text,
        "language": "sql",
        "config": config,
        "depends_on": {"nodes": nodes, "macros": []},
    }
    return {**NOTHING, **place("main", name), **where, **made}


def generic_test(kind: str, about: str) -> tuple[str, dict[str, Any]]:
    tested, column = about.split(".")
    name = f"{kind}_{tested}_{column}"
    metadata = {
        "name": kind,
        "namespace": None,
        "kwargs": {"column_name": column, "model": f"{{{{ get_where_subquery(ref('{tested}')) }}}}"},
    }
    where = {"original_file_path": "models/schema.yml", "fqn": ["shop", name], "alias": name, "name": name}
    made = {
        "resource_type": "test",
        "raw_code": "{{ test() }}",
        "language": "sql",
        "config": {"severity": "ERROR"},
        "test_metadata": metadata,
    }
    about_it = {
        "attached_node": f"model.shop.{tested}",
        "depends_on": {"nodes": [f"model.shop.{tested}"], "macros": []},
    }
    return f"test.shop.{name}.0", {**NOTHING, **place("audit", name), **where, **made, **about_it}


def manifest() -> dict[str, Any]:
    sources = {name for text in MODELS.values() for name in SOURCE.findall(text)}
    tests = json.loads((ROOT / "tests.json").read_text()) if (ROOT / "tests.json").exists() else []
    hooks = {"operation.shop.hook": {**NOTHING, "resource_type": "operation", "tags": ["on-run-end"], "raw_code": "select 1", "fqn": ["shop", "hook"],
             "original_file_path": "dbt_project.yml", "depends_on": {"nodes": [], "macros": []}}} if SAID.get("hook") else {}  # fmt: skip
    return {
        "metadata": {"adapter_type": "duckdb"},
        "nodes": {**{model_id(name): model(name, text) for name, text in MODELS.items()}, **dict(generic_test(*each) for each in tests), **hooks},
        "sources": {
            f"source.shop.raw.{name}": {
                **NOTHING, **place("raw", name), "identifier": name, "name": name, "source_name": "raw", "fqn": ["shop", "raw", name],
                "original_file_path": "models/schema.yml", "freshness": None, "loaded_at_field": None, "config": {},
            }
            for name in sources
        },
        "macros": {}, "groups": {}, "unit_tests": {}, "docs": {},
    }  # fmt: skip


def beside(statements: list[str]) -> None:
    """Run SQL in a process that is none of this program's."""
    if not statements:
        return
    program = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); [held.execute(each) for each in sys.argv[2:]]"
    subprocess.run([sys.executable, "-c", program, str(FILE), *statements], check=True, start_new_session=True)


def build(selected: list[str], target: Path) -> int:
    import duckdb

    wanted = [name for name in MODELS if f"fqn:{package(name)}.{name}" in selected or name in SAID.get("more", ())]
    beside(SAID.get("before", []))
    results = []
    with duckdb.connect(str(FILE)) as connection:
        time.sleep(HELD_SECONDS)
        for name in wanted:
            sql = SOURCE.sub(r'"shop"."raw"."\1"', REF.sub(r'"shop"."main"."\1"', MODELS[name].replace(GRAPH, "1")))
            said = {
                "unique_id": model_id(name),
                "status": SAID.get("says", {}).get(name, "success"),
                "execution_time": 0.1,
            }
            try:
                if said["status"] == "success":
                    connection.execute(f"create or replace table main.{name} as {sql}")
            except duckdb.Error as error:
                said.update(status="error", message=str(error))
            results.append(said)
    beside(SAID.get("after", []))
    if SAID.get("hook"):
        results = [{"unique_id": "operation.shop.hook", "status": "error", "message": "no hook today"}, *results]
    if SAID.get("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if SAID.get("edits"):
        (ROOT / SAID["edits"]).write_text("select 1 as edited")
    if not SAID.get("silent"):
        (target / "run_results.json").write_text(
            json.dumps({"results": [each for each in results if each["status"] != "silent"]})
        )
    return int(any(each["status"] != "success" for each in results))


def main() -> int:
    command, *arguments = sys.argv[1:]
    if command == "--version":
        print("dbt-fusion 2.0.0")
        return 0
    target = Path(arguments[arguments.index("--target-path") + 1])
    with (ROOT / "calls.txt").open("a") as file:
        file.write(
            " ".join(
                [command, *sorted(each.removeprefix("fqn:shop.") for each in arguments if each.startswith("fqn:"))]
            )
            + "\n"
        )
    if command == "parse":
        (target / "manifest.json").write_text(json.dumps(manifest()))
        return 0
    return build(arguments[arguments.index("--select") + 1 :], target)


if __name__ == "__main__":
    sys.exit(main())
