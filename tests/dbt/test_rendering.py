"""What dbt's process renders for fingerprints is what dbt would render in each of the runs, however little of it is rendered."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sao_dagster.dbt.process import CHILD, DbtProcess
from tests.dbt.project import LittleProject

pytestmark = pytest.mark.slow

LOOK_INTO = " | replace('#', '')"
"""What changes nothing in a text, but makes something of it, so that it is rendered in all runs."""


INCREMENT = (
    "{{ config(materialized='incremental') }} select '{{ run_started_at.date()#}}' as day"
    "{% if is_incremental() %} where '{{ invocation_id#}}' > (select max(day) from {{ this }}){% endif %}"
)


LEAVES_SOMETHING = {
    "what_it_was_answered": (
        "{% if is_incremental() %}{% call statement('last', fetch_result=true) %}select 7{% endcall %}{% endif %}"
        "{% set last = load_result('last') %}select {{ last['data'][0][0] if last else 1 }} as one"
    ),
    "a_longer_list": (
        "{% set names = config.get('meta')['names'] if execute else ['one'] %}{% do names.append('two') %}"
        "select 1 as {{ names | join(', 1 as ') }}"
    ),
    "a_longer_list_of_the_model": (
        "{% set names = model.config.meta['names'] if execute else ['one'] %}{% do names.append('two') %}"
        "select 1 as {{ names | join(', 1 as ') }}"
    ),
    "a_name": "select 1 as {{ context.get('name', 'one') }}{% do context.update({'name': 'two'}) %}",
}
"""Templates that would be rendered to something else where they find what they have left."""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What dbt was asked to prepare said, by the name of the node."""
    found, ask = dict[str, Any](), DbtProcess.ask

    def heard(process: DbtProcess, name: str, /, **arguments: Any) -> Any:
        answer = ask(process, name, **arguments)
        if name == "prepare":
            found.update((key.split(".")[2], each) for key, each in json.loads(answer)["rendered"].items())
        return answer

    monkeypatch.setattr(DbtProcess, "ask", heard)
    return found


@pytest.mark.parametrize(
    "template",
    [
        "select 1 as id, '{{ run_started_at.isoformat()#}}' as at, '{{ invocation_id#}}' as run",
        "select '{{ run_started_at.strftime('%Y')#}}' as year, '{{ run_started_at.strftime('%H')#}}' as hour",
        INCREMENT,
        "select '{{ var('day')#}}' as day, {{ hour()#}} as hour",
    ],
)
def test_the_text_of_another_run_is_what_it_is_rendered_to_then(
    little: LittleProject, said: dict[str, Any], template: str
) -> None:
    little.replace("dbt_project.yml", "models:", "vars: {day: \"{{ run_started_at.strftime('%d') }}\"}\nmodels:")
    little.write(
        "macros/hour.sql", "{% macro hour() %}{{ modules.datetime.datetime.now().strftime('%H') }}{% endmacro %}"
    )
    little.write("models/written.sql", template.replace("#", ""))
    little.write("models/looked_into.sql", template.replace("#", LOOK_INTO))
    little.open()
    written, truth = said["written"], said["looked_into"]
    assert written["asks_time"]
    pairs = [pairs_of(each, truth) for each in (written, truth)]
    assert pairs[0][0] == pairs[1][0]
    known: list[set[int]] = [set(), set()]
    for found, true in zip(pairs[0][1:], pairs[1][1:], strict=True):
        for number, (first, text, other) in enumerate(zip(pairs[0][0], found, true, strict=True)):
            assert text in (first, other)
            places = differing(first, other)
            assert text == other or places <= known[number], "what is left out differs where others before it do"
            known[number] |= places


def pairs_of(rendered: dict[str, Any], truth: dict[str, Any]) -> list[list[str]]:
    """Return the SQL and that of an increment, as of fingerprints and in all other runs."""
    pairs = [(rendered["sql"], rendered["incremental_sql"]), *(rendered["others"] or [()] * len(truth["others"]))]
    return [[(text or "").replace("looked_into", "written") for text in pair] for pair in pairs]


def differing(text: str, other: str) -> set[int]:
    """Return which words are not the same."""
    return {place for place, pair in enumerate(zip(text.split(), other.split(), strict=True)) if len({*pair}) > 1}


@pytest.mark.parametrize("left", LEAVES_SOMETHING)
def test_no_rendering_finds_what_another_one_has_left(little: LittleProject, said: dict[str, Any], left: str) -> None:
    config = "{{ config(materialized='incremental', meta={'names': ['one']}) }}"
    little.write("models/leaving.sql", f"{config}{LEAVES_SOMETHING[left]}, '{{{{ run_started_at }}}}' as at")
    little.run("leaving")
    found = said["leaving"]
    built = little.folder / "target/compiled/little/models/leaving.sql"
    others = [found["sql"], found["incremental_sql"], *(text for pair in found["others"] for text in pair)]
    texts = [text.partition(", '")[0] for text in (built.read_text(), *others)]
    assert len(texts) == 15
    assert {*texts[:2], *texts[3::2]} == {texts[0]}
    assert {*texts[2::2]} == {texts[0].replace("1", "7") if left == "what_it_was_answered" else texts[0]}


def test_an_ephemeral_model_brings_its_time_along(little: LittleProject, said: dict[str, Any]) -> None:
    little.write("models/timed.sql", "{{ config(materialized='ephemeral') }} select '{{ run_started_at }}' as at")
    little.write("models/timeless.sql", "{{ config(materialized='ephemeral') }} select 1 as one")
    little.write("models/over.sql", "select * from {{ ref('timed') }}, {{ ref('timeless') }}")
    little.write("models/over_timeless.sql", "select *, '{{ run_started_at }}' as at from {{ ref('timeless') }}")
    little.write("models/later.sql", "select * from {{ ref('timed') }}")
    little.open()
    assert not said["timeless"]["asks_time"]
    for name in ("over", "over_timeless", "later"):
        texts = {said[name]["sql"], *(full for full, _ in said[name]["others"])}
        assert said[name]["asks_time"]
        assert len(texts) == 6, f"all but the run that has another id alone differ in {name}"
        assert all("2000-01-0" in text or "2001-06-17" in text for text in texts)


def test_an_error_in_another_run_leaves_no_ephemeral_model_of_that_run(
    little: LittleProject, said: dict[str, Any]
) -> None:
    little.write("models/timed.sql", "{{ config(materialized='ephemeral') }} select '{{ run_started_at }}' as at")
    failing = "{% if is_incremental() and run_started_at.hour == 6 %}{{ exceptions.raise_compiler_error('early') }}{% endif %}"
    for name in ("first", "last"):
        little.write(f"models/{name}.sql", "select * from {{ ref('timed') }}")
        little.write(
            f"models/failing_{name}.sql",
            f"{{{{ config(materialized='incremental') }}}} {failing} select * from {{{{ ref('timed') }}}}",
        )
    little.open()
    assert all("early" in said[f"failing_{name}"]["error"] for name in ("first", "last"))
    assert all("'2000-01-01 00:00:00+00:00' as at" in said[name]["sql"] for name in ("first", "last"))


def test_what_has_not_been_looked_at_counts_where_it_is_in_the_text(
    little: LittleProject, said: dict[str, Any]
) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    little.write("models/as_json.sql", "select '{{ tojson({'run': invocation_id}) }}' as run")
    little.write("models/nobody.sql", f"select '{nobody}' as nobody")
    little.open()
    assert said["as_json"]["asks_time"]
    assert {nobody in full for full, _ in said["as_json"]["others"]} == {True, False}
    assert (said["nobody"]["asks_time"], said["nobody"]["others"]) == (False, [])


def test_templates_see_the_macros_that_dbt_shows_them(little: LittleProject, said: dict[str, Any]) -> None:
    """Packages and the project may have macros of one name, and of a name that dbt has."""
    which = (
        "{% macro which() %}of the project{% endmacro %}{% macro default__hash(field) %}mine({{ field }}){% endmacro %}"
    )
    little.write("macros/which.sql", which)
    little.write("dbt_packages/inner/dbt_project.yml", "name: inner\nversion: '1.0'\nconfig-version: 2\n")
    little.write(
        "dbt_packages/inner/macros/which.sql",
        "{% macro which() %}of the package{% endmacro %}{% macro alone() %}1{% endmacro %}",
    )
    little.write(
        "dbt_packages/inner/models/inside.sql", "select '{{ which() }}' as which, '{{ little.which() }}' as other"
    )
    names = "{% for name, each in context.items() | sort if name != 'is_incremental' %}{{ name }}{% if each.macro %}={{ each.macro.unique_id }}{% endif %} {% endfor %}"
    little.write("models/names.sql", f"select '{names}' as names")
    little.write(
        "models/outside.sql",
        "select '{{ which() }}' as which, '{{ inner.which() }}', {{ inner.alone() }}, {{ hash('a') }}",
    )
    little.open()
    little.dbt("compile")
    compiled = json.loads((little.folder / "target/manifest.json").read_text())["nodes"]
    for name in ("names", "outside", "inside"):
        package = "inner" if name == "inside" else "little"
        assert said[name]["sql"] == compiled[f"model.{package}.{name}"]["compiled_code"]


def test_what_a_template_asks_after_it_has_changed_something_is_asked_anew(
    little: LittleProject, said: dict[str, Any]
) -> None:
    columns = "adapter.get_columns_in_relation(api.Relation.create(schema='main', identifier='grown')) | length"
    little.write(
        "models/asking.sql",
        "{% if execute %}{% do run_query('create or replace table main.grown as select 1 as a') %}{% endif %}"
        f"{{% set before = {columns} %}}"
        "{% if execute %}{% do run_query('alter table main.grown add column b int') %}{% endif %}"
        f"select {{{{ before }}}} as before, {{{{ {columns} }}}} as after, '{{{{ run_started_at }}}}' as at",
    )
    little.open()
    texts = [said["asking"]["sql"], *(text for text, _ in said["asking"]["others"])]
    assert {text.partition(", '")[0] for text in texts} == {"select 1 as before, 2 as after"}


def test_ephemerals_are_put_where_dbt_puts_them(little: LittleProject) -> None:
    program = Path(__file__).parent / "ephemerals_by_chance.py"
    ran = subprocess.run([little.python, program, CHILD, "5", "2000"], capture_output=True, check=True, text=True)
    compared, plain, different = ran.stdout.split(maxsplit=2)
    assert (compared, different.strip()) == ("2000", "[]")
    assert 500 < int(plain) < 1500
