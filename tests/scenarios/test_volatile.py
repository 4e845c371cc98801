"""What depends on the time or on chance, followed through views, tests and children; and the clock that templates see."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from sao_dagster.load import restore_project
from sao_dagster.projects.templates.template_run import TemplateRun
from tests.world import World

VIEW = "select id, amount, current_date as today, date '2026-03-01' as day from {{ source('raw', 'orders') }}"


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders")
    return world.sql("create table raw.orders as select 1 as id, 7 as customer_id, 10 as amount")


def test_a_table_that_decides_by_a_column_of_a_view_expires_with_it(shop: World) -> None:
    shop.model("v", VIEW, materialized="view")
    shop.model("decides", "select id from {{ ref('v') }} where day > today - 7")
    shop.model("keeps", "select id, today from {{ ref('v') }}")
    shop.model("other", "select id from {{ ref('v') }}").run()
    outcomes = shop.wait(days=1).run().outcomes
    assert outcomes["decides"] == "built: volatile_expired"
    assert {outcomes[name] for name in ("v", "keeps", "other")} == {"reused: no_new_data"}


def test_a_view_whose_clock_is_ignored_makes_nothing_expire(shop: World) -> None:
    shop.model("v", VIEW, materialized="view", volatile="ignore")
    shop.model("decides", "select id from {{ ref('v') }} where day > today - 7").run()
    assert shop.wait(days=1).run().outcomes["decides"] == "reused: no_new_data"


def test_a_verdict_about_a_view_that_depends_on_the_date_expires(shop: World) -> None:
    shop.model("v", VIEW + " where amount > 0 and current_date > '2000-01-01'", materialized="view")
    shop.model("w", "select * from {{ ref('v') }}", materialized="view")
    shop.write("tests/old.sql", "select * from {{ ref('w') }} where id is null").run()
    assert shop.run().tests["old"] == "reused: pass"
    assert shop.wait(days=1).run().test("old").reason.value == "volatile_expired"


def test_a_verdict_about_a_volatile_view_proves_nothing_of_what_reads_it(shop: World) -> None:
    shop.model("v", "select id, amount from {{ source('raw', 'orders') }} where random() < 2", materialized="view")
    shop.model("m", "select id, amount, random() * 2 as chance from {{ ref('v') }}")
    entry = "{{name: {}, columns: [{{name: amount, data_tests: [not_null]}}]}}"
    shop.write("models/m.yml", f"models: [{entry.format('v')}, {entry.format('m')}]").run()
    run = shop.wait(hours=1).run("m")
    assert run.outcomes["m"] == "built: volatile_expired"
    assert run.tests["not_null_m_amount"] == "ran: pass"


def test_what_reads_the_time_of_a_build_follows_each_build(shop: World) -> None:
    shop.model("m", "select min(id) as id, now() as loaded_at from {{ source('raw', 'orders') }}")
    shop.model("v", "select *, 1 as one from {{ ref('m') }}", materialized="view")
    shop.model("through", "select max(loaded_at) as made_at from {{ ref('v') }}")
    shop.model("keeps", "select id, loaded_at from {{ ref('m') }}")
    shop.model("casts", "select id, cast(loaded_at as date) as loaded_at from {{ ref('m') }}")
    shop.model("below", "select count(*) as n from {{ ref('keeps') }} where loaded_at is not null")
    shop.write("tests/early.sql", "select * from {{ ref('m') }} where loaded_at > '2100-01-01'::timestamptz")
    shop.write("tests/filled.sql", "select * from {{ ref('m') }} where id is null").run()
    second = shop.run()
    assert not second.built and set(second.tests.values()) == {"reused: pass"}
    shop.sql("insert into raw.orders values (77, 7, 70)")
    run = shop.run()
    assert run.built == {"m", "through"}  # whose columns are as before, but for the time
    assert run.tests == {"early": "ran: pass", "filled": "reused: pass"}
    assert shop.rows("select made_at from main.through") == shop.rows("select loaded_at from main.m")
    assert not shop.run().built


def test_the_condition_of_an_incremental_model_may_be_what_is_volatile(shop: World) -> None:
    shop.model(
        "m",
        "select id from {{ source('raw', 'orders') }}{% if is_incremental() %} where current_date > '2000-01-01'{% endif %}",
        materialized="incremental",
        unique_key="id",
    ).run()
    assert shop.run().outcomes["m"] == "reused: no_new_data"
    assert shop.wait(days=1).run().outcomes["m"] == "built: volatile_expired"


def test_a_volatile_value_that_is_the_key_of_an_incremental_model_decides(shop: World) -> None:
    shop.model(
        "m",
        "select id, current_date as day from {{ source('raw', 'orders') }}",
        materialized="incremental",
        unique_key="day",
    ).run()
    assert shop.wait(days=1).run().outcomes["m"] == "built: volatile_expired"


# ------------------------------------------------------------------ the clock of templates


@pytest.mark.parametrize(
    ("sql", "hours", "expected"),
    [
        ("select id from {{ source('raw', 'orders') }} where '2000-01-01' < '{{ run_started_at.date() }}'", 15, True),
        ("select id from {{ source('raw', 'orders') }} where '2000-01-01' < '{{ run_started_at.date() }}'", 1, False),
        (
            "select id from {{ source('raw', 'orders') }} where '2000' < '{{ modules.datetime.datetime.now() }}'",
            1,
            True,
        ),
        (
            "select id, '{{ run_started_at }}' as at_, '{{ invocation_id }}' as run from {{ source('raw', 'orders') }}",
            99,
            False,
        ),
        ("select distinct id, '{{ run_started_at }}' as at_ from {{ source('raw', 'orders') }}", 99, False),
        ("{% if run_started_at.hour == 5 %}select 1 as id{% else %}select 2 as id{% endif %}", 1, True),
        ("{% do log(invocation_id) %}select id from {{ source('raw', 'orders') }}", 99, False),
    ],
)
def test_what_a_template_makes_of_the_time_expires(shop: World, sql: str, hours: int, expected: bool) -> None:
    shop.model("m", sql).run()
    assert shop.run().outcomes["m"] == "reused: no_new_data"
    assert (shop.wait(hours=hours).run().outcomes["m"] == "built: volatile_expired") is expected


def test_the_time_in_an_ephemeral_model_is_that_of_the_build(shop: World) -> None:
    shop.model("e", "select '{{ run_started_at.year }}' as year", materialized="ephemeral")
    shop.model("m", "select year, '{{ invocation_id }}' as run from {{ ref('e') }}")
    shop.model("n", "select year from {{ ref('e') }} where year > '2000'")
    shop.write("tests/now.sql", "select * from {{ ref('e') }} where year < '2020'").run()
    assert shop.rows("select count(*) from main.m where year > '2020' and run <> '00000000'") == [(1,)]
    assert shop.rows("select count(*) from main.n") == [(1,)]
    assert shop.wait(days=1).run().built == {"n"}


def test_a_branch_that_the_time_decides_on_is_part_of_the_code(shop: World) -> None:
    text = "{{% if run_started_at.year > 2020 %}}select {} as x{{% else %}}select 2 as x{{% endif %}}"
    shop.model("m", text.format(1)).run()
    assert shop.model("m", text.format(3)).run().outcomes["m"] == "built: code_changed"
    assert shop.rows("select x from main.m") == [(3,)]


def test_tests_hooks_and_configuration_see_the_real_time(shop: World) -> None:
    shop.sql("create table log (id varchar, year int)")
    log = "insert into log values ('{{ invocation_id }}', {{ run_started_at.year }})"
    shop.write(
        "dbt_project.yml",
        f'name: shop\nprofile: shop\nmodels:\n  +materialized: table\non-run-start: "{log}"\non-run-end: ["{log}"]\n',
    )
    shop.write("seeds/s.csv", "id\n1\n")
    shop.write("seeds/s.yml", f'seeds: [{{name: s, config: {{post_hook: "{log}"}}}}]')
    shop.model("m", "{{ config(alias='m_' ~ run_started_at.year, enabled=run_started_at.year > 2020) }}select 1 as id")
    where = 'config: {where: "{{ run_started_at.year }} > 2020"}'
    shop.write(
        "models/m.yml",
        f"models: [{{name: m, columns: [{{name: id, data_tests: [accepted_values: {{values: [2], {where}}}]}}]}}]",
    )
    shop.write("tests/late.sql", "select * from {{ ref('m') }} where {{ run_started_at.year }} < 2020")
    run = shop.run()
    verdicts = {name.partition("_")[0]: said for name, said in run.tests.items()}
    assert verdicts == {"accepted": "ran: fail", "late": "ran: pass"}
    rows = shop.rows("select id, year from log")
    assert len(rows) == 3 and {row[0] for row in rows} == {run.result.run_id} and all(row[1] > 2020 for row in rows)
    assert shop.rows("select count(*) from information_schema.tables where table_name like 'm_20%'") == [(1,)]


def test_days_end_in_the_time_zone_of_the_session(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.model("m", "select id from {{ source('raw', 'orders') }} where current_date > '2000-01-01'")
    shop.write("tests/old.sql", "select * from {{ source('raw', 'orders') }} where current_date < '2000-01-01'")
    with monkeypatch.context() as patch:
        patch.setattr("sao_dagster.warehouses.duckdb.session.DuckDBSession.time_zone", lambda _: "Asia/Tokyo")
        shop.run()  # half past nine in UTC, half past six in the evening there
        assert shop.wait(hours=5).run().outcomes["m"] == "reused: no_new_data"
        run = shop.wait(hours=1).run()
        assert run.outcomes["m"] == "built: volatile_expired"
        assert run.test("old").reason.value == "volatile_expired"
    assert shop.runner().warehouse.session().__enter__().time_zone() is not None


def test_templates_are_in_a_sandbox(shop: World) -> None:
    for text in ("cycler.__init__.__globals__.os.getpid()", "modules.re.enum.sys.path", "''.__class__.__mro__"):
        shop.model("m", "select '{{ " + text + " }}' as x")
        assert "m.sql" in str(shop.runner().project.broken["m"])


def test_a_macro_may_be_named_by_an_expression(shop: World) -> None:
    shop.write("macros/rates.sql", "{% macro rate_de() %}7{% endmacro %}")
    shop.model("m", "select {{ context['rate_' ~ 'de']() }} as n, {{ 1 if context.get('none') is none }} as one").run()
    assert shop.rows("select * from main.m") == [(7, 1)]
    shop.write("macros/rates.sql", "{% macro rate_de() %}8{% endmacro %}")
    assert shop.run().outcomes["m"] == "built: code_changed"


def test_an_incremental_model_may_ask_its_own_table(shop: World) -> None:
    shop.model(
        "m",
        "{% if is_incremental() %}{% set most = run_query('select max(id) from ' ~ this).columns[0].values()[0] %}{% endif %}"
        "select id from {{ source('raw', 'orders') }}{% if is_incremental() %} where id > {{ most }}{% endif %}",
        materialized="incremental",
    ).run()
    shop.sql("insert into raw.orders values (2, 7, 10)").run()
    assert shop.rows("select id from main.m order by id") == [(1,), (2,)]


def test_a_process_that_goes_on_configures_by_the_clock_of_each_run(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.model("m", "{{ config(alias='m_' ~ run_started_at.year, tags=['y' ~ run_started_at.year]) }}select 1 as id")
    opened = shop.opened()
    assert str(opened.runner().project.nodes["m"].relation.identifier) == f"m_{datetime.now(timezone.utc).year}"
    later = TemplateRun(datetime(2077, 5, 1, tzinfo=timezone.utc))
    monkeypatch.setattr("sao_dagster.projects.assembly.assemble.real_run", lambda: later)
    assert opened.runner().project.nodes["m"].relation.identifier == "m_2077"


def test_a_process_that_goes_on_reads_yaml_files_by_the_clock_of_each_run(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    year = "{{ run_started_at.year }}"
    shop.write(
        "macros/t.sql",
        "{% test late(model) %}{{ config(error_if='> ' ~ run_started_at.year) }}select 1 as x{% endtest %}",
    )
    shop.write(
        "models/m.yml",
        f"models: [{{name: m, config: {{unique_key: 'k_{year}'}}, data_tests: [late, not_null: "
        f"{{column_name: id, config: {{error_if: '> {year}', limit: '{year}'}}}}]}}]\n"
        f"sources: [{{name: land, tables: [{{name: x, identifier: 'x_{year}'}}]}}]",
    )
    shop.model("m", "select 1 as id")
    opened = shop.opened()
    later = TemplateRun(datetime(2077, 5, 1, tzinfo=timezone.utc))
    for place in ("projects.dbt_folder.project_file", "projects.assembly.assemble", "projects.assembly.data_tests"):
        monkeypatch.setattr(f"sao_dagster.{place}.real_run", lambda: later)
    project = opened.runner().project
    assert {test.error_if for test in project.tests.values()} == {"> 2077"}
    assert str(project.relation("source:land.x")).endswith('"x_2077"')
    assert {test.limit for test in project.tests.values()} == {None, 2077}
    opened.save(shop.root / "saved")
    assert restore_project(shop.root / "saved", shop.root) is None, "it would say what it said when it was saved"


@pytest.mark.parametrize("key", ["where", "error_if"])
def test_a_generic_test_that_configures_itself_by_the_clock_sees_the_real_time(shop: World, key: str) -> None:
    said = {"where": "run_started_at.year ~ ' < 2020'", "error_if": "'>= ' ~ (run_started_at.year - 2020)"}[key]
    block = "{{ config(" + key + "=" + said + ") }}select * from {{ model }}"
    shop.write("macros/t.sql", "{% test nothing(model) %}" + block + "{% endtest %}")
    shop.model("m", "select 1 as id").write("models/m.yml", "models: [{name: m, data_tests: [nothing]}]")
    verdict = {"where": "pass", "error_if": "warn"}[key]
    assert list(shop.run().tests.values()) == [f"ran: {verdict}"]
    assert list(shop.run().tests.values()) == [f"reused: {verdict}"]
    assert list(shop.wait(hours=1).run().tests.values()) == [f"ran: {verdict}"]


def test_a_project_that_says_nothing_by_the_clock_is_read_once(shop: World) -> None:
    opened = shop.model("m", "select current_date as day, '{{ run_started_at }}' as at_").opened()
    assert opened.runner().project is opened.project
