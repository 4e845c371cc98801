"""Data tests that are proven from the SQL: what counts as a fact, what does not, and what happens when a proof is wrong."""

from __future__ import annotations

import json

import pytest

from sao_dagster.core.messages import Message
from sao_dagster.core.proofs import Proof
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import select
from sao_dagster.errors import ProjectError
from sao_dagster.run.events import Event
from sao_dagster.sql.inference.infer import Properties
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse

KEYS = """
models:
  - name: orders
    columns:
      - name: order_id
        data_tests: [unique, not_null]
      - name: status
        data_tests: [{accepted_values: {values: [placed, shipped]}}]
  - name: customers
    columns:
      - name: customer_id
        data_tests: [unique, not_null]
  - name: joined
    columns:
      - name: customer_id
        data_tests: [not_null]
      - name: order_id
        data_tests: [unique, not_null]
      - name: status
        data_tests: [{accepted_values: {values: [placed, shipped, returned]}}]
"""


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders", "customers")
    world.sql(
        "create table raw.orders as select * from (values (1, 7, 'placed'), (2, 8, 'shipped'), (3, 8, 'placed')) t(order_id, customer_id, status)",
        "create table raw.customers as select * from (values (7), (8), (9)) t(customer_id)",
    )
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    world.model("customers", "select * from {{ source('raw', 'customers') }}")
    world.model(
        "joined",
        "select c.customer_id, o.order_id, o.status from {{ ref('customers') }} c left join {{ ref('orders') }} o using (customer_id)",
    )
    world.write("models/keys.yml", KEYS)
    return world


def test_the_example_of_dbt(shop: World) -> None:
    """A left join pads with nulls: the key stays unique, and `not_null` has to be run; here it fails."""
    run = shop.run()
    assert run.tests["unique_joined_order_id"] == "proven: pass"
    assert run.tests["not_null_joined_customer_id"] == "proven: pass"
    assert run.tests["accepted_values_joined_status__placed__shipped__returned"] == "proven: pass"
    assert run.tests["not_null_joined_order_id"] == "ran: fail"


def test_a_proof_names_the_facts_it_rests_on_with_their_versions(shop: World) -> None:
    run = shop.run()
    evidence = run.test("unique_joined_order_id").evidence
    facts = {each["because"]: each for each in json.loads(json.dumps(evidence["facts"]))}
    assert {"unique_orders_order_id", "unique_customers_customer_id"} <= facts.keys()
    built = {each.name: str(each.data_version) for each in run.result.models}
    assert facts["unique_orders_order_id"]["version"] == built["orders"]
    assert "at_most_one_match" in evidence["rules"]


@pytest.mark.parametrize(
    "weaker",
    [
        "unique: {config: {where: customer_id > 0}}",
        "unique: {config: {severity: warn}}",
        "unique: {config: {error_if: '> 5', warn_if: '> 5'}}",
        "unique: {config: {limit: 5}}",
        "unique: {config: {fail_calc: 'sum(n_records)'}}",
    ],
)
def test_a_test_with_settings_of_its_own_is_no_fact(shop: World, weaker: str) -> None:
    text = KEYS.replace(
        "- name: customer_id\n        data_tests: [unique, not_null]",
        f"- name: customer_id\n        data_tests: [{{{weaker}}}]",
    )
    assert text != KEYS
    shop.write("models/keys.yml", text)
    assert shop.run().tests["unique_joined_order_id"] == "ran: pass"


def test_an_overridden_macro_gives_no_fact(shop: World) -> None:
    shop.write(
        "macros/tests.sql", "{% macro default__test_unique(model, column_name) %}select 1 where 1 = 0{% endmacro %}"
    )
    assert shop.run().tests["unique_joined_order_id"] == "ran: pass"


def test_a_fact_about_other_content_does_not_stand(shop: World) -> None:
    """The orders are rebuilt without their tests, with a key that is none any more."""
    shop.run()
    shop.sql("insert into raw.orders values (1, 9, 'placed')")
    shop.run(tests=False)
    run = shop.run("joined")
    assert run.tests["unique_joined_order_id"] == "ran: fail"


def test_a_failed_test_is_no_fact(shop: World) -> None:
    shop.write(
        "models/keys.yml",
        KEYS.replace("data_tests: [unique, not_null]", "data_tests: [{unique: {severity: warn}}, not_null]", 1),
    )
    shop.sql("insert into raw.orders values (1, 9, 'placed')")
    run = shop.run()
    assert run.tests["unique_orders_order_id"] == "ran: warn"
    assert run.tests["unique_joined_order_id"] == "ran: fail"


def test_facts_go_through_views_and_ephemerals(shop: World) -> None:
    shop.model("seen", "select customer_id, order_id from {{ ref('joined') }}", materialized="view")
    shop.model(
        "inside",
        "select customer_id, order_id from {{ ref('seen') }} where order_id is not null",
        materialized="ephemeral",
    )
    shop.model("last", "select order_id, max(customer_id) as customer_id from {{ ref('inside') }} group by order_id")
    shop.write(
        "models/last.yml",
        "models: [{name: last, columns: [{name: order_id, data_tests: [unique, not_null]}, {name: customer_id, data_tests: [not_null]}]}]",
    )
    shop.write(
        "models/keys.yml",
        KEYS.replace(
            "[unique, not_null]\n      - name: status\n        data_tests: [{accepted_values: {values: [placed, shipped, returned]}}]",
            "[unique]",
        ),
    )
    run = shop.run()
    assert {name: each for name, each in run.tests.items() if "last" in name} == {
        "unique_last_order_id": "proven: pass", "not_null_last_order_id": "proven: pass", "not_null_last_customer_id": "proven: pass",
    }  # fmt: skip


def test_the_content_of_seeds_is_a_fact(shop: World) -> None:
    shop.write("seeds/countries.csv", "code,name\nfr,France\nde,Germany\nat,\n")
    shop.model("named", "select code, name from {{ ref('countries') }}")
    shop.write(
        "models/named.yml",
        "models: [{name: named, columns: [{name: code, data_tests: [unique, not_null]}, {name: name, data_tests: [unique, {not_null: {severity: warn}}]}]}]",
    )
    run = shop.run("countries+")
    assert run.tests == {
        "unique_named_code": "proven: pass", "not_null_named_code": "proven: pass", "unique_named_name": "proven: pass",
        "not_null_named_name": "ran: warn",
    }  # fmt: skip
    assert run.test("unique_named_code").evidence["facts"][0]["because"] == "content"  # type: ignore[index,call-overload]


def test_constraints_that_the_warehouse_enforces_are_facts(shop: World) -> None:
    shop.sql(
        "create table raw.codes (code int primary key, name text unique, kind int not null)",
        "insert into raw.codes values (1, null, 1), (2, 'a', 1)",
    )
    shop.write("models/more.yml", "sources: [{name: raw2, schema: raw, tables: [{name: codes}]}]")
    shop.model("codes", "select * from {{ source('raw2', 'codes') }}")
    shop.write(
        "models/codes.yml",
        "models: [{name: codes, columns: [{name: code, data_tests: [unique, not_null]}, {name: name, data_tests: [unique]}, {name: kind, data_tests: [not_null]}]}]",
    )
    assert set(shop.run("codes").tests.values()) == {"proven: pass"}


def test_tests_of_sources_are_facts_where_nobody_else_can_write(shop: World) -> None:
    """On PostgreSQL a source may change between its test and what is built from it."""
    shop.source("orders", "customers", extra="        columns: [{name: customer_id, data_tests: [unique]}]")
    outcome = shop.run("source:raw.customers+").tests["unique_customers_customer_id"]
    assert outcome == ("proven: pass" if shop.warehouse == "duckdb" else "ran: pass")


@pytest.mark.parametrize(
    "config",
    [
        {"post_hook": "insert into {{ this }} select * from {{ this }}"},
        {"post_hook": "analyze; delete from {{ this }} where 1 = 0"},
        {"materialized": "incremental"},
    ],
)
def test_nothing_is_proven_of_what_is_more_than_its_query(shop: World, config: dict[str, str]) -> None:
    shop.model(
        "joined", "select distinct customer_id, 1 as order_id, 'placed' as status from {{ ref('orders') }}", **config
    )
    assert all(each.startswith("ran") for name, each in shop.run().tests.items() if "joined" in name)


def test_harmless_hooks_do_not_keep_from_proofs(shop: World) -> None:
    shop.model(
        "customers",
        "select * from {{ source('raw', 'customers') }}",
        post_hook="create index on {{ this }} (customer_id)" if shop.warehouse == "postgres" else "analyze",
    )
    assert shop.run().tests["unique_joined_order_id"] == "proven: pass"


@pytest.mark.warehouse("duckdb")  # rows changed in place are not noticed on PostgreSQL
def test_what_somebody_changed_is_no_fact(shop: World) -> None:
    """The customers are not looked at in a run without them, so their tests say nothing of what they are now."""
    shop.run()
    shop.sql("insert into main.customers values (7)")
    shop.model(
        "joined",
        "select o.order_id, customer_id, o.status from {{ ref('customers') }} left join {{ ref('orders') }} o using (customer_id)",
    )
    assert shop.run("joined").tests["unique_joined_order_id"] == "ran: fail"


def test_a_test_that_a_view_with_a_clock_passed_proves_nothing(shop: World) -> None:
    shop.model(
        "seen",
        "select order_id, case when now() > '2020-01-01' then 'placed' end as status from {{ ref('orders') }}",
        materialized="view",
    )
    shop.model("behind", "select * from {{ ref('seen') }}", materialized="view")
    shop.model("last", "select order_id, status from {{ ref('behind') }}")
    tests = "columns: [{name: order_id, data_tests: [not_null]}, {name: status, data_tests: [not_null]}]"
    shop.write(
        "models/seen.yml", f"models: [{{name: seen, {tests}}}, {{name: behind, {tests}}}, {{name: last, {tests}}}]"
    )
    run = shop.run()
    assert {run.tests[f"not_null_{name}_status"] for name in ("seen", "behind", "last")} == {"ran: pass"}
    assert run.tests["not_null_last_order_id"] == "proven: pass"


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        ({"duckdb": "macro initcap(x) as null", "postgres": "function initcap(x varchar) returns text return null"}, "ran: fail"),
        ({"duckdb": "macro ours(x) as null", "postgres": "function ours(x text) returns text return null"}, "proven: pass"),
        (
            {"duckdb": "macro length(x) as null", "postgres": "operator @@@ (leftarg = text, rightarg = text, procedure = texteq)"},
            "ran: pass",
        ),
    ],
)  # fmt: skip
def test_what_somebody_redefined_is_not_what_it_was(shop: World, made: dict[str, str], outcome: str) -> None:
    """A function of that name, one that nothing calls, and one that stands for what the engine calls by itself."""
    shop.sql(f"create {made[shop.warehouse]}")
    shop.model(
        "joined",
        "select initcap(cast(status as varchar(9))) as customer_id, 1 as order_id, 'placed' as status from {{ ref('orders') }}",
    )
    shop.sql("alter table raw.orders alter column status set not null")
    if shop.warehouse == "duckdb" and "initcap" not in made["duckdb"]:
        shop.model(
            "joined", "select upper(status) as customer_id, 1 as order_id, 'placed' as status from {{ ref('orders') }}"
        )
    shop.write(
        "models/keys.yml",
        KEYS.replace("- name: status\n        data_tests: [", "- name: status\n        data_tests: [not_null, ", 1),
    )
    assert shop.run().tests["not_null_joined_customer_id"] == outcome


def test_no_proof_without_need_or_where_it_is_not_wanted(shop: World) -> None:
    shop.run()
    assert shop.run(mode=Mode.FORCE).tests["unique_joined_order_id"] == "ran: pass"
    shop.sql("insert into raw.orders values (4, 9, 'placed')")
    shop.write("sao.yml", "prove_tests: false")
    assert shop.run().tests["unique_joined_order_id"] == "ran: pass"


def test_settings_that_mean_nothing_are_refused(shop: World) -> None:
    shop.write("sao.yml", "verify_proofs: often")
    with pytest.raises(ProjectError, match=r"sao\.yml:1: verify_proofs: Input should be a valid integer, got 'often'"):
        shop.run()


def test_proofs_can_be_verified(shop: World) -> None:
    run = shop.write("sao.yml", "verify_proofs: 1").run()
    assert run.tests["unique_joined_order_id"] == "ran: pass"
    assert run.test("unique_joined_order_id").reason.value == "proof_verified"


def test_a_wrong_proof_is_said_loudly_and_the_test_fails(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Properties, "not_null", lambda self, place: Proof("a_wrong_rule"))
    said: list[Event] = []
    run = shop.write("sao.yml", "verify_proofs: 1").run(events=said)
    assert run.tests["not_null_joined_order_id"] == "ran: fail"
    assert run.test("not_null_joined_order_id").evidence["refuted"] is True
    (message,) = [each.text for each in said if isinstance(each, Message)]
    assert "A PROOF WAS WRONG: not_null_joined_order_id of joined" in message
    assert "a_wrong_rule" in message


def test_a_plan_foresees_proofs(shop: World) -> None:
    shop.run(tests=False)
    runner = shop.runner()
    planned, _ = runner.plan(select(runner.project))
    assert planned.tests["unique_joined_order_id"].outcome.value == "ran"  # the facts are not known yet
    shop.run("orders customers")
    planned, _ = runner.plan(select(runner.project))
    assert planned.tests["unique_joined_order_id"].outcome.value == "proven"


@pytest.mark.warehouse("duckdb")
def test_a_table_that_is_named_without_its_schema_is_not_the_one_of_another_schema(shop: World) -> None:
    shop.sql(
        "create table raw.codes (code int primary key)",
        "insert into raw.codes values (1)",
        "create table main.codes as select 1 as code union all select 1",
    )
    shop.write("models/more.yml", "sources: [{name: raw2, schema: raw, tables: [{name: codes}]}]")
    shop.model("picked", "select code from codes where code in (select code from {{ source('raw2', 'codes') }})")
    shop.write("models/picked.yml", "models: [{name: picked, columns: [{name: code, data_tests: [unique]}]}]")
    assert shop.run("picked").tests["unique_picked_code"] == "ran: fail"
