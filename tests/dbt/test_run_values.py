"""What a template writes of the run that it is rendered in is known in every other run; what else it makes of that is noted."""

from __future__ import annotations

import datetime as dt
import re
from itertools import pairwise
from typing import Any

import jinja2.runtime
import pytest
import pytz
from hypothesis import HealthCheck, given, settings
from jinja2.compiler import CodeGenerator
from jinja2.sandbox import SandboxedEnvironment

from sao_dagster.dbt.child import run_values
from sao_dagster.dbt.child.run_values import Looked, Run
from sao_dagster.projects.templates.template_run import DIFFERENT, OTHER_RUNS, PINNED
from tests.dbt.random_templates import templates

RUNS: list[Run] = [(each.started_at, each.run_id) for each in (PINNED, DIFFERENT, *(run for run, _ in OTHER_RUNS))]
MODULES = {
    "datetime": {"timedelta": dt.timedelta, "time": dt.time, "datetime": dt.datetime, "date": dt.date},
    "pytz": pytz,
    "re": re,
}

WRITTEN = [
    "select '{{ run_started_at }}' as at, '{{ invocation_id }}' as run",
    "{{ run_started_at.strftime('%Y-%m-%d') }} {{ run_started_at.isoformat() }}",
    "{{ run_started_at.astimezone(modules.pytz.timezone('US/Eastern')) }}",
    "{{ (run_started_at - modules.datetime.timedelta(days=3)).date() }}",
    "{{ run_started_at.replace(tzinfo=none) }}",
    "{{ modules.datetime.datetime.now(modules.pytz.utc).strftime('%H:%M') }}{{ modules.datetime.datetime.utcnow() }}",
    "{{ modules.datetime.date.today() + modules.datetime.timedelta(1) }}",
    "{{ 'run-' ~ invocation_id ~ '-' ~ thread_id }}{{ 'a' + invocation_id + 'b' }}",
    "{% set at %}at {{ run_started_at }}{% endset %}{{ at }}{{ at }}",
    "{% macro hour() %}h{{ run_started_at.strftime('%H') }}{% endmacro %}{{ hour() }} {{ 'x' ~ hour() }}",
    "{% macro twice() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call twice() %}{{ invocation_id }}{% endcall %}",
    "{{ invocation_id | default('none') }}{{ invocation_id | string }}",
    "{% macro shown(at) %}at {{ at }}{% endmacro %}{{ shown(run_started_at) }} {{ shown(invocation_id) }}",
]
LOOKED_INTO = [
    "{% if run_started_at.hour > 12 %}late{% endif %}",
    "{% if run_started_at.strftime('%H') in ['06', '07'] %}early{% endif %}",
    "{% macro hour() %}{{ run_started_at.strftime('%H') }}{% endmacro %}{% if hour() | int > 12 %}late{% endif %}",
    "{% set month = run_started_at.strftime('%Y-%m') %}{% if month ~ '-01' == '2000-01-01' %}first{% endif %}",
    "{{ modules.datetime.datetime(2001, 1, 1) < modules.datetime.datetime.now() }}",
    "{{ modules.datetime.date(2001, 1, 1) < modules.datetime.date.today() }}",
    "{{ '2001' < run_started_at.strftime('%Y') }}",
    "{{ run_started_at.timestamp() }}",
    "{{ run_started_at.strptime('2020', '%Y').year }}{{ run_started_at.min }}",
    "{{ (run_started_at - run_started_at.replace(year=1999)).days }}",
    "{{ invocation_id[:8] }}{{ invocation_id | length }}",
    "{{ invocation_id | replace('-', '') }}",
    "{{ 'id %s' % invocation_id }}",
    "{{ [invocation_id, 'x'] | join('-') }}",
    "{{ modules.re.sub('-', '', invocation_id) }}",
    "{% if run_started_at.strftime('%H') | int > 12 %}late{% endif %}",
    "{% if invocation_id is in ['ffffffff-ffff-4fff-bfff-ffffffffffff'] %}that{% endif %}",
    "{{ {'ffffffff-ffff-4fff-bfff-ffffffffffff': 1}.get(invocation_id, 0) }}",
    "{% if run_started_at.strftime('%H') in '06, 07' %}early{% endif %}",
    "{% if 'x' in 'xyz' and run_started_at.strftime('%H') not in '06, 07' %}late{% endif %}",
    "{% set form = '%s-%s' %}{% if form % (run_started_at.strftime('%H'), 'x') > '14' %}late{% endif %}",
    "{% set form = '%(hour)s' %}{% if form % {'hour': run_started_at.strftime('%H')} > '14' %}late{% endif %}",
    "{% if '-'.join([run_started_at.strftime('%H'), 'x']) > '14' %}late{% endif %}",
    "{% if ([run_started_at.strftime('%H')] | map('int') | first) > 14 %}late{% endif %}",
    "{% if [run_started_at.date()] | join > '2001-07' %}late{% endif %}",
    "{% if [run_started_at.strftime('%H')] | select('in', '06, 07') | list %}early{% endif %}",
]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jinja as it is in dbt's process; afterwards as it was."""
    monkeypatch.setattr(jinja2.Environment, "concat", jinja2.Environment.concat)
    monkeypatch.setattr(jinja2.Environment, "__init__", jinja2.Environment.__init__)
    for name in ("call", "call_binop", "intercepted_binops"):
        monkeypatch.setattr(SandboxedEnvironment, name, getattr(SandboxedEnvironment, name))
    monkeypatch.setattr(CodeGenerator, "visit_Operand", CodeGenerator.visit_Operand)
    monkeypatch.setattr(jinja2.runtime, "concat", jinja2.runtime.concat)  # type: ignore[attr-defined]
    run_values.install()


def rendered(template: str, run: Run) -> tuple[str, Looked]:
    with run_values.looking(run) as looked:
        values: dict[str, Any] = run_values.values(MODULES)
        return SandboxedEnvironment().from_string(template).render(values), looked


@pytest.mark.parametrize("template", WRITTEN)
def test_what_is_only_written_is_known_in_every_run(template: str) -> None:
    for run in RUNS:
        text, looked = rendered(template, run)
        assert looked.at
        assert not looked.into
        for other in RUNS:
            assert run_values.in_run(text, other) == str.__str__(rendered(template, other)[0])


@pytest.mark.parametrize("template", LOOKED_INTO)
def test_whatever_else_is_made_of_it_is_noted(template: str) -> None:
    assert all(rendered(template, run)[1].into for run in RUNS)


@pytest.mark.slow
@given(templates)
@settings(max_examples=1_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_no_template_is_another_one_in_a_run_without_a_sign_of_it(template: str) -> None:
    """What no sign speaks against, and is as expected where all is different, is as expected in each run."""
    pinned, different, *others = RUNS
    try:
        text, looked = rendered(template, pinned)
        is_as_expected = str.__str__(rendered(template, different)[0]) == run_values.in_run(text, different)
    except Exception:  # noqa: BLE001 - nothing is known of a template that fails, and it is rendered in all runs
        return
    if looked.into or not is_as_expected:
        return
    for run in others:
        assert str.__str__(rendered(template, run)[0]) == run_values.in_run(text, run)
    assert looked.at or all(run_values.in_run(text, run) == text for run in RUNS)


@pytest.mark.parametrize(
    "template",
    [
        "select 1",
        "{{ modules.datetime.datetime(2020, 1, 1).year }}",
        "{{ 'a' ~ 'b' }}",
        "{% set own = {} %}{{ own.update(own=own) }}{{ own.update(own=own) }}",
    ],
)
def test_a_template_that_asks_for_nothing_of_the_run_has_looked_at_nothing(template: str) -> None:
    text, looked = rendered(template, RUNS[0])
    assert type(text) is str
    assert not looked.at


def test_nothing_is_the_same_in_the_run_in_which_all_is_different() -> None:
    pinned, different, *_ = RUNS
    for part in ("%Y", "%m", "%d", "%H", "%M", "%S", "%f", "%j", "%a", "%p"):
        assert pinned[0].strftime(part) != different[0].strftime(part), part
    assert pinned[1] != different[1]


def test_which_places_differ_is_known_by_run() -> None:
    text, _ = rendered(
        "{{ run_started_at.strftime('%Y') }} {{ run_started_at.strftime('%H') }} {{ invocation_id }}", RUNS[0]
    )
    pinned, _, *others = RUNS
    assert [run_values.places_that_differ(text, pinned, each) for each in others] == [[2], [2], [2], [2], [4], [0]]


def test_runs_to_compare_with_come_in_the_order_in_which_they_expire() -> None:
    assert all(one == other or one.value == "hour" for one, other in pairwise(expiry for _, expiry in OTHER_RUNS))
