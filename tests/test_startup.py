"""What a command does not use it does not import: names of modules that take their time to load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sao_dagster.cli import MODULES

PARSER = {"sqlglot"}
TEMPLATES = {"jinja2", "sao_dagster.projects.assembly.assemble", "sao_dagster.projects.templates.render"}
MIGRATIONS = {"sao_dagster.state.migrations"}
OTHERS = {"dagster", "psycopg", "sqlalchemy", "pandas", "numpy", "sao_dagster.dbt.prepare", "typer._adapters"}
EVERYTHING = PARSER | TEMPLATES | MIGRATIONS | OTHERS | {"duckdb", "pydantic", "rich.live", "sqlite3", "yaml"}

SCRIPT = """
import gc, sys
from sao_dagster.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert gc.get_freeze_count(), "what is forgotten at the end is not looked at again"
print("imported", *sys.modules)
"""


def imported_by(folder: Path, *words: str) -> set[str]:
    """Return the modules that a command has imported when it ends."""
    command = [sys.executable, "-c", SCRIPT, *words]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.rpartition("imported ")[2].split())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has been built: a seed, a view, a table, an incremental model, tests that ran, one of a file of its own, and tests that are proven, a macro and a docs block."""
    folder = tmp_path_factory.mktemp("shop")
    files = {
        "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {shop: {+tags: [daily]}}\n",
        "profiles.yml": "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}\n",
        "seeds/raw_orders.csv": "id,status\n1,new\n2,paid\n",
        "macros/upper_of.sql": "{% macro upper_of(column) %}upper({{ column }}){% endmacro %}\n",
        "models/docs.md": "{% docs status %}How far it is.{% enddocs %}\n",
        "models/orders.sql": "{{ config(materialized='view') }} select id, {{ upper_of('status') }} as status from {{ ref('raw_orders') }}",
        "models/statuses.sql": "{{ config(materialized='table') }} select status, count(*) as n from {{ ref('orders') }} group by status",
        "models/history.sql": "{{ config(materialized='incremental') }} select id, status from {{ ref('raw_orders') }} "
        "{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}",
        "tests/none_is_lost.sql": "select * from {{ ref('raw_orders') }} where id is null",
        "models/schema.yml": """
models:
  - name: orders
    columns: [{name: id, data_tests: [unique, not_null]}, {name: status, description: "{{ doc('status') }}"}]
  - name: statuses
    columns: [{name: status, data_tests: [unique, {accepted_values: {values: [NEW, PAID]}}]}]
""",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    assert "sqlglot" in imported_by(folder, "build")
    imported_by(folder, "plan")  # finds out whether one build of the incremental model was enough, once
    return folder


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("build", "--help")], ids=" ".join)
def test_what_speaks_of_the_program_loads_nothing_of_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert not imported_by(tmp_path, *words) & (EVERYTHING | {"sao_dagster.run.runner"})


@pytest.mark.parametrize(
    "words",
    [("plan",), ("build", "--target", "dev"), ("build", "--json"), ("test", "--project-dir", ".")],
    ids=" ".join,
)
def test_where_nothing_has_changed_nothing_is_parsed_or_rendered(shop: Path, words: tuple[str, ...]) -> None:
    found = imported_by(shop, *words)
    assert "sao_dagster.run.runner" in found
    assert {each for each in MODULES if f"sao_dagster.cli.{each}" in found} == {"build"}
    assert not found & (PARSER | TEMPLATES | MIGRATIONS | OTHERS)
