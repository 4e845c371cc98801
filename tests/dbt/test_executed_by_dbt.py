"""What dbt builds, decided node by node: the same tables and verdicts as `dbt build`, and only what would change."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from sao_dagster import select
from sao_dagster.core.messages import Level, Message
from sao_dagster.core.nodes import Model
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.records import Verdict
from sao_dagster.dagster import DuckDBResource, definitions
from sao_dagster.dbt import process
from sao_dagster.dbt.process import DbtProcess
from sao_dagster.dbt.warehouse import DbtMaterializer
from sao_dagster.errors import SaoError, WarehouseError
from sao_dagster.run.events import Event, ModelResult, Planned, TestResult
from sao_dagster.warehouses.protocol import Built
from tests.dbt.project import LittleProject, outcomes
from tests.waiting import until

pytestmark = pytest.mark.slow

MODELS = {"stg_orders", "orders", "people", "totals", "big", "grown", "people_over_time", "rates"}
TABLES = ("orders", "people", "totals", "big", "grown", "rates")


@contextmanager
def without_dbt() -> Iterator[None]:
    """Fail where dbt is started."""

    def started(*_: object, **__: object) -> None:
        pytest.fail("dbt was started")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sao_dagster.dbt.warehouse.dbt_process", started)
        patch.setattr("sao_dagster.dbt.prepare.dbt_process", started)
        yield


def test_a_first_run_gives_what_dbt_gives_and_a_second_one_does_not_start_dbt(anywhere: LittleProject) -> None:
    said = anywhere.dbt("build")
    tables = {name: anywhere.rows(f"main.{name}") for name in TABLES}
    anywhere.execute("drop schema main cascade", "create schema main") if anywhere.url else anywhere.execute(
        *(f"drop table main.{name}" for name in (*TABLES, "people_over_time")), "drop view main.stg_orders"
    )
    first = anywhere.run()
    assert outcomes(first) == dict.fromkeys(MODELS, "never_built")
    assert {name: anywhere.rows(f"main.{name}") for name in TABLES} == tables
    assert anywhere.run_results() == said
    with without_dbt():
        second = anywhere.run()
    assert outcomes(second) == {}
    assert {each.decision.outcome.value for each in second.tests} <= {"reused", "proven"}


def test_only_what_is_below_news_and_is_not_cut_off_is_built(anywhere: LittleProject) -> None:
    """On PostgreSQL dbt drops a table that it builds with the views over it, which are made again then."""
    anywhere.write("models/seen.sql", "{{ config(materialized='view') }} select * from {{ ref('totals') }}")
    anywhere.write("models/seen_again.sql", "{{ config(materialized='view') }} select * from {{ ref('seen') }}")
    anywhere.run()
    anywhere.execute("insert into raw.orders values (4, 2, 9)")
    gone = dict.fromkeys(("seen", "seen_again") if anywhere.url else (), "relation_missing")
    result = anywhere.run()
    assert outcomes(result) == dict.fromkeys(("orders", "totals", "grown", "big"), "new_data") | gone
    of_gone = [each.decision for each in result.models if each.name in gone]
    assert [(each.evidence["dropped_with"], each.warnings) for each in of_gone] == [("totals", ())] * len(gone)
    assert anywhere.rows("main.seen_again") == [(1, 1200), (2, 1000)]
    assert anywhere.rows("main.grown")[-1] == (4, 900)
    assert anywhere.rows("main.totals") == [(1, 1200), (2, 1000)]


def test_a_template_finds_what_hooks_have_made_and_dropped_in_the_same_run(anywhere: LittleProject) -> None:
    """dbt itself looks at what there is once, before the first model."""
    anywhere.write(
        "models/made.sql", "{{ config(post_hook='create table main.by_hook as select 1 as x') }} select 1 as x"
    )
    found = "{{ 1 if adapter.get_relation(target.database, 'main', 'by_hook') else 0 }}"
    for name, above in {"before": "rates", "between": "made", "dropped": "between", "after": "dropped"}.items():
        hook = "{{ config(pre_hook='drop table main.by_hook') }}" if name == "dropped" else ""
        anywhere.write(f"models/{name}.sql", f"{hook}-- depends_on: {{{{ ref('{above}') }}}}\nselect {found} as found")
    anywhere.write("models/made.sql", "-- {{ ref('before') }}\n" + (anywhere.folder / "models/made.sql").read_text())
    anywhere.run("+after")
    rows = {name: anywhere.rows(f"main.{name}") for name in ("before", "between", "dropped", "after")}
    assert rows == {"before": [(0,)], "between": [(1,)], "dropped": [(1,)], "after": [(0,)]}


def test_what_a_view_shows_that_a_materialization_makes_in_place_of_a_table_is_read_as_it_is_now(
    anywhere: LittleProject,
) -> None:
    anywhere.write(
        "macros/tables.sql",
        f"{{% materialization table, adapter='{'postgres' if anywhere.url else 'duckdb'}' %}}"
        """
        {% call statement('main') %}create or replace view {{ this }} as {{ sql }}{% endcall %}{% do adapter.commit() %}
        {{ return({'relations': [this.incorporate(type='view')]}) }}{% endmaterialization %}""",
    )
    anywhere.write(
        "models/counted.sql", "{{ config(materialized='incremental') }} select count(*) as n from {{ ref('orders') }}"
    )
    anywhere.run("+counted")
    assert outcomes(anywhere.run("+counted")) == {}
    anywhere.execute("insert into raw.orders values (4, 2, 9)")
    assert outcomes(anywhere.run("counted")) == {"counted": "new_data"}, "though the view is not built"
    assert outcomes(anywhere.run("+counted")) == {"orders": "new_data"}
    anywhere.execute("insert into raw.orders values (5, 2, 9)")
    assert outcomes(anywhere.run("+counted")) == {"orders": "new_data", "counted": "new_data"}
    assert anywhere.rows("main.counted") == [(3,), (4,), (5,)]
    anywhere.execute(
        "create or replace view main.orders as select id, person, amount as cents from raw.orders where id = 1"
    )
    assert outcomes(anywhere.run("orders")) == {"orders": "relation_altered"}
    assert outcomes(anywhere.run("+counted")) == {}


@pytest.mark.parametrize("anywhere", ["postgres"], indirect=True)
def test_a_table_that_a_materialization_makes_in_place_of_a_view_is_built_each_time(anywhere: LittleProject) -> None:
    anywhere.write(
        "macros/views.sql",
        """{% materialization view, adapter='postgres' %}
        {% call statement('main') %}
            drop table if exists {{ this }} cascade; create table {{ this }} as {{ sql }}
        {% endcall %}{% do adapter.commit() %}
        {{ return({'relations': [this.incorporate(type='table')]}) }}{% endmaterialization %}""",
    )
    anywhere.run("+orders")
    anywhere.execute("insert into raw.orders values (4, 2, 9)")
    assert outcomes(anywhere.run("+orders"))["stg_orders"] == "relation_altered"
    assert len(anywhere.rows("main.orders")) == 4


def test_a_table_that_is_made_of_what_it_holds_is_built_each_time(anywhere: LittleProject) -> None:
    itself = "{% if load_relation(this) %}select n + 1 as n from {{ this }}{% else %}select 1 as n{% endif %}"
    anywhere.write("models/counting.sql", itself)
    anywhere.write("models/told.sql", "select {{ 1 if load_relation(this) else 0 }} as is_there")
    for times in range(1, 4):
        anywhere.run("counting told")
        assert anywhere.rows("main.counting") == [(times,)]
    assert anywhere.rows("main.told") == [(1,)]
    assert outcomes(anywhere.run("told")) == {}, "which gives the same from now on"


def test_what_a_model_writes_to_a_file_is_news_each_time(little: LittleProject) -> None:
    place = little.folder / "orders.parquet"
    little.replace(
        "models/orders.sql", "select", f"{{{{ config(materialized='external', location='{place}') }}}} select"
    )
    little.run()
    assert outcomes(little.run()) == {}
    little.execute("insert into raw.orders values (4, 2, 9)")
    assert outcomes(little.run()) == dict.fromkeys(("orders", "totals", "grown", "big"), "new_data")
    assert little.rows("main.totals") == [(1, 1200), (2, 1000)]


def test_what_a_python_model_of_dbt_reads_is_unknown_until_it_is_said(little: LittleProject) -> None:
    little.write(
        "models/told.py", "def model(dbt, session):\n    return session.sql('select count(*) as n from raw.orders')\n"
    )
    assert outcomes(little.run("told")) == {"told": "never_built"}
    assert outcomes(little.run("told")) == {"told": "input_unknown"}
    little.write("models/told.yml", "models: [{name: told, config: {meta: {sao: {inputs: [raw.orders]}}}}]")
    assert outcomes(little.run("told")) == {"told": "code_changed"}, "it has an input that it had not"
    assert outcomes(little.run("told")) == {}
    little.execute("insert into raw.orders values (4, 2, 9)")
    assert outcomes(little.run("told")) == {"told": "new_data"}


def test_a_relative_path_is_that_of_the_project_where_dbt_is(
    little: LittleProject, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    little.write("data/a.csv", "id\n1\n")
    little.write("models/from_file.sql", "select * from 'data/a.csv'")
    monkeypatch.chdir(elsewhere)
    little.run("from_file")
    assert outcomes(little.run("from_file")) == {}
    little.write("data/a.csv", "id\n2\n")
    assert outcomes(little.run("from_file")) == {"from_file": "new_data"}
    (elsewhere / "data").mkdir()
    (elsewhere / "data/a.csv").write_text("id\n3\n")
    assert outcomes(little.run("from_file")) == {"from_file": "input_unknown"}, "questions of ours would get the other"
    assert little.rows("main.from_file") == [(2,)]


def test_a_file_of_a_model_that_somebody_writes_or_takes_away_is_written_again(little: LittleProject) -> None:
    place = little.folder / "orders.parquet"
    config = f"{{{{ config(materialized='external', location='{place}') }}}}"
    little.replace("models/orders.sql", "select", f"{config} select")
    little.run()
    good = little.rows("main.totals")
    assert outcomes(little.run("totals")) == {}
    duckdb.sql(f"copy (select * replace (cents + 1 as cents) from '{place}') to '{place}.new' (format parquet)")
    Path(f"{place}.new").replace(place)
    assert outcomes(little.run("totals")) == {"totals": "new_data"}
    assert little.rows("main.totals") != good
    assert outcomes(little.run("orders totals")) == {"orders": "relation_altered", "totals": "new_data"}
    assert little.rows("main.totals") == good
    place.unlink()
    assert outcomes(little.run("orders totals")) == {"orders": "relation_altered"}
    assert little.rows("main.totals") == good


@pytest.mark.parametrize("anywhere", ["postgres"], indirect=True)
def test_a_node_that_begins_leaves_what_dbt_knows_of_another_that_is_being_renamed(anywhere: LittleProject) -> None:
    for name, text in {
        "slow": "select 1 as x",
        "first": "select 2 as x",
        "second": "select * from {{ ref('first') }}",
    }.items():
        anywhere.write(f"models/{name}.sql", text)
    anywhere.run()
    anywhere.write(
        "macros/rename.sql",
        """
        {% macro postgres__rename_relation(from_relation, to_relation) %}{% call statement('rename_relation') %}
            alter table {{ from_relation }} rename to {{ to_relation.identifier }};
            {% if from_relation.identifier == 'slow' %}
                select pg_advisory_lock(7);
                {{ wait_for("pg_class where relname = 'second_is_built'") }};
            {% endif %}
        {% endcall %}{% endmacro %}
        {% macro wait_for(what) %}
            do $$ begin
                for i in 1 .. 6000 loop exit when exists (select from {{ what }}); perform pg_sleep(0.01); end loop;
            end $$
        {% endmacro %}
        """,
    )
    anywhere.write("models/slow.sql", "select 3 as x")
    lock = "pg_locks where locktype = 'advisory'"
    anywhere.write("models/first.sql", f'{{{{ config(pre_hook=wait_for("{lock}")) }}}} select 4 as x')
    anywhere.replace(
        "models/second.sql", "select", "{{ config(post_hook='create table main.second_is_built ()') }} select"
    )
    assert {"slow", "first", "second"} <= outcomes(anywhere.run()).keys()
    assert anywhere.rows("main.slow") == [(3,)]


def uncounted(build: Callable[..., Built]) -> Callable[..., Built]:
    return lambda *args: replace(build(*args), is_counted=False)


@pytest.mark.parametrize("anywhere", ["postgres"], indirect=True)
@pytest.mark.parametrize("is_counted", [True, False])
def test_a_relation_that_somebody_has_changed_is_built_again(
    anywhere: LittleProject, is_counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_counted:  # at once, as on an old server, and where dbt is given exactly what is to be built
        monkeypatch.setattr(DbtMaterializer, "build", uncounted(DbtMaterializer.build))
    anywhere.run()
    assert outcomes(anywhere.run()) == {}
    totals = anywhere.rows("main.totals")
    made_anew = (
        "create table main.t as select * from main.totals where false",
        "drop table main.totals cascade",
        "alter table main.t rename to totals",
    )
    shown = "alter view main.stg_orders rename to v", "create view main.stg_orders as select * from main.v where false"
    for name, *statements in [
        ("totals", "update main.totals set cents = 0"),
        ("totals", "insert into main.totals select * from main.totals"),
        ("totals", *made_anew),
        ("totals", "alter table main.totals add column more int"),
        ("stg_orders", *shown),
        ("stg_orders", "alter table raw.orders rename to before", "create table raw.orders as table raw.before"),
    ]:
        anywhere.execute(*statements)
        assert outcomes(anywhere.run())[name] == "relation_altered"
        assert anywhere.rows("main.totals") == totals
        assert outcomes(anywhere.run()) == {}
    anywhere.execute("update main.totals set cents = cents")
    assert outcomes(anywhere.run()) == {}
    anywhere.execute("delete from main.totals")
    assert outcomes(anywhere.run("big")) == {"big": "new_data"}, "which reads it"


@pytest.mark.parametrize("anywhere", ["postgres"], indirect=True)
def test_a_large_increment_that_is_not_counted_is_built_again_where_its_table_is_another_one(
    anywhere: LittleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version is the build itself."""
    monkeypatch.setattr(DbtMaterializer, "build", uncounted(DbtMaterializer.build))
    monkeypatch.setattr("sao_dagster.run.materialize.CHEAP_BYTES", 0)
    anywhere.write("models/last_grown.sql", "select max(id) as id from {{ ref('grown') }}")
    anywhere.run()
    for _ in range(2):
        anywhere.execute("insert into raw.orders values ((select max(id) + 1 from raw.orders), 1, 2)")
        anywhere.run()
        assert outcomes(anywhere.run()) == {}
    anywhere.execute("truncate main.grown")
    assert outcomes(anywhere.run("last_grown")) == {"last_grown": "input_unknown"}
    assert outcomes(anywhere.run())["grown"] == "relation_altered"


def test_contents_that_stay_cut_off_what_is_below(anywhere: LittleProject) -> None:
    """Also where they are not read, since an increment has written nothing to a large table."""
    anywhere.write("models/last_grown.sql", "select max(id) as id from {{ ref('grown') }}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sao_dagster.run.materialize.CHEAP_BYTES", 0)
        anywhere.run()
        for moved in (1, 2):  # the totals stay, so what reads them is not built
            anywhere.execute(
                f"update raw.orders set amount = amount + case id when 1 then {moved} else -{moved} end where id < 3"
            )
            assert outcomes(anywhere.run()).keys() == {"orders", "totals", "grown"}
        anywhere.execute("insert into raw.orders values (4, 2, 1)")
        assert outcomes(anywhere.run()).keys() == {"orders", "totals", "grown", "last_grown", "big"}
        assert anywhere.rows("main.last_grown") == [(4,)]
        anywhere.execute("delete from main.grown where id = 4")
        assert outcomes(anywhere.run())["grown"] == "relation_altered"
        assert anywhere.rows("main.last_grown") == [(4,)]


def test_a_comment_builds_nothing_and_a_macro_what_uses_it(little: LittleProject) -> None:
    little.run()
    little.write("models/big.sql", "-- how many\n" + (little.folder / "models/big.sql").read_text())
    assert outcomes(little.run()) == {}
    little.replace("macros/all.sql", "* 100", "* 1000")
    assert outcomes(little.run())["orders"] == "code_changed"
    assert little.rows("main.orders")[0] == (1, 1, 5000)


def test_the_answer_to_a_template_is_an_input(little: LittleProject) -> None:
    """Before the first run nothing is there, so that what asks for columns is no query yet, and nobody knows which of them are times of the run."""
    little.write("models/stamped.sql", "select 1 as id, '{{ run_started_at }}' as made_at")
    little.write("models/passed_on.sql", "select {{ columns_of(ref('stamped')) }} from {{ ref('stamped') }}")
    little.run()
    assert outcomes(little.run()) == {}
    little.execute("update main.passed_on set id = 2")
    assert outcomes(little.run()) == {"passed_on": "relation_altered"}
    little.execute("alter table raw.people add column born int")
    assert outcomes(little.run()).keys() == {"people", "people_over_time"}
    assert little.rows("main.people") == [(1, "Ada", None), (2, "Bob", None)]
    assert outcomes(little.run()) == {}


def test_a_failing_test_holds_back_what_is_below(little: LittleProject) -> None:
    little.run()
    little.execute("insert into raw.orders values (3, 2, 1)")
    result = little.run()
    assert {each.name for each in result.models if each.decision.outcome is Outcome.SKIPPED} == {
        "totals",
        "big",
        "grown",
    }
    said = little.run_results()
    assert said["model.little.totals"][0] == "skipped"
    assert [status for name, status in said.items() if "unique_orders_id" in name] == [("fail", 1)]


def test_a_test_that_failed_is_asked_again_without_dbt_where_it_is_known_what_dbt_renders(
    anywhere: LittleProject,
) -> None:
    anywhere.execute("create table raw.extra (a int)")
    anywhere.replace("models/sources.yml", "{name: people}", "{name: people}, {name: extra}")
    asks = "{{ config(limit=2) }} {% set found = adapter.get_columns_in_relation(source('raw', 'extra')) %}"
    anywhere.write(
        "tests/asks.sql", f"{asks} select id from {{{{ ref('orders') }}}} where {{{{ found | length }}}} = 1"
    )
    anywhere.write("tests/clock.sql", "select 1 as c from {{ ref('rates') }} where {{ run_started_at.year }} < 2020")
    anywhere.run()
    with without_dbt():
        for selected in ("", "asks"):
            result = anywhere.run(selected)
            assert {each.test.name: each.failures for each in result.tests if each.statement} == {"asks": 2}
            assert {each.decision.outcome for each in result.models} <= {Outcome.REUSED, Outcome.SKIPPED}
    anywhere.execute("alter table raw.extra add column b int")
    for verdicts in ({"asks": Verdict.PASS}, {}):
        assert {each.test.name: each.verdict for each in anywhere.run().tests if each.statement} == verdicts


def test_dbt_begins_after_all_where_a_test_that_held_something_back_passes(
    little: LittleProject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("land") / "prices.csv"
    file.write_text("id\n1\n1\n")
    table = "{name: prices, columns: [{name: id, data_tests: [unique]}]}"
    land = f"  - {{name: land, meta: {{external_location: '{file}'}}, tables: [{table}]}}"
    little.replace("models/sources.yml", "sources:", f"sources:\n{land}")
    little.write("models/priced.sql", "select count(*) as n from {{ source('land', 'prices') }}")
    little.run()
    little.events.clear()

    def mend(event: Event) -> None:
        little.events.append(event)
        if isinstance(event, Planned):
            file.write_text("id\n1\n2\n")

    opened = little.open()
    with without_dbt():
        plan, _ = opened.runner().plan(select(opened.project))
        assert plan.to_make == ()
    result = opened.runner().run(select(opened.project), on_event=mend)
    assert outcomes(result) == {"priced": "never_built"}
    assert little.rows("main.priced") == [(2,)]
    assert [each.verdict for each in little.events if isinstance(each, TestResult) and each.statement] == [Verdict.PASS]
    assert {name for name, (status, _) in little.run_results().items() if status == "success"} >= {
        "model.little.priced"
    }
    assert len(little.run_results()) == len(result.models) + len(result.tests) + 1  # the hook


def test_a_failing_model_is_one_failed_model_with_dbts_words(little: LittleProject) -> None:
    little.write("models/totals.sql", "select nothing from {{ ref('orders') }}")
    result = little.run()
    failed = {each.name: each.decision.evidence for each in result.models if each.decision.outcome is Outcome.FAILED}
    assert "nothing" in str(failed["totals"]["error"])
    assert little.run_results()["model.little.totals"][0] == "error"
    little.write("models/totals.sql", "select person, sum(cents) as cents from {{ ref('orders') }} group by 1")
    assert outcomes(little.run()).keys() == {"totals", "big"}


@pytest.mark.parametrize("execution", ["inside", pytest.param("selection", marks=pytest.mark.real_python)])
def test_batches_that_fail_are_named_with_the_first_error(little: LittleProject, execution: str) -> None:
    version = "from importlib.metadata import version; print(version('dbt-core'))"
    if subprocess.check_output([little.python, "-c", version], text=True).startswith("1.8."):
        pytest.skip("dbt 1.8 has no microbatch")
    this = datetime.now(timezone.utc).year
    values = {this - 2: "1", this - 1: "twelve", this: "3"}
    rows = " union all ".join(f"select timestamp '{year}-01-01' as t, '{value}' as v" for year, value in values.items())
    little.write("sao.yml", f"executor: dbt\ndbt: {little.python}\ndbt_execution: {execution}\n")
    little.write("models/events.sql", f"{{{{ config(event_time='t') }}}} {rows}")
    keys = f"incremental_strategy='microbatch', event_time='t', batch_size='year', begin='{this - 2}-01-01'"
    yearly = f"{{{{ config(materialized='incremental', {keys}) }}}} select t, v::int as v from {{{{ ref('events') }}}}"
    little.write("models/yearly.sql", yearly)
    (failed,) = [each for each in little.run("+yearly").models if each.decision.outcome is Outcome.FAILED]
    error = str(failed.decision.evidence["error"])
    assert (failed.name, error.partition(";")[0]) == ("yearly", f"1 of 3 batches was not built: {this - 1}")
    assert "'twelve' to INT32" in error
    little.replace("models/yearly.sql", "v::int", "no_column")  # of the year and the one before, by its lookback
    (failed,) = [each for each in little.run("yearly").models if each.decision.outcome is Outcome.FAILED]
    error = str(failed.decision.evidence["error"])
    assert error.startswith(f"2 of 2 batches were not built: {this - 1}, {this}; the first error: ")
    assert "no_column" in error


def test_where_on_run_start_fails_nothing_is_built(little: LittleProject) -> None:
    little.replace("macros/all.sql", "create table if not exists", "create tabel")
    with pytest.raises(SaoError, match="tabel"):
        little.run()
    little.replace("macros/all.sql", "create tabel", "create table if not exists")
    assert outcomes(little.run()) == dict.fromkeys(MODELS, "never_built")


def test_a_full_refresh_builds_increments_from_the_start(little: LittleProject) -> None:
    little.run()
    little.execute("delete from raw.orders where id = 1")
    little.run()
    assert (1, 500) in little.rows("main.grown")
    little.run(mode=Mode.FULL_REFRESH)
    assert (1, 500) not in little.rows("main.grown")


def test_files_that_change_between_reading_and_building_are_told(little: LittleProject) -> None:
    opened = little.open()
    little.write("models/big.sql", "select 1 as n")
    with pytest.raises(WarehouseError, match="changed since"):
        opened.runner().run(select(opened.project))


def test_tests_whose_sql_follows_the_clock_run_with_the_real_one(little: LittleProject) -> None:
    little.write("tests/not_old.sql", "select * from {{ ref('rates') }} where '{{ run_started_at.year }}' < '2020'")
    result = little.run()
    assert {each.test.name: each.verdict for each in result.tests}["not_old"] is Verdict.PASS


def test_models_declared_in_python_are_built_beside(little: LittleProject) -> None:
    little.write(
        "sao_project.py",
        "def declare(project):\n    @project.model\n    def beside(ref):\n        return 'select count(*) as n from ' + ref('orders')\n",
    )
    assert outcomes(little.run())["beside"] == "never_built"
    assert little.rows("main.beside") == [(3,)]
    assert outcomes(little.run()) == {}
    little.replace("sao_project.py", "count(*)", "2 * count(*)")
    assert outcomes(little.run("beside")) == {"beside": "code_changed"}  # and dbt has nothing to do


@pytest.mark.parametrize("asked", ["build", "begin"])
def test_a_killed_dbt_leaves_nothing_recorded_that_was_not_built(
    little: LittleProject, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    original, done = DbtProcess.asking, threading.Event()

    def asking(self: DbtProcess, name: str, /, **arguments: object) -> object:
        if name == asked and arguments.get("node") in (None, "model.little.totals") and not done.is_set():
            done.set()
            os.kill(self._process.pid, signal.SIGKILL)
        return original(self, name, **arguments)

    monkeypatch.setattr(DbtProcess, "asking", asking)
    built = outcomes(little.run())
    if asked == "begin":  # nothing had begun, so another one could be started
        assert built == dict.fromkeys(MODELS, "never_built")
    else:
        assert built["totals"] == "build_error"
        assert built["big"] in ("upstream_failed", "build_error")
        assert {"totals", "big"} <= outcomes(little.run()).keys()
    assert outcomes(little.run()) == {}


def test_a_dbt_whose_run_was_killed_ends_before_another_run_may_build_the_same(little: LittleProject) -> None:
    little.write("models/slow.sql", "select count(*) as n from range(100000000000) t(i) where i % 7 = 3")
    program = (
        "from sao_dagster.cli import main; from sao_dagster.dbt import process; process.BEAT_SECONDS = 0.1; main()"
    )
    command = [sys.executable, "-c", program, "build", "--project-dir", str(little.folder), "--select", "slow"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        log = little.folder / "logs/dbt.log"
        until("the statement", lambda: log.exists() and "range(100000000000)" in log.read_text())
        run.kill()
    until("the end of dbt", lambda: not _held(little.folder / "little.duckdb"))


def _held(file: Path) -> bool:
    """Return whether a process has a DuckDB file."""
    program = f"import duckdb; duckdb.connect({str(file)!r}).close()"
    return subprocess.run([sys.executable, "-c", program], stderr=subprocess.DEVNULL, check=False).returncode != 0


def test_dbts_log_has_what_a_template_asks_for_its_build_and_not_for_its_fingerprint(little: LittleProject) -> None:
    little.write("models/asking.sql", "{% if execute %}{% do run_query('select 40 + 2') %}{% endif %} select 42 as n")
    log = little.folder / "logs/dbt.log"
    little.open()
    assert "40 + 2" not in log.read_text()
    little.run("asking")
    assert "40 + 2" in log.read_text()


def test_what_dbt_has_parsed_by_itself_is_not_parsed_anew_and_the_other_way_round(little: LittleProject) -> None:
    log = little.folder / "logs/dbt.log"
    little.dbt("compile", "--select", "totals")
    log.unlink()
    little.run("totals")
    little.dbt("compile", "--select", "totals")
    assert "Unable to do partial parsing" not in log.read_text()


@pytest.mark.real_python
def test_a_dbt_that_hangs_is_given_up(little: LittleProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BEAT_SECONDS", 0.1)
    little.open()
    original = DbtProcess.asking

    def asking(self: DbtProcess, name: str, /, **arguments: object) -> object:
        if name == "begin":
            monkeypatch.setattr(process, "SILENT_SECONDS", 5.0)  # from its next sign on
        if arguments.get("node") == "model.little.totals":
            os.kill(self._process.pid, signal.SIGSTOP)
        return original(self, name, **arguments)

    with monkeypatch.context() as hanging:
        hanging.setattr(DbtProcess, "asking", asking)
        result = little.run()
    assert outcomes(result)["totals"] == "build_error"
    said = {each.decision.model: each.decision.evidence for each in result.models}
    assert "no sign of life" in str(said["totals"]["error"])
    assert "building model.little.totals" in str(said["totals"]["error"])
    assert "totals" in outcomes(little.run())
    assert outcomes(little.run()) == {}


def test_another_description_that_is_kept_builds_the_model_and_nothing_below(little: LittleProject) -> None:
    little.replace(
        "models/sources.yml",
        "  - name: totals\n",
        "  - name: totals\n    description: all\n    config: {persist_docs: {relation: true}}\n",
    )
    little.run()
    little.replace("models/sources.yml", "description: all", "description: all of them")
    result = little.run()
    assert outcomes(result) == {"totals": "code_changed"}
    [totals] = [each for each in result.models if each.name == "totals"]
    assert totals.decision.evidence["parts"] == ["attached"]


def test_two_runs_at_once_build_everything_once(anywhere: LittleProject) -> None:
    anywhere.open()  # so that both begin with what dbt has said
    command = [sys.executable, "-m", "sao_dagster.cli", "build", "--json", "--project-dir", str(anywhere.folder)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    said = [json.loads(run.communicate()[0]) for run in runs]
    built = [each["name"] for one in said for each in one["models"] if each["outcome"] == "built"]
    assert sorted(built) == sorted(MODELS)
    assert [run.returncode for run in runs] == [0, 0]


def test_what_dbt_said_is_kept_as_long_as_it_would_say_the_same(
    little: LittleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    little.replace(
        "dbt_project.yml", "+materialized: table", "+materialized: table\n    +tags: [\"{{ env_var('TAG', 'none') }}\"]"
    )
    little.write("models/env/logs/more.sql", "select {{ var('more', 1) }} as n")

    told: list[str] = []

    def said() -> tuple[str, tuple[str, ...]]:
        more = little.open(doing=told.append).project.nodes["more"]
        assert isinstance(more, Model)
        return more.compiled.sql, more.tags

    assert said() == ("select 1 as n", ("none",))
    assert (told[0], told[-1]) == ("dbt is parsing it", "")
    assert "dbt is rendering models and data tests, 1/12" in told
    monkeypatch.setenv("TAG", "new")
    assert said() == ("select 1 as n", ("new",))
    little.write("models/env/logs/more.sql", "select 2 as n")
    assert said() == ("select 2 as n", ("new",))
    monkeypatch.setattr("sao_dagster.dbt.prepare.dbt_process", lambda *_, **__: pytest.fail("dbt was started"))
    told.clear()
    assert said() == ("select 2 as n", ("new",))
    assert not told


MATERIALIZATION = """
{% materialization twice, default %}
  {% set target = this.incorporate(type='table') %}
  {% call statement('main') %}create or replace table {{ target }} as select *, 1 as added from ({{ sql }}) as q{% endcall %}
  {% do adapter.commit() %}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}
"""


def test_macros_by_which_dbt_builds_count(little: LittleProject) -> None:
    little.write("macros/twice.sql", MATERIALIZATION)
    little.write("models/doubled.sql", "{{ config(materialized='twice') }} select 1 as n")
    little.write("macros/log.sql", "{% macro note() %}insert into main.starts values ('one'){% endmacro %}")
    little.write("models/noted.sql", "{{ config(post_hook='{{ note() }}') }} select 1 as n")
    little.run()
    assert outcomes(little.run()) == {}
    little.replace("macros/twice.sql", "1 as added", "2 as added")
    assert outcomes(little.run()) == {"doubled": "code_changed"}
    assert little.rows("main.doubled") == [(1, 2)]
    little.replace("macros/log.sql", "one", "two")
    assert outcomes(little.run()) == {"noted": "code_changed"}
    little.write(
        "macros/tables.sql",
        "{% macro duckdb__create_table_as(temporary, relation, compiled_code, language='sql') %}"
        "create or replace table {{ relation }} as select * from ({{ compiled_code }}) as q{% endmacro %}",
    )
    assert {"orders", "totals", "big"} <= outcomes(little.run()).keys()


def test_whatever_dbt_reads_is_in_what_a_template_that_asks_gives(little: LittleProject) -> None:
    little.write("models/asks.sql", "{% set r = run_query('select 1') %} select '{{ var('v', 'a') }}' as v")
    little.write("models/part.sql", "{{ config(materialized='ephemeral') }} {{ asked() }}")
    little.write("models/reads_part.sql", "select * from {{ ref('part') }}")
    little.write(
        "macros/asked.sql", "{% macro asked() %}{% set r = run_query('select 1') %}select 1 as n{% endmacro %}"
    )
    little.run()
    assert outcomes(little.run()) == {}
    little.replace("models/asks.sql", "'a'", "'b'")
    little.replace("macros/asked.sql", "1 as n", "2 as n")
    assert outcomes(little.run()).keys() == {"asks", "reads_part"}
    assert (little.rows("main.asks"), little.rows("main.reads_part")) == ([("b",)], [(2,)])
    opened = little.open(variables={"v": "c"})
    assert outcomes(opened.runner().run(select(opened.project))).keys() == {"asks"}
    assert little.rows("main.asks") == [("c",)]


def test_options_of_dbt_in_the_environment_decide_nothing(
    little: LittleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    little.replace("dbt_project.yml", "profile: little", "profile: little\ntarget-path: out")
    monkeypatch.setenv("DBT_EMPTY", "true")
    monkeypatch.setenv("DBT_PROJECT_DIR", "/nowhere")
    monkeypatch.setenv("DBT_FULL_REFRESH", "true")
    little.run()
    assert len(little.rows("main.orders")) == 3
    assert outcomes(little.run()) == {}


def test_native_building_and_dbt_share_one_state(little: LittleProject) -> None:
    for name in ("snapshots/people_over_time.sql", "models/people.sql"):  # which need dbt
        (little.folder / name).unlink()
    little.replace("dbt_project.yml", 'on-run-start: "{{ note_start() }}"', "")
    little.run()
    little.write("sao.yml", "executor: native\n")
    assert outcomes(little.run()) == {}


def test_what_only_dbt_does_is_handed_over(little: LittleProject) -> None:
    little.write("sao.yml", f"dbt: {little.python}\n")
    opened = little.open()
    assert "read and built by dbt" in str(opened.built_by)
    assert "models/people.sql" in str(opened.built_by) or "snapshot" in str(opened.built_by)
    assert outcomes(little.run()) == dict.fromkeys(MODELS, "never_built")


UNIT_TEST = """
unit_tests:
  - name: adds_up
    model: totals
    given: [{input: ref('orders'), rows: [{id: 1, person: 1, cents: 2}, {id: 2, person: 1, cents: 3}]}]
    expect: {rows: [{person: 1, cents: 5}]}
"""


def test_a_unit_test_is_asked_before_its_model_and_is_a_part_of_its_code(little: LittleProject) -> None:
    little.write("models/unit.yml", UNIT_TEST)
    little.run()
    assert [status for name, status in little.run_results().items() if "adds_up" in name] == [("pass", 0)]
    little.replace("models/unit.yml", "cents: 5", "cents: 6")
    result = little.run()
    failed = {each.name: str(each.decision.evidence.get("error")) for each in result.models}["totals"]
    assert "the unit test" in failed
    assert "adds_up" in failed
    assert outcomes(result).keys() == {"totals", "big"}
    assert [status for name, (status, _) in little.run_results().items() if "adds_up" in name] == ["fail"]


def test_a_verdict_that_is_reused_is_told_to_dbt_as_it_was(little: LittleProject) -> None:
    little.write("tests/few.sql", "{{ config(severity='warn') }} select * from {{ ref('rates') }}")
    little.run()
    little.execute("insert into raw.orders values (4, 2, 9)")
    little.run()
    said = little.run_results()
    assert said["test.little.few"] == ("warn", 2)
    assert said["model.little.people"][0] in ("no-op", "success", "reused")


def test_what_dbt_says_is_told_while_it_builds(little: LittleProject) -> None:
    little.replace("models/orders.sql", "select", "{% do exceptions.warn('mind the gap') %} select")
    little.run()
    said = {each.text: at for at, each in enumerate(little.events) if isinstance(each, Message)}
    levels = {each.text: each.level for each in little.events if isinstance(each, Message)}
    results = {each.name: at for at, each in enumerate(little.events) if isinstance(each, ModelResult)}
    (built,) = (text for text in said if "OK created sql table model main.orders" in text)
    assert levels[built] is Level.LOG
    assert said[built] < results["orders"] < results["totals"]
    warnings = [text for text, level in levels.items() if level is Level.WARNING and "mind the gap" in text]
    assert warnings and any(said[text] < results["orders"] for text in warnings)


def test_in_dagster_lines_of_dbt_are_printed_and_its_errors_are_in_the_log(
    little: LittleProject, capfd: pytest.CaptureFixture[str]
) -> None:
    little.write("models/totals.sql", "select nothing from {{ ref('orders') }}")
    job = definitions(little.open()).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        logged = [each for each in instance.all_logs(result.run_id) if each.user_message.startswith("dbt: ")]
    printed = capfd.readouterr().out
    assert "START sql table model main.orders" in printed and "Done. PASS=" in printed
    assert any(each.level == logging.ERROR and "nothing" in each.user_message for each in logged)
    assert all(each.level >= logging.WARNING for each in logged)


def test_where_there_is_no_dbt_it_is_said_how_to_have_it(little: LittleProject, tmp_path: Path) -> None:
    little.write("sao.yml", "executor: dbt\ndbt: nowhere\n")
    with pytest.raises(SaoError, match=r"dbt: nowhere in sao\.yml"):
        little.open()


def test_a_resource_cannot_send_dbt_elsewhere(little: LittleProject) -> None:
    with pytest.raises(WarehouseError, match="dbt builds where its profile says"):
        DuckDBResource(path="elsewhere.duckdb").warehouse(little.open().warehouse)


def test_in_dagster_it_is_like_any_project(little: LittleProject) -> None:
    defs = definitions(little.open())
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        for materialized in (MODELS, set()):
            result = job.execute_in_process(instance=instance)
            assert result.success
            events = result.get_asset_materialization_events()
            found = {event.step_materialization_data.materialization.asset_key.path[-1] for event in events}
            assert found - {"savings"} == materialized


def test_what_a_hook_executes_is_code(little: LittleProject) -> None:
    """A macro that a hook calls writes a table from `graph`, as packages that look at the project do."""
    little.write(
        "macros/upload.sql",
        "{% macro upload(relation) %}{% if execute %}{% for each in graph.nodes.values() if each.resource_type == 'model' %}"
        "{% call statement('upload') %}insert into {{ relation }} values ('{{ each.name }}', '{{ '{{' }}'){% endcall %}"
        "{% endfor %}{% endif %}{% endmacro %}",
    )
    little.write(
        "models/names.sql", "{{ config(post_hook='{{ upload(this) }}') }} select '' as name, '' as mark where false"
    )
    little.run()
    assert outcomes(little.run()) == {}
    little.write("models/more.sql", "select 1 as n")
    assert outcomes(little.run()) == {"more": "never_built", "names": "code_changed"}
    assert ("more", "{{") in little.rows("main.names")


@pytest.mark.parametrize(
    ("body", "is_known"),
    [
        ("{% do run_query('insert into ' ~ relation ~ ' select amount from raw.orders') %}", True),
        ("insert into {{ relation }} values ({{ run_query('select max(amount) from raw.orders')[0][0] }})", False),
        (
            "{% set n = run_query('select max(amount) from raw.orders')[0][0] %}insert into main.starts values ('{{ n }}')",
            True,
        ),
    ],
)
def test_what_a_hook_asks_is_unknown_where_it_may_change_rows(
    little: LittleProject, body: str, *, is_known: bool
) -> None:
    little.write("macros/fill.sql", "{% macro fill(relation) %}{% if execute %}" + body + "{% endif %}{% endmacro %}")
    little.write("models/filled.sql", "{{ config(post_hook='{{ fill(this) }}') }} select 1 as n")
    little.run("filled")
    assert outcomes(little.run("filled")) == ({} if is_known else {"filled": "input_unknown"})
    little.execute("insert into raw.orders values (4, 1, 100)")
    little.run("filled")
    assert ((100,) in little.rows("main.filled")) == ("relation" in body)


def test_a_model_that_cannot_be_rendered_after_it_asked_fails_alone(little: LittleProject) -> None:
    little.write(
        "models/asks.sql", "{% if execute %}{% set n = run_query('select 1 as n') %}{{ n.no_such_thing() }}{% endif %}"
    )
    result = outcomes(little.run())
    assert result.pop("asks") == "build_error"
    assert set(result.values()) == {"never_built"}


def test_tests_of_disabled_models_are_left_out_and_keys_of_dbt_have_their_effect(little: LittleProject) -> None:
    little.write("models/shut.sql", "{{ config(enabled=false) }} select 1 as n")
    little.write("models/shut.yml", "models: [{name: shut, columns: [{name: n, data_tests: [unique]}]}]")
    little.write("tests/of_shut.sql", "select * from {{ ref('shut') }}")
    little.write("seeds/rates.yml", "seeds: [{name: rates, config: {batch_size: 5}}]")
    opened = little.open()
    assert not opened.project.broken
    assert not [name for name in opened.project.tests if "shut" in name]
    assert not [each for each in opened.project.notices if "batch_size" in str(each)]
    assert little.run().succeeded


def test_what_plain_dbt_has_built_before_can_be_adopted(anywhere: LittleProject) -> None:
    anywhere.dbt("build")
    opened = anywhere.open()
    found = opened.runner().adopt(select(opened.project))
    assert (set(found.nodes), found.refused) == (set(opened.project.nodes), {})
    assert outcomes(anywhere.run()) == {}
    anywhere.execute("insert into raw.orders values (4, 2, 9)")
    assert set(outcomes(anywhere.run())) == {"orders", "totals", "grown", "big"}
