"""Every kind of relation: what its data version is, and how it is built."""

from __future__ import annotations

import os
import time

import duckdb
import pytest

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.reasons import Mode
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders")
    world.sql("create table raw.orders as select 1 as id, 10 as amount, timestamp '2026-03-01' as loaded_at")
    return world


def sources(world: World, table: str) -> World:
    return world.write("models/sources.yml", f"sources:\n  - name: raw\n    tables:\n      - {table}\n")


def test_loaded_at_field_is_the_version(shop: World) -> None:
    sources(shop, "{name: orders, loaded_at_field: loaded_at}")
    shop.model("orders", "select id, amount from {{ source('raw', 'orders') }}").run()
    shop.sql("update raw.orders set amount = 99")  # late data that does not move the field is not seen: as documented
    assert shop.run().built == set()
    shop.sql("insert into raw.orders values (2, 5, timestamp '2026-03-02')")
    run = shop.run()
    assert run.outcomes["orders"] == "built: new_data"
    new = DataVersion.parse(run.decision("orders").evidence["news"][0]["new"])
    assert (new.scheme.split("/")[0], new.token) == ("loaded_at", "2026-03-02 00:00:00")


def test_loaded_at_query_is_the_version(shop: World) -> None:
    sources(shop, "{name: orders, loaded_at_query: 'select cast(floor(count(*) / 2.0) as int) from raw.orders'}")
    shop.model("orders", "select id from {{ source('raw', 'orders') }}").run()
    shop.sql("insert into raw.orders (id) values (2)")
    assert shop.run().outcomes["orders"] == "built: new_data"
    shop.sql("insert into raw.orders (id) values (3)")
    assert shop.run().built == set(), "only each second row counts here"


def test_filter_applies_to_loaded_at_field(shop: World) -> None:
    sources(shop, "{name: orders, loaded_at_field: loaded_at, freshness: {filter: 'id < 10'}}")
    shop.model("orders", "select id from {{ source('raw', 'orders') }}").run()
    shop.sql("insert into raw.orders values (11, 5, timestamp '2026-03-02')")
    assert shop.run().built == set()


def test_source_age_warns_and_fails_and_holds_nothing_back(shop: World) -> None:
    sources(
        shop,
        "{name: orders, loaded_at_field: loaded_at, freshness: {warn_after: {count: 1, period: day}, error_after: {count: 3, period: day}}}",
    )
    shop.model("orders", "select id from {{ source('raw', 'orders') }}")
    run = shop.run()
    assert run.tests == {"source_freshness_raw_orders": "ran: warn"}
    assert run.result.succeeded
    shop.wait(days=2).sql("insert into raw.orders (id) values (2)")
    run = shop.run()
    assert run.tests == {"source_freshness_raw_orders": "ran: fail"}
    assert not run.result.succeeded
    assert shop.run().outcomes["orders"] == "reused: no_new_data"


def test_a_source_view_is_resolved_to_its_tables(shop: World) -> None:
    shop.sql(
        "create table raw.base as select 1 as id",
        "create view raw.v as select * from raw.base",
        "create view raw.w as select id + 1 as id from raw.v",
    )
    shop.source("w").model("orders", "select id from {{ source('raw', 'w') }}").run()
    assert shop.run().built == set()
    shop.sql("insert into raw.base values (5)")
    assert shop.run().outcomes["orders"] == "built: new_data"
    shop.sql("create or replace view raw.w as select id + 2 as id from raw.v")
    assert shop.run().outcomes["orders"] == "built: new_data"


def test_a_view_with_a_cast_is_not_taken_for_altered(shop: World) -> None:
    """DuckDB 1.5 quotes the type until the file is opened anew."""
    shop.sql("create view raw.v as select id, cast('2026-01-01' as date) as day from raw.orders")
    sources(shop, "{name: orders}\n      - {name: v}")
    shop.model(
        "seen", "select id, cast(loaded_at as date) as day from {{ source('raw', 'orders') }}", materialized="view"
    )
    shop.model("day", "select cast(day as date) as day from {{ source('raw', 'v') }}").run()
    for _ in range(2):
        assert shop.run().outcomes == {"seen": "reused: no_new_data", "day": "reused: no_new_data"}


def test_a_source_view_is_versioned_by_the_views_below_it(shop: World) -> None:
    shop.sql("create table raw.base as select 1 as id", "create view raw.v as select id from raw.base")
    shop.sql("create view raw.w as select id from raw.v")
    sources(shop, "{name: w}")
    shop.model("orders", "select id from {{ source('raw', 'w') }}").run()
    assert shop.run().built == set()
    shop.sql("create or replace view raw.v as select id + 10 as id from raw.base")
    assert shop.run().outcomes["orders"] == "built: new_data"
    assert shop.rows("select id from main.orders") == [(11,)]


@pytest.mark.warehouse("duckdb")
@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_files_are_versioned_by_name_and_content(shop: World, suffix: str) -> None:
    folder = shop.root / "landing"
    folder.mkdir()
    duckdb.execute(f"copy (select 1 as id) to '{folder}/a.{suffix}'")
    sources(shop, f"{{name: orders, meta: {{external_location: \"read_{suffix}('landing/*.{suffix}')\"}}}}")
    shop.model("orders", "select id from {{ source('raw', 'orders') }}").run()
    assert shop.rows("select * from main.orders") == [(1,)]
    assert shop.run().built == set()
    duckdb.execute(f"copy (select 2 as id) to '{folder}/b.{suffix}'")
    assert shop.run().outcomes["orders"] == "built: new_data"
    assert shop.rows("select count(*) from main.orders") == [(2,)]
    seen = (folder / f"b.{suffix}").stat()
    later = time.time() + 10
    os.utime(folder / f"b.{suffix}", (later, later))
    assert shop.run().built == set(), "the same rows, written again"
    duckdb.execute(f"copy (select 3 as id) to '{folder}/b.{suffix}'")
    os.utime(folder / f"b.{suffix}", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert shop.run().outcomes["orders"] == "built: new_data", "other rows of the same size and time"
    (folder / f"b.{suffix}").unlink()
    assert shop.run().outcomes["orders"] == "built: new_data"


def test_a_schema_change_of_a_source_counts(shop: World) -> None:
    shop.model("orders", "select id from {{ source('raw', 'orders') }}").run()
    shop.sql("alter table raw.orders alter column amount type bigint")
    assert shop.run().outcomes["orders"] == "built: new_data"


def test_row_order_does_not_count_and_duplicates_do(shop: World) -> None:
    shop.replace("raw.orders", "select * from (values (1), (2), (2)) t(id)")
    shop.model("orders", "select id from {{ source('raw', 'orders') }}").run()
    shop.replace("raw.orders", "select * from (values (2), (1), (2)) t(id)")
    assert shop.run().built == set()
    shop.replace("raw.orders", "select * from (values (2), (1), (1)) t(id)")
    assert shop.run().built == {"orders"}


def test_a_dropped_source_is_unknown_and_fails_with_its_name(shop: World) -> None:
    shop.model("orders", "select id from {{ source('raw', 'orders') }}").run()
    shop.sql("drop table raw.orders")
    run = shop.run()
    assert run.outcomes["orders"] == "failed: build_error"
    assert run.decision("orders").evidence["because"] == "input_unknown"
    assert "orders" in str(run.decision("orders").evidence["error"])


def test_seeds_are_versioned_by_their_file_and_settings(world: World) -> None:
    world.write("seeds/countries.csv", "code,name\n01,Germany\n")
    world.model("names", "select code, name from {{ ref('countries') }}")
    assert world.run().outcomes["countries"] == "built: never_built"
    assert world.rows("select code from main.countries") == [(1,)]
    world.write("seeds/s.yml", "seeds: [{name: countries, config: {column_types: {code: integer}}}]")
    # texts are cast now, which depends on settings of the process
    assert world.run().decision("countries").evidence["parts"] == ["config", "settings"]
    assert world.rows("select code from main.countries") == [(1,)]
    world.write("seeds/countries.csv", "code,name\n01,Germany\n02,France\n")
    run = world.run()
    assert run.outcomes == {"countries": "built: code_changed", "names": "built: new_data"}


def test_a_seed_rewritten_to_the_same_content_is_cut_off(world: World) -> None:
    world.write("seeds/countries.csv", "code,name\n1,Germany\n2,France\n")
    world.model("names", "select name from {{ ref('countries') }}").run()
    world.write("seeds/countries.csv", "code,name\n2,France\n1,Germany\n")
    assert world.run().outcomes == {"countries": "built: code_changed", "names": "reused: no_new_data"}


# ---------------------------------------------------------------------- materializations


def test_append_adds_rows(shop: World) -> None:
    sql = "select id, amount from {{ source('raw', 'orders') }} {% if is_incremental() %}where id > (select max(id) from {{ this }}){% endif %}"
    shop.model("orders", sql, materialized="incremental", incremental_strategy="append").run()
    shop.sql("insert into raw.orders values (2, 20, null)", "update raw.orders set amount = 0 where id = 1")
    shop.run()
    assert shop.rows("select * from main.orders order by id") == [(1, 10), (2, 20)]


@pytest.mark.parametrize("strategy", ["delete+insert", "merge"])
def test_keys_replace_rows(shop: World, strategy: str) -> None:
    sql = "select id, amount from {{ source('raw', 'orders') }} {% if is_incremental() %}where amount > 10{% endif %}"
    shop.model("orders", sql, materialized="incremental", unique_key="id", incremental_strategy=strategy).run()
    shop.sql("insert into raw.orders values (2, 20, null)", "update raw.orders set amount = 11 where id = 1")
    shop.run()
    assert shop.rows("select * from main.orders order by id") == [(1, 11), (2, 20)]


def test_several_keys_and_predicates(shop: World) -> None:
    sql = "select id, 1 as part, amount from {{ source('raw', 'orders') }}"
    shop.model(
        "orders",
        sql,
        materialized="incremental",
        unique_key=["id", "part"],
        incremental_strategy="merge",
        merge_update_columns=["amount"],
    ).run()
    shop.sql("update raw.orders set amount = 11")
    shop.run()
    assert shop.rows("select * from main.orders") == [(1, 1, 11)]


@pytest.mark.parametrize(
    ("change", "columns", "succeeds"),
    [
        ("ignore", ["id", "amount"], True),
        ("append_new_columns", ["id", "amount", "note"], True),
        ("sync_all_columns", ["id", "amount", "note"], True),
        ("fail", ["id", "amount"], False),
    ],
)
def test_on_schema_change_new_column(shop: World, change: str, columns: list[str], succeeds: bool) -> None:
    config = {"materialized": "incremental", "unique_key": "id", "on_schema_change": change}
    shop.model("orders", "select id, amount from {{ source('raw', 'orders') }}", **config).run()
    shop.model("orders", "select id, amount, 'x' as note from {{ source('raw', 'orders') }}", **config)
    run = shop.run()
    assert run.result.succeeded is succeeds
    assert [name for name, _ in shop.columns("main.orders")] == columns


def test_sync_all_columns_drops_and_retypes(shop: World) -> None:
    config = {"materialized": "incremental", "unique_key": "id", "on_schema_change": "sync_all_columns"}
    shop.model("orders", "select id, amount, 1 as gone from {{ source('raw', 'orders') }}", **config).run()
    shop.model("orders", "select id, amount::bigint as amount from {{ source('raw', 'orders') }}", **config).run()
    assert shop.columns("main.orders") == [("id", "integer"), ("amount", "bigint")]


def test_full_refresh_starts_from_scratch_unless_the_model_refuses(shop: World) -> None:
    config = {"materialized": "incremental", "unique_key": "id"}
    shop.model("orders", "select id, amount from {{ source('raw', 'orders') }}", **config)
    shop.model("kept", "select id, amount from {{ source('raw', 'orders') }}", full_refresh=False, **config).run()
    shop.sql("delete from raw.orders", "insert into raw.orders values (5, 50, null)")
    shop.run(mode=Mode.FULL_REFRESH)
    assert shop.rows("select id from main.orders") == [(5,)]
    assert shop.rows("select id from main.kept order by id") == [(1,), (5,)]


def test_a_table_becomes_a_view_and_back(shop: World) -> None:
    sql = "select id from {{ source('raw', 'orders') }}"
    kind = "select table_type from information_schema.tables where table_name = 'm' and table_schema = 'main'"
    for materialized, expected in (
        ("table", "BASE TABLE"),
        ("view", "VIEW"),
        ("incremental", "BASE TABLE"),
        ("view", "VIEW"),
    ):
        shop.model("m", sql, materialized=materialized)
        assert shop.run().result.succeeded
        assert shop.rows(kind) == [(expected,)]


def test_a_failed_build_leaves_the_old_table(shop: World) -> None:
    shop.model("m", "select id from {{ source('raw', 'orders') }}").run()
    shop.model("m", "select id from {{ source('raw', 'orders') }}", post_hook="select no_such_function()")
    assert shop.run().outcomes["m"] == "failed: build_error"
    assert shop.rows("select * from main.m") == [(1,)]


def test_hooks_run_in_order_and_project_hooks_once(shop: World) -> None:
    shop.sql("create table raw.log (what varchar)")
    log = "insert into raw.log (what) values ('{}')"
    project = (shop.root / "dbt_project.yml").read_text()
    shop.write(
        "dbt_project.yml", project + f'on-run-start: "{log.format("start")}"\non-run-end: ["{log.format("end")}"]\n'
    )
    shop.model("m", "select 1 as x", pre_hook=log.format("before {{ this.name }}"), post_hook=[log.format("after")])
    shop.run()
    assert [row[0] for row in shop.rows("select what from raw.log")] == ["start", "before m", "after", "end"]
    shop.run()
    assert len(shop.rows("select what from raw.log")) == 4, "a run that builds nothing runs no hooks"


def test_contents_are_not_read_again_while_the_file_stays_the_same(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sao_dagster.warehouses.duckdb.session import DuckDBSession

    shop.model("orders", "select id from {{ source('raw', 'orders') }}").run()
    asked: list[object] = []
    read = DuckDBSession.versions
    monkeypatch.setattr(DuckDBSession, "versions", lambda self, *args: asked.append(args[0]) or read(self, *args))
    shop.run()
    shop.run()
    assert sum(len(each) for each in asked) <= 2  # type: ignore[arg-type]  # at most once each
    shop.sql("insert into raw.orders values (2, 20, null)")
    assert shop.run().outcomes["orders"] == "built: new_data"


def test_a_table_that_may_have_been_written_to_and_cannot_be_read_in_time_is_built(world: World) -> None:
    world.model("orders", "select 1 as id").model("report", "select id from {{ ref('orders') }}").run()
    world.sql("update main.orders set id = 99")
    world.options["observe_seconds"] = 0
    run = world.run("orders")
    assert run.outcomes == {"orders": "built: input_unknown"}
    assert run.decision("orders").evidence["unknown"] == ["orders"]
    assert world.rows("select id from main.orders") == [(1,)]
    del world.options["observe_seconds"]
    assert world.run().built == set()


@pytest.mark.warehouse("duckdb")
def test_models_that_run_statements_of_their_own_do_not_hide_changes(shop: World) -> None:
    """A hook that changes another table is seen by the next run."""
    shop.model("other", "select id, amount from {{ source('raw', 'orders') }}")
    shop.model("orders", "select id from {{ source('raw', 'orders') }}", post_hook="update main.other set amount = -1")
    shop.run("other")
    shop.run("orders")
    assert shop.run("other").outcomes["other"] == "built: relation_altered"


def test_a_view_that_becomes_a_table_of_wrong_sql_fails_once_and_stays(world: World) -> None:
    world.model("a", "select 1 as x", materialized="view").run()
    world.model("a", "select no_such_column as x", materialized="table")
    assert world.run().outcomes == {"a": "failed: build_error"}
    assert world.rows("select x from main.a") == [(1,)], "the old view is there"
    world.model("a", "select 2 as x", materialized="table")
    assert world.run().outcomes == {"a": "built: code_changed"}


@pytest.mark.warehouse("duckdb")
def test_each_file_of_a_list_and_hidden_ones_are_part_of_a_source(shop: World) -> None:
    shop.write("in/a.csv", "id\n1\n").write("in/sub/.b.csv", "id\n2\n")
    sources(shop, "{name: orders, meta: {external_location: \"read_csv(['in/a.csv', 'in/**/.b*.csv'])\"}}")
    shop.model("orders", "select id from {{ source('raw', 'orders') }}").run()
    assert shop.run().built == set()
    for path in ("in/a.csv", "in/sub/.b.csv", "in/sub/deeper/.b2.csv"):
        shop.write(path, "id\n7\n")
        assert shop.run().outcomes["orders"] == "built: new_data", path
    assert shop.rows("select id from main.orders") == [(7,), (7,), (7,)]
