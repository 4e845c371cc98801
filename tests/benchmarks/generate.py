"""Projects of any size for the benchmarks: folders of models that join and filter each other."""

from __future__ import annotations

from pathlib import Path

import duckdb

SOURCE_ROWS = 10


def generate(folder: Path, models: int, *, tests: bool = False) -> Path:
    """Write a project of that many models, a tenth of them reading the source, and its DuckDB file; with a data test of each, if asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dbt_project.yml").write_text("name: big\nprofile: big\nmodels:\n  +materialized: table\n")
    (folder / "profiles.yml").write_text(
        "big: {target: dev, outputs: {dev: {type: duckdb, path: big.duckdb, threads: 2}}}\n"
    )
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "sources.yml").write_text("sources: [{name: raw, tables: [{name: t}]}]\n")
    for number in range(models):
        place = folder / "models" / f"group_{number // 100}"
        place.mkdir(exist_ok=True)
        (place / f"m{number}.sql").write_text(model_sql(number, models))
    if tests:
        tested = [f"  - {{name: m{number}, columns: [{{name: id, data_tests: [unique]}}]}}" for number in range(models)]
        (folder / "models" / "tests.yml").write_text("\n".join(["models:", *tested, ""]))
    with duckdb.connect(str(folder / "big.duckdb")) as connection:
        connection.execute("create schema if not exists raw")
        connection.execute(f"create or replace table raw.t as select i as id, i as v from range({SOURCE_ROWS}) t(i)")
    return folder


def model_sql(number: int, models: int) -> str:
    """Return the template of one model."""
    if number < max(2, models // 10):
        return f"{{{{ config(tags=['base']) }}}}\nselect id, v + {number} as v from {{{{ source('raw', 't') }}}}\n"
    first, second = number // 2, number - 1 - number % 7
    return (
        f"with a as (select * from {{{{ ref('m{first}') }}}}),\n"
        f"b as (select * from {{{{ ref('m{second}') }}}})\n"
        f"select a.id, a.v + {number} as v\nfrom a\njoin b on a.id = b.id\nwhere a.id >= 0\n"
    )
