"""A template that is rendered without Jinja gives what Jinja makes of it, and calls the same with the same."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import Any

import pytest

from sao_dagster import load_project
from sao_dagster.errors import RenderError
from sao_dagster.projects.templates import render
from sao_dagster.projects.templates.jinja import render as by_jinja
from sao_dagster.projects.templates.plain import plain_template
from sao_dagster.projects.templates.python_syntax import parsed
from sao_dagster.projects.templates.render import Render
from sao_dagster.projects.templates.template_context import RenderSubject, TemplateContext
from tests.world import World

PLAIN = (
    "select 1",
    "select * from {{ ref('a') }}\n",
    "select * from {{ ref('shop', 'a', v=2) }} join {{source(\"s\", 't')}} using (id)\n\n",
    "{{ config(materialized='table', tags=['x', 'y'], unique_key=('a', 'b'), enabled=true, alias=none) }}\nselect 1",
    "{{- config(\n    pre_hook=[\"select '1'\"],\n) -}}\n\n  select {{ var('day', 7) }}, '{{ env_var(\"WHO\", 'me') }}' from {{this}}",
    "{# {% if x %} {{ ref('b') }} #}select '}}' as x {#- and more -#} \n from t",
    "select {{ var('x', [1, [2, 0]]) }}",
)
LEFT_TO_JINJA = (
    "{% if execute %}select 1{% endif %}",
    "{{ ref('a').schema }}",
    "{{ ref('a') | upper }}",
    "{{ ref('a' ~ 'b') }}",
    "{{ ref(name) }}",
    "{{ ref('a\\n') }}",
    "{{ ref(r'a') }}",
    "{{ var(1if) }}",
    "{{ var('x', 1.5) }}",
    "{{ var('x', -1) }}",
    "{{ var('x', 1 if true else 2) }}",
    "{{ config(meta={'a': 1}) }}",
    "{{ config(a=1, a=2) }}",
    "{{ config(**more) }}",
    "{{ ref('a')('b') }}",
    "{{ ref('a'), ref('b') }}",
    "{{ my_macro('a') }}",
    "{{ 'this' }}",
    "{{ ref('a') }",
    "{# no end",
    "select 1\r\n",
)


def called(calls: list[Any], name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append((name, args, kwargs))
        return f"<{name} {args} {kwargs}>"

    return call


def rendered(template: str, *, plainly: bool) -> tuple[str, list[Any]]:
    """Return a template rendered with functions that write what they are called with, and their calls."""
    calls: list[Any] = []
    variables = {name: called(calls, name) for name in ("ref", "source", "config", "var", "env_var")}
    variables["this"] = '"main"."me"'
    if plainly:
        plain = plain_template(template)
        assert plain is not None, template
        return plain.text(variables), calls
    return by_jinja(template, "m.sql", variables), calls


@pytest.mark.parametrize("template", PLAIN)
def test_a_plain_template_gives_what_jinja_makes_of_it(template: str) -> None:
    assert rendered(template, plainly=True) == rendered(template, plainly=False)


@pytest.mark.parametrize("template", LEFT_TO_JINJA)
def test_what_is_more_than_calls_with_values_is_left_to_jinja(template: str) -> None:
    assert plain_template(template) is None


@pytest.mark.filterwarnings("error")
def test_random_templates_are_left_to_jinja_or_give_what_it_makes_of_them() -> None:
    chance = random.Random(5)
    pieces = (
        *("{{", "}}", "{{-", "-}}", "{{+", "{#", "#}", "{#-", "-#}", "+#}", "{%", "%}", "(", ")", "[", "]", ",", "=", "'", '"', "\\", "-"),
        *(" ", "\n", "\n\n", "\t", "\u00a0", "\r\n", "\x1c", "\x0c", "select", "é", "none", "None", "True", "false", "this", "ref", "config"),
        *("1", "007", "0x1f", "1_0", "1e5", "name", "_x", "and", "{", "}", "'a'", '"b c"', "'}}'", "''"),
        *("ref('a')", "config(x='y')", "var('x', [1, (2,), ()])", " {{ ref('a') }} ", "{{ this }}", "{{- this -}}", "{{ config(a=[true]) }}\n"),
    )  # fmt: skip
    plain = 0
    for _ in range(20_000):
        template = "".join(chance.choices(pieces, k=chance.randint(1, 6)))
        if chance.random() < 0.5:
            template = "x {{ " + template + " }} y"
        if plain_template(template) is not None:
            plain += "{{" in template or "{#" in template
            assert rendered(template, plainly=True) == rendered(template, plainly=False), template
    assert plain > 1000


def test_each_rendering_has_lists_of_its_own() -> None:
    plain = plain_template("{{ config(tags=['a']) }}")
    assert plain is not None
    seen: list[list[str]] = []

    def called_with(tags: list[str]) -> None:
        seen.append(tags)

    for _ in range(2):
        plain.text({"config": called_with})
        seen[-1].append("b")
    assert seen == [["a", "b"], ["a", "b"]]


def test_what_fails_is_told_with_its_line() -> None:
    template = "{{ config(a=1) }}\nselect\n  {{ var('there_is_none') }}"
    pass_ = Render(TemplateContext("shop"), RenderSubject(name="m", path="m.sql", package="shop"), execute=True)
    with pytest.raises(RenderError, match="there_is_none") as caught:
        pass_.text(template)
    assert str(caught.value.location) == "m.sql:3"
    assert pass_.trace.config_calls == 1


def test_a_macro_of_the_project_takes_the_place_of_ref(world: World) -> None:
    world.model("a", "select 1 as x").model("m", "select * from {{ ref('a') }}")
    world.write("macros/ref.sql", "{% macro ref(name) %}(select 2 as x from {{ builtins.ref(name) }}){% endmacro %}")
    world.run()
    assert world.rows("select x from main.m") == [(2,)]


def test_a_project_means_the_same_without_jinja(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example = Path(__file__).parents[1] / "example_project"

    def read(place: str) -> dict[str, Any]:
        folder = tmp_path / place
        folder.mkdir()
        for file in example.rglob("*"):
            if file.suffix in (".sql", ".yml", ".csv"):
                (folder / file.relative_to(example)).parent.mkdir(parents=True, exist_ok=True)
                (folder / file.relative_to(example)).write_bytes(file.read_bytes())
        return {name: node.code.parts for name, node in load_project(folder).project.nodes.items()}

    found = read("here")
    monkeypatch.setattr(render, "plain_template", lambda text: None)
    assert read("there") == found


def test_a_parser_that_another_thread_disturbs_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Python 3.11.0 to 3.11.7: the depth of a tree is counted for all threads together."""
    parse, disturbed = ast.parse, iter([True, True, False])

    def sometimes(source: str, mode: str = "exec") -> ast.AST:
        if next(disturbed):
            raise SystemError("AST constructor recursion depth mismatch (before=141, after=220)")
        return parse(source, mode=mode)

    monkeypatch.setattr(ast, "parse", sometimes)
    assert ast.literal_eval(parsed("['a', 4.5]")) == ["a", 4.5]
    assert next(disturbed, None) is None
