"""What dbt lets templates name: functions, filters, relations, columns, the adapter, macros; with what dbt gives for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.world import World, on_each_warehouse


def rendered(world: World, template: str) -> str:
    """Return the text of a model, or what is wrong with it."""
    world.model("m", template)
    node = world.runner().project.nodes["m"]
    return str(node.error) if node.error else node.compiled.sql.strip()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ 'true' | as_bool }}{{ 4 | as_number }}{{ 'a' | as_text }}{{ 'b' | as_native }}", "true4ab"),
        ("a{{ nothing }}b", "ab"),
        ("{{ nothing is defined }}", "False"),
        ("{{ ['a'][3] }}b", "b"),
        ("{{ set('cab') | join(',') }}{{ set([3, 2]) | first }}{{ set('b') }}", "a,b,c2{'b'}"),
        ("{{ set_strict([1, 1]) | list }}{{ zip_strict([1], [2]) | list }}", "[1][(1, 2)]"),
        ("{{ set(4, 'none') }}{{ zip([1], [2, 3]) | list }}", "none[(1, 2)]"),
        ("{{ local_md5('a') }}", "0cc175b9c0f1b6a831c399e269772661"),
        ("{{ toyaml({'b': 1}) }}{{ fromyaml('a: [1, 2]').a[1] }}{{ fromyaml('[', 'none') }}", "b: 1\n2none"),
        ("{{ tojson({'b': 1}) }}{{ fromjson('{\"a\": 2}')['a'] }}{{ fromjson('[', 'none') }}", '{"b": 1}2none'),
        ("{{ diff_of_two_dicts({'A': ['x', 'Y']}, {'a': ['y']}) }}", "{'A': ['x']}"),
        ("{{ flags.FULL_REFRESH }}{{ flags.WHICH }}{{ flags.get('STORE_FAILURES') }}", "FalsebuildFalse"),
        ("{{ modules.re.sub('a', 'b', 'aa') }}{{ modules.itertools.chain([1], [2]) | list }}", "bb[1, 2]"),
        ("{{ api.Column.translate_type('string') }} {{ api.Column.numeric_type('numeric', 10, 2) }}", "TEXT numeric(10,2)"),
        ("{{ api.Column.create('a', 'string').quoted }} {{ api.Column('n', 'numeric', none, 9, 1).data_type }}", '"a" numeric(9,1)'),
        ("{{ api.Relation.create(identifier='i') }} {{ api.Relation.create(schema='s', identifier='i') }}", '"i" "s"."i"'),
        ("{{ this.include(database=false) }} {{ this.include(identifier=false, database=false) }}", '"main"."m" "main"'),
        ("{{ this.quote(schema=false).include(database=false) }}", 'main."m"'),
        ("{{ this.replace_path(identifier='n').include(database=false) }}", '"main"."n"'),
        ("{{ this.incorporate(path={'identifier': 'n'}, type='view').is_view }}", "True"),
        ("{{ this.without_identifier() }} {{ this.information_schema('tables') }}", '"shop"."main" "shop".INFORMATION_SCHEMA.tables'),
        ("{{ this is mapping }}{{ this.get('metadata').type.endswith('Relation') }}{{ this.name }}{{ this['schema'] }}", "TrueTruemmain"),
        ("{{ adapter.quote('a') }} {{ adapter.type() }} {{ schema }}", '"a" duckdb main'),
        ("{{ config.get('materialized', 'x') }} {{ config.get('unique_key', 'x') }} {{ config.get('of_my_own', 'x') }}", "table None x"),
        ("{{ context['var']('x', 3) }}{{ builtins.var('x', 4) }}{{ render('{{ 2 + 3 }}') }}", "345"),
        ("{{ dates_in_range('20240131', '20240201', out_fmt='%d') }}", "['31', '01']"),
        ("{{ should_full_refresh() }}{{ should_store_failures() }}", "FalseFalse"),
        ("{{ dbt.type_string() }} {{ type_int() }} {{ dbt.type_numeric() }}", "TEXT integer numeric(28,6)"),
        ("{{ model.config.tags }}{{ model.config['enabled'] }}{{ model.config.materialized }}", "[]Truetable"),
        ("{{ config.get('pre_hook') }}{{ config.get('contract').enforced }}{{ config.get('quoting') }}", "[]False{}"),
        ("{{ 'schema' in target }}{{ target is mapping }}{{ target.get('name') }}{{ selected_resources is defined }}", "TrueTruedevTrue"),
        ("{{ dbt['concat'](['a', 'b']) }} {{ dbt.get('nowhere', 'x') }}", "a || b x"),
    ],
)  # fmt: skip
def test_what_templates_name_is_what_it_is_in_dbt(world: World, template: str, expected: str) -> None:
    assert rendered(world, template) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("found.columns.items() | map(attribute=0) | list", "['a', 'b']"),
        ("found.columns['b'].values()", "('x', 'x', None)"),
        ("found.columns[1].values_distinct()", "('x', None)"),
        (
            "found.columns.b.values_without_nulls() if found.columns.b else found.columns['b'].values_without_nulls()",
            "('x', 'x')",
        ),
        ("found.rows[1].dict()", "{'a': 2, 'b': 'x'}"),
        ("found.rows[0].items()", "[('a', 1), ('b', 'x')]"),
        ("found.rows[0]['A']", "1"),
        ("found.rows[0].get('c', 'none')", "none"),
        ("found.column_names", "('a', 'b')"),
    ],
)
def test_a_table_of_results_is_read_like_one_of_agates(world: World, said: str, expected: str) -> None:
    query = "select * from (values (1, 'x'), (2, 'x'), (3, null)) t(a, b)"
    world.model("m", '{% set found = run_query("' + query + '") %}select $${{ ' + said + " if execute }}$$ as x")
    run = world.run()
    assert run.outcomes["m"] == "built: never_built", run.decision("m").evidence
    assert world.rows("select x from m") == [(expected,)]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ nothing() }}", "'nothing' is undefined"),
        ("{{ nothing.more }}", "'nothing' is undefined"),
        ("{{ set_strict(4) }}", "set_strict: 'int' object is not iterable"),
        ("{{ exceptions.raise_contract_error('a', 'b') }}", "a"),
        ("{{ exceptions.raise_compiler_error('not so') }}", "not so"),
        ("{{ try_or_compiler_error('no number', int_of, 'x') }}", "no number"),
        ("{% for each in this %}{% endfor %}", "used as if it were a dictionary"),
        (
            "{{ adapter.get_incremental_strategy_macro(context, 'x') }}",
            "adapter.get_incremental_strategy_macro: only dbt",
        ),
        ("{{ this.render_event_time_filtered() }}", "Relation.render_event_time_filtered: only dbt"),
        ("{{ metric('m') }}", "`metric` in a template: only dbt"),
        ("{{ graph.nodes.values() | list }}", "`graph` in a template: only dbt"),
        ("{{ model.columns }}", "model.columns: only dbt"),
        ("{{ target.get('role', 'x') }}", "target.role: only dbt itself does this"),
        ("{% for key in target %}{{ key }}{% endfor %}", "all of `target`: only dbt itself does this"),
        ("{{ selected_resources | length }}", "`selected_resources` in a template: only dbt itself does this"),
        ("{% if selected_resources %}a{% endif %}", "`selected_resources` in a template: only dbt itself does this"),
    ],
)
def test_what_is_wrong_or_needs_dbt_is_said(world: World, template: str, expected: str) -> None:
    assert expected in rendered(world, template)


def test_what_needs_dbt_may_be_named_where_it_is_not_used(world: World) -> None:
    assert rendered(world, "{% if false %}{{ graph.nodes }}{% endif %}select 1") == "select 1"


def test_while_a_project_is_read_nothing_can_be_taken_from_nothing(world: World) -> None:
    """What a query would give is not there yet: a template that goes on with it is read all the same, as by dbt."""
    world.model("m", "{{ nothing.rows[0].columns() }}{{ config(tags=['late']) }}{{ 'x' if execute else nothing() }}")
    assert world.runner().project.nodes["m"].tags == ("late",)


@on_each_warehouse
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("dbt.datediff(\"'2024-01-06'\", \"'2024-01-07'\", 'week')", 1),
        ("dbt.datediff(\"'2024-01-07'\", \"'2024-01-13'\", 'week')", 0),
        ("dbt.datediff(\"'2023-12-31'\", \"'2024-01-01'\", 'year')", 1),
        ("dbt.datediff(\"'2023-11-30'\", \"'2024-04-01'\", 'quarter')", 2),
        ("dbt.datediff(\"'2024-01-01 10:59:00'\", \"'2024-01-01 12:01:00'\", 'hour')", 2),
        ("dbt.datediff(\"'2024-01-01 10:59:59'\", \"'2024-01-01 11:00:01'\", 'minute')", 1),
        ("dbt.cast(dbt.dateadd('month', 3, \"date '2024-01-31'\"), 'date')", "2024-04-30") ,
        ("dbt.cast(dbt.dateadd('week', '1 + 1', \"date '2024-01-01'\"), 'date')", "2024-01-15"),
        ("dbt.last_day(\"date '2024-02-03'\", 'month')", "2024-02-29"),
        ("dbt.last_day(\"date '2024-02-03'\", 'quarter')", "2024-03-31"),
        ("dbt.split_part(\"'a,b'\", \"','\", 2)", "b"),
        ("dbt.split_part(\"'a,b'\", \"','\", -1)", "b"),
        ("dbt.date(2024, 2, 3)", "2024-02-03"),
        ("dbt.listagg('n', \"'|'\", 'order by n desc')", "b|a"),
        ("dbt.listagg('n', \"'|'\", 'order by n desc', 1)", "b"),
        ("dbt.any_value(\"'a'\")", "a"),
        ("dbt.hash(\"'a'\")", "0cc175b9c0f1b6a831c399e269772661"),
        ("dbt.length(dbt.concat([\"'a'\", dbt.right(\"'bc'\", 1)]))", 2),
        ("dbt.position(\"'b'\", dbt.replace(\"'aa'\", \"'aa'\", \"'ab'\"))", 2),
    ],
)  # fmt: skip
def test_the_functions_of_dbt_give_what_its_adapters_give(world: World, call: str, expected: Any) -> None:
    world.model(
        "m",
        "select {{ "
        + call
        + " }} as x from (values ('a'), ('b')) t(n)"
        + ("" if "listagg" in call or "any_" in call else " limit 1"),
    )
    run = world.run()
    assert run.outcomes["m"] == "built: never_built", run.decision("m").evidence
    [(found,)] = world.rows("select x from m")
    assert (int(found) if isinstance(expected, int) else str(found)) == expected


@on_each_warehouse
def test_series_and_spines(world: World) -> None:
    world.model("days", "{{ dbt.date_spine('day', \"date '2024-01-30'\", \"date '2024-02-02'\") }}")
    world.model("numbers", "{{ dbt.generate_series(3) }}")
    world.run()
    assert [str(day)[:10] for (day,) in world.rows("select * from days order by 1")] == [
        *("2024-01-30", "2024-01-31", "2024-02-01"),
    ], "the end is none of them"
    assert [int(number) for (number,) in world.rows("select * from numbers order by 1")] == [1, 2, 3]


@on_each_warehouse
def test_what_is_asked_of_the_adapter(world: World) -> None:
    """Columns by kind, what one relation has and another one has not, relations and schemas that are there or not."""
    world.model("a", "select 1 as id, cast('x' as varchar) as name, cast(1.5 as decimal(9, 2)) as price")
    world.model("b", "select 1 as id")
    world.model(
        "m",
        "{% set a, b = ref('a'), ref('b') %}{% set found = adapter.get_columns_in_relation(a) %}"
        "select '{{ found | map(attribute='name') | join(' ') }}' as names,"
        " '{{ found | map(attribute='data_type') | join(' ') | lower }}' as types,"
        " '{{ adapter.get_missing_columns(a, b) | map(attribute='column') | join(' ') }}' as missing,"
        " '{{ adapter.get_relation(a.database, a.schema, a.identifier).type }}' as kind,"
        " '{{ adapter.get_relation(a.database, a.schema, 'nowhere') is none }}' as gone,"
        " '{{ get_columns_in_query('select 1 as x, 2 as y') | join(' ') if execute }}' as of_query,"
        " '{{ load_relation(b).is_table }}' as is_table,"
        " '{{ adapter.check_schema_exists(target.database, 'nowhere') }}' as schema_there",
    )  # fmt: skip
    assert world.run().outcomes["m"] == "built: never_built"
    [row] = world.rows("select names, missing, kind, gone, of_query, is_table, schema_there from m")
    assert row == ("id name price", "name price", "table", "True", "x y", "True", "False")
    [(types,)] = world.rows("select types from m")
    expected = {
        "duckdb": "integer character varying(256) decimal(9,2)",
        "postgres": "integer character varying numeric(9,2)",
    }
    assert types == expected[world.warehouse]


def test_a_macro_of_a_package_is_found_by_any_name(world: World) -> None:
    """Also one whose name begins with an underscore; and it sees the project's own macros."""
    world.write("dbt_packages/tools/dbt_project.yml", "name: tools")
    world.write(
        "dbt_packages/tools/macros/t.sql",
        "{% macro _inner(x: int, y: list[str] = []) -%}{{ of_the_project() }}{{ x }}{%- endmacro %}",
    )
    world.write("macros/own.sql", "{% macro of_the_project() %}own {% endmacro %}")
    assert rendered(world, "{{ tools._inner(4) }}") == "own 4"


def test_between_the_blocks_of_a_macro_file_anything_may_stand(world: World) -> None:
    world.write(
        "macros/m.sql",
        "{{ nobody() }} {% if %}\n{# {% macro no() %} #}{% set x = 1 %}"
        "{% macro five() %}{{ \"{% endmacro %}\" | length }}{% endmacro %}{% raw %}{% macro raw() %}{% endraw %}"
        "{% materialization other, default %}{% endmaterialization %}\n{% docs d %}{{ }}{% enddocs %}",
    )  # fmt: skip
    assert rendered(world, "{{ five() }}") == "14"
    assert "'no' is undefined" in rendered(world, "{{ no() }}")
    world.write("macros/m.sql", "\n\n{{ nobody() }}\n{% macro five() %}{{ 1 + }}{% endmacro %}")
    assert "macros/m.sql:4" in rendered(world, "{{ five() }}")


def test_a_variable_may_be_a_template(world: World) -> None:
    world.write(
        "dbt_project.yml", "name: shop\nprofile: shop\nvars: {one: '{{ 1 + 1 }}', two: '{{ var(\"one\") }}2'}\n"
    )
    assert rendered(world, "{{ var('two') }}") == "22"


def test_arguments_of_tests_are_rendered_in_full(world: World) -> None:
    """In lists and dictionaries, too; and a text is a relation where its template gives one."""
    world.write(
        "tests/generic/t.sql",
        "{% test given(model, other, columns) %}select * from {{ other.include(database=false) }} "
        "where '{{ columns[0].name }}' <> 'id' or {{ columns[1] }} <> 3{% endtest %}",
    )  # fmt: skip
    arguments = {"other": "{{ ref('m') }}", "columns": [{"name": "{{ 'i' ~ 'd' }}"}, "{{ 1 + 2 }}"]}
    world.model("m", "select 1 as id")
    world.write(
        "models/t.yml", json.dumps({"models": [{"name": "m", "data_tests": [{"given": {"arguments": arguments}}]}]})
    )
    assert set(world.run().tests.values()) == {"ran: pass"}


def test_tests_whose_names_fold_to_one_are_told_apart_by_their_arguments(world: World) -> None:
    values = [
        {"accepted_values": {"arguments": {"values": [each]}, "config": {"severity": "warn"}}}
        for each in ("a b", "a-b")
    ]
    world.model("m", "select 'a b' as s")
    world.write(
        "models/t.yml", json.dumps({"models": [{"name": "m", "columns": [{"name": "s", "data_tests": values}]}]})
    )
    first = world.run()
    assert sorted(first.tests.values()) == ["ran: pass", "ran: warn"]
    world.write(
        "models/t.yml", json.dumps({"models": [{"name": "m", "columns": [{"name": "s", "data_tests": values[::-1]}]}]})
    )
    again = world.run()
    assert again.tests.keys() == first.tests.keys(), "their order says nothing"


@pytest.mark.parametrize("written", ["it's", "it''s"])
def test_values_with_a_quote_may_be_written_as_sql_writes_them(world: World, written: str) -> None:
    """As dbt takes them; and as they are, which dbt refuses."""
    world.model("m", "select 'it''s' as s")
    values = [{"accepted_values": {"values": [written]}}]
    columns = [{"name": "s", "data_tests": values}]
    world.write("models/t.yml", json.dumps({"models": [{"name": "m", "columns": columns}]}))
    [result] = world.run().tests.values()
    assert result.endswith(": pass")


def test_a_warning_of_a_template_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """However often it is rendered: for both ways of an incremental model, and where another model calls the macro again."""
    world.write("macros/odd.sql", "{% macro odd() %}{% do exceptions.warn('\\n  it is odd') %}1{% endmacro %}")
    world.model("often", "select {{ odd() }} as a, '{{ invocation_id }}' as run", materialized="incremental")
    world.model("other", "select {{ odd() }} + {{ odd() }} as a").run()
    assert sorted(each.getMessage() for each in caplog.records) == ["often: it is odd", "other: it is odd"]
