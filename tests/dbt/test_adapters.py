"""Projects on warehouses for which there is only an adapter of dbt: decided node by node, whatever the adapter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sao_dagster import load_project, select
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.records import Verdict
from sao_dagster.dbt.adapters.session import AdapterSession
from sao_dagster.dbt.process import DbtProcess
from sao_dagster.dbt.warehouse import DbtSession
from sao_dagster.errors import SaoError
from sao_dagster.run.report import RunResult
from sao_dagster.sql.dialects import GENERIC
from tests.dbt.bakery import MODELS, Bakery
from tests.dbt.beds import BEDS
from tests.dbt.project import outcomes

pytestmark = pytest.mark.slow

TABLES = ("loaves", "dark", "log", "kinds")
NEWS = "insert into sales values (3, 'rye', 9, '2026-01-02 00:00:00')"
OF_SALES = {"loaves", "dark", "log"}


ON_ONE = pytest.mark.parametrize("bakery", ["sqlite"], indirect=True)
"""For what is the same on all of them."""


@pytest.fixture(params=BEDS)
def bakery(request: pytest.FixtureRequest, tmp_path: Path, preloaded: Callable[[Path], Path]) -> Iterator[Bakery]:
    variable, kind = BEDS[request.param]
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no Python that has the adapter")
    python = Path(os.environ[variable])
    # the others have programs of theirs beside their Python
    created = kind(tmp_path, preloaded(python) if request.param in ("sqlite", "ducklake") else python)
    try:
        yield created.create()
    finally:
        created.close()


def test_a_first_run_gives_what_dbt_gives_a_second_one_builds_nothing_and_news_what_is_below(bakery: Bakery) -> None:
    said = bakery.dbt("build")
    tables = {name: bakery.rows(name) for name in TABLES}
    bakery.execute("drop view stg_sales", *(f"drop table {name}" for name in TABLES))
    first = bakery.run()
    assert outcomes(first) == dict.fromkeys(MODELS, "never_built")
    assert {name: bakery.rows(name) for name in TABLES} == tables
    assert bakery.run_results() == said
    second = bakery.run()
    assert outcomes(second) == {}
    assert {each.decision.outcome.value for each in second.tests} == {"reused"}
    bakery.execute(NEWS)
    assert outcomes(bakery.run()) == dict.fromkeys(OF_SALES, "new_data")
    assert bakery.rows("loaves") == [("oat", 4), ("rye", 12)]
    assert bakery.rows("log") == [(1, 3), (2, 4), (3, 9)]


@ON_ONE
def test_a_plan_says_what_a_run_will_do_and_a_comment_builds_nothing(bakery: Bakery) -> None:
    opened = bakery.open()
    assert str(opened.built_by).startswith("read and built by dbt")
    plan, _ = opened.runner().plan(select(opened.project))
    assert set(plan.to_build) == MODELS
    bakery.run()
    bakery.write("models/dark.sql", "-- rye\n" + (bakery.folder / "models/dark.sql").read_text())
    opened = bakery.open()
    plan, _ = opened.runner().plan(select(opened.project))
    assert not plan.to_build
    bakery.replace("models/dark.sql", "'dark'", "'light'")
    assert outcomes(bakery.run()) == {"dark": "code_changed"}
    assert bakery.rows("dark") == [("oat",)]


def test_what_is_missing_is_built_and_what_failed_is_not_taken_for_built(bakery: Bakery) -> None:
    bakery.run()
    bakery.execute("drop table dark")
    assert outcomes(bakery.run()) == {"dark": "relation_missing"}
    right = (bakery.folder / "models/loaves.sql").read_text()
    bakery.write("models/loaves.sql", "select nothing from {{ ref('stg_sales') }}")
    failed = bakery.run()
    assert outcomes(failed) == {"loaves": "build_error", "dark": "upstream_failed"}
    assert bakery.run_results()["model.bakery.loaves"][0] == "error"
    bakery.write("models/loaves.sql", right)
    assert outcomes(bakery.run()) == {"loaves": "never_built", "dark": "new_data"}
    assert bakery.rows("loaves") == [("oat", 4), ("rye", 3)]


def test_a_view_that_took_the_place_of_a_table_is_somebody_elses(bakery: Bakery) -> None:
    if not bakery.drops_views:
        pytest.skip("dbt cannot build a table there")
    bakery.run()
    bakery.execute("drop table dark", "create view dark as select 'spelt' as loaf")
    assert outcomes(bakery.run()) == {"dark": "relation_altered"}
    assert bakery.rows("dark") == [("rye",)]


def test_dbt_runs_data_tests_and_a_failure_holds_back_what_is_below(bakery: Bakery) -> None:
    bakery.run()
    bakery.execute("insert into sales values (3, null, 9, '2026-01-02 00:00:00')")
    result = bakery.run()
    assert {each.name for each in result.models if each.decision.outcome is Outcome.SKIPPED} == {"dark"}
    verdicts = {each.test.name: (each.verdict, each.failures) for each in result.tests}
    assert verdicts["not_null_loaves_loaf"] == (Verdict.FAIL, 1)
    assert verdicts["unique_loaves_loaf"] == (Verdict.PASS, 0)
    said = bakery.run_results()
    assert [status for name, status in said.items() if "not_null_loaves_loaf" in name] == [("fail", 1)]
    assert said["model.bakery.dark"][0] == "skipped"


def test_what_plain_dbt_has_built_before_can_be_adopted(bakery: Bakery) -> None:
    bakery.dbt("build")
    opened = bakery.open()
    found = opened.runner().adopt(select(opened.project))
    assert (set(found.nodes), found.refused) == (MODELS, {})
    assert outcomes(bakery.run()) == {}
    bakery.execute(NEWS)
    assert outcomes(bakery.run()) == dict.fromkeys(OF_SALES, "new_data")


@pytest.mark.parametrize("bakery", ["sqlite", "fakesnow", "bigquery"], indirect=True)
def test_a_branch_reads_what_it_does_not_build_in_another_environment(bakery: Bakery) -> None:
    bakery.write("models/seen.sql", "select count(*) as n from {{ ref('stg_sales') }}")

    def branch(*selected: str) -> RunResult:
        opened = load_project(bakery.folder, target="branch").deferring("dev")
        return opened.runner().run(select(opened.project, " ".join(selected)))

    bakery.run()
    first = branch("dark", "seen")
    assert outcomes(first) == {"dark": "never_built", "seen": "never_built"}
    assert first.deferral is not None and set(first.deferral.relations) == {"loaves", "kinds", "stg_sales"}
    place = ".".join(each for each in (bakery.branch_database, bakery.branch, "dark") if each)
    assert bakery.rows(place) == [("rye",)]
    bakery.write("models/loaves.sql", "select distinct 'oat' as loaf, 1 as pieces from {{ ref('stg_sales') }}")
    assert outcomes(branch("dark", "seen")) == {"seen": "input_unknown"}, "only what a view shows there is not known"
    bakery.run("loaves")
    assert outcomes(branch("dark")) == {"dark": "new_data"}
    assert bakery.rows(place) == []
    bakery.execute("drop table loaves")
    gone = branch("dark")
    assert outcomes(gone) == {"dark": "build_error"}
    assert gone.deferral is not None and gone.deferral.missing == ("loaves",)


@ON_ONE
def test_failing_rows_are_kept_by_dbt(bakery: Bakery) -> None:
    bakery.write("tests/few.sql", "{{ config(severity='warn', store_failures=true) }} select * from {{ ref('dark') }}")
    bakery.replace("dbt_project.yml", "models:", "data_tests:\n  +schema: null\nmodels:")
    few = {each.test.name: each for each in bakery.run().tests}["few"]
    assert (few.verdict, few.failures) == (Verdict.WARN, 1)
    assert bakery.rows("few") == [("rye",)]


def test_a_source_whose_version_is_not_known_is_read_each_time(bakery: Bakery) -> None:
    if bakery.versions == "exact":
        pytest.skip("it is known")
    bakery.write("models/costs.sql", "select sum(price) as price from {{ source('raw', 'prices') }}")
    bakery.run()
    assert outcomes(bakery.run()) == {"costs": "input_unknown"}


@pytest.fixture
def exact(bakery: Bakery) -> Bakery:
    """The project where tables have exact versions."""
    if bakery.versions != "exact":
        pytest.skip("its tables have no exact versions")
    return bakery


def test_exact_versions_tell_of_sources_and_of_what_others_do_to_models(exact: Bakery) -> None:
    exact.write("models/costs.sql", "select sum(price) as price from {{ source('raw', 'prices') }}")
    exact.run()
    assert outcomes(exact.run()) == {}
    exact.execute(*exact.upkeep, "select 1")
    assert outcomes(exact.run()) == {}
    exact.execute("update prices set price = 7 where loaf = 'oat'")
    assert outcomes(exact.run()) == {"costs": "new_data"}
    assert exact.rows("costs") == [(12,)]
    exact.execute("alter table prices add column since int")
    assert outcomes(exact.run()) == {"costs": "new_data"}
    exact.execute("insert into loaves values ('spelt', 1)")
    assert outcomes(exact.run()) == {"loaves": "relation_altered", "dark": "new_data"}
    assert exact.rows("loaves") == [("oat", 4), ("rye", 3)]


@ON_ONE
def test_what_a_view_shows_in_place_of_a_table_is_unknown_where_it_is_not_built(bakery: Bakery) -> None:
    bakery.write(
        "macros/shown.sql",
        """{% materialization shown, default %}
        {% set old = load_cached_relation(this) %}{% if old %}{% do adapter.drop_relation(old) %}{% endif %}
        {% call statement('main') %}create view {{ this }} as {{ sql }}{% endcall %}{% do adapter.commit() %}
        {{ return({'relations': [this.incorporate(type='view')]}) }}{% endmaterialization %}""",
    )
    bakery.write("models/kept.sql", "{{ config(materialized='shown') }} select * from {{ ref('stg_sales') }}")
    bakery.write("models/counted.sql", "select count(*) as n from {{ ref('kept') }}")
    bakery.run()
    assert outcomes(bakery.run()) == {}
    bakery.execute(NEWS)
    assert outcomes(bakery.run("counted")) == {"counted": "input_unknown"}
    assert bakery.rows("counted") == [(3,)]


def test_an_increment_of_no_rows_is_no_news_and_what_plain_dbt_builds_is_somebody_elses(exact: Bakery) -> None:
    exact.write("models/last.sql", "select max(id) as id from {{ ref('log') }}")
    exact.run()
    exact.execute("update sales set pieces = 8 where id = 1")
    exact.execute("update sales set loaded_at = '2026-01-03 00:00:00' where id = 1")
    news = {"last"} if exact.increments_of_none_are_news else set()
    assert outcomes(exact.run()) == dict.fromkeys(OF_SALES | news, "new_data")
    exact.dbt("build", "--select", "loaves")
    assert outcomes(exact.run()) == {"loaves": "relation_altered", "dark": "new_data"}
    assert outcomes(exact.run()) == {}


def _meanwhile(bakery: Bakery, patch: pytest.MonkeyPatch, model: str, statement: str) -> None:
    """Let somebody else run a statement when dbt has built a model, and before that is recorded."""
    original, done = DbtProcess.ask, threading.Event()

    def ask(self: DbtProcess, name: str, /, **arguments: object) -> object:
        answer = original(self, name, **arguments)
        if name == "build" and arguments["node"] == f"model.bakery.{model}" and not done.is_set():
            done.set()
            if bakery.takes_two:
                bakery.execute(statement)
            else:
                original(self, "adapter", about="execute", arguments={"sql": statement})
        return answer

    patch.setattr(DbtProcess, "ask", ask)


def test_a_write_in_the_middle_of_a_build_is_not_taken_for_the_build(
    exact: Bakery, monkeypatch: pytest.MonkeyPatch
) -> None:
    _meanwhile(exact, monkeypatch, "loaves", f"insert into {exact.at}loaves values ('spelt', 1)")
    exact.run()
    assert ("spelt", 1) in exact.rows("loaves")
    assert outcomes(exact.run()) == {"loaves": "relation_altered", "dark": "new_data"}
    assert exact.rows("loaves") == [("oat", 4), ("rye", 3)]
    assert outcomes(exact.run()) == {}


def test_a_table_that_took_the_place_of_what_was_built_is_not_taken_for_it(
    exact: Bakery, monkeypatch: pytest.MonkeyPatch
) -> None:
    _meanwhile(exact, monkeypatch, "dark", f"create or replace table {exact.at}dark as select 'spelt' as loaf")
    exact.run()
    assert outcomes(exact.run()) == {"dark": "relation_altered"}
    assert exact.rows("dark") == [("rye",)]


def test_who_writes_while_an_increment_has_nothing_to_write_is_not_taken_for_it(
    exact: Bakery, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact.run()
    exact.execute("update sales set loaded_at = '2026-01-03 00:00:00' where id = 1")
    _meanwhile(exact, monkeypatch, "log", f"insert into {exact.at}log values (0, 5)")
    assert "log" in outcomes(exact.run())
    opened = exact.open()
    recorded = opened.store.builds(opened.environment)["log"].data_version
    with opened.warehouse.session() as session:
        relation = opened.project.nodes["log"].relation
        assert session.versions(session.catalog(), {relation: ()}, 10.0)[relation] not in (recorded, None)


@ON_ONE
def test_what_a_template_asks_is_asked_again_through_the_adapter(bakery: Bakery) -> None:
    columns = "adapter.get_columns_in_relation(source('raw', 'sales')) | map(attribute='name') | join(' ') | lower"
    counted = "run_query('select count(*) from ' ~ ref('kinds')).columns[0].values()[0] if execute"
    bakery.write(
        "models/asks.sql",
        f"-- depends_on: {{{{ ref('kinds') }}}}\nselect '{{{{ {columns} }}}}' as names, {{{{ {counted} }}}} as kinds",
    )
    bakery.run("kinds")
    bakery.run()
    assert outcomes(bakery.run()) == {}
    bakery.execute("alter table sales add column since int")
    assert outcomes(bakery.run())["asks"] == "new_data"
    assert bakery.rows("asks") == [("id loaf pieces loaded_at since", 2)]


@ON_ONE
def test_a_view_is_made_anew_where_the_columns_below_it_have_changed(bakery: Bakery) -> None:
    bakery.write(
        "models/all_prices.sql", "{{ config(materialized='view') }} select * from {{ source('raw', 'prices') }}"
    )
    bakery.run()
    assert outcomes(bakery.run()) == {}
    bakery.execute("alter table prices add column since int")
    assert outcomes(bakery.run()) == {"all_prices": "new_data"}


@ON_ONE
def test_of_many_statements_those_that_are_refused_are_told_from_the_others(bakery: Bakery) -> None:
    with bakery.open().warehouse.session() as session:
        assert isinstance(session, DbtSession)
        with session.answering() as asked:
            assert isinstance(asked, AdapterSession)
            sales = "select id, loaf, pieces from sales order by id"
            assert asked.rows([sales, "select nothing"], ["pieces", "loaf"]) == [[("3", "rye"), ("4", "oat")], None]


def test_a_full_refresh_builds_increments_from_the_start(bakery: Bakery) -> None:
    bakery.run()
    bakery.execute("delete from sales where id = 1")
    bakery.run(mode=Mode.FULL_REFRESH)
    assert bakery.rows("log") == [(2, 4)]
    assert outcomes(bakery.run()) == {}


@ON_ONE
@pytest.mark.parametrize("asked", ["adapter", "begin", "build"])
def test_a_killed_dbt_leaves_nothing_recorded_that_was_not_built(
    bakery: Bakery, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    original, done = DbtProcess.asking, threading.Event()

    def asking(self: DbtProcess, name: str, /, **arguments: object) -> object:
        if name == asked and arguments.get("node") in (None, "model.bakery.loaves") and not done.is_set():
            done.set()
            os.kill(self._process.pid, signal.SIGKILL)
        return original(self, name, **arguments)

    monkeypatch.setattr(DbtProcess, "asking", asking)
    built: dict[str, str] = {}
    with suppress(SaoError):
        built = outcomes(bakery.run())
    assert done.is_set()
    expected = {name: each for name, each in outcomes(bakery.run()).items() if name in ("loaves", "dark")}
    if built.get("loaves") != "never_built":
        assert expected == dict.fromkeys(("loaves", "dark"), "never_built")
    assert outcomes(bakery.run()) == {}
    assert bakery.rows("loaves") == [("oat", 4), ("rye", 3)]


def test_two_runs_at_once_build_everything_once(bakery: Bakery) -> None:
    if not bakery.takes_two:
        pytest.skip("one process has it at a time")
    bakery.open()  # so that both begin with what dbt has said
    command = [sys.executable, "-m", "sao_dagster.cli", "build", "--json", "--project-dir", str(bakery.folder)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    said = [json.loads(run.communicate()[0]) for run in runs]
    built = [each["name"] for one in said for each in one["models"] if each["outcome"] == "built"]
    assert sorted(built) == sorted(MODELS)


@ON_ONE
def test_of_a_dialect_that_nobody_knows_the_text_counts(bakery: Bakery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sao_dagster.warehouses.described.dialect_of_adapter", lambda _: GENERIC)
    bakery.run()
    assert outcomes(bakery.run()) == {}
    bakery.replace("models/dark.sql", "select", "select /* rye */")
    assert outcomes(bakery.run()) == {"dark": "code_changed"}
