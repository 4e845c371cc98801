"""After an edit dbt renders again what the edit may change, and what it gives is what rendering all would give."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sao_dagster.dbt.process import DbtProcess
from tests.dbt.project import FILES, LittleProject

pytestmark = pytest.mark.slow

MORE = {
    "dbt_project.yml": f"""{FILES["dbt_project.yml"]}
vars:
  least: 0
  shown: "{{{{ target.schema }}}}"
""",
    "macros/more.sql": """
{% macro fraction(column) %}{{ adapter.dispatch('fraction')(column) }}{% endmacro %}
{% macro default__fraction(column) %}({{ column }} / 100){% endmacro %}
{% macro called(name) %}{{ context[name]('amount') }}{% endmacro %}
{% macro least() %}{{ var('least') }}{% endmacro %}
{% macro test_above(model, column_name) %}select 1 from {{ model }} where {{ column_name }} <= {{ least() }}{% endmacro %}
{% macro noted(relation) %}comment on table {{ relation }} is '{{ var("shown") }}'{% endmacro %}
""",
    "models/some.sql": "{{ config(materialized='ephemeral') }} select * from {{ source('raw', 'orders') }} where amount > {{ least() }}",
    "models/reads_some.sql": "select * from {{ ref('some') }}",
    "models/fractions.sql": "select {{ fraction('amount') }} as part from {{ source('raw', 'orders') }}",
    "models/dynamic.sql": "select {{ called('cents') }} as a from {{ source('raw', 'orders') }}",
    "models/shown.sql": "{{ config(post_hook='{{ noted(this) }}') }} select '{{ var(\"shown\") }}' as shown",
    "models/counts.sql": "select {{ graph.nodes.values() | list | length }} as n",
    "models/in_a_set.sql": "select {% for each in set('abcdefgh') %}'{{ each }}', {% endfor %}{{ graph.nodes | length > 0 }}",
    "models/behind_ref.sql": "select {{ ref.manifest.nodes | length }} as n",
    "models/behind_var.sql": "select {{ var.packages_for_node() | list | length }} as n",
    "models/text_of_a_macro.sql": "select '{{ cents.macro.macro_sql | length }}' as n",
    "models/described.sql": "select '{{ model.description }}' as words from {{ ref('shown') }}",
    "models/configured.sql": "select '{{ config.get('word', 'none') }}' as word, '{{ flags.STORE_FAILURES }}' as stored",
    "models/more.yml": """
version: 2
models:
  - name: described
    description: first
  - name: fractions
    columns: [{name: part, data_tests: [above]}]
""",
}


@dataclass
class Rendered:
    """What dbt has rendered of a project, in part and as a whole.

    Attributes:
        last: The names of what was rendered last.
        all: The names of all that there is to render.
        in_a_set: What a template that goes over a set gave, in each process.
    """

    last: set[str] = field(default_factory=set)
    all: set[str] = field(default_factory=set)
    in_a_set: set[str] = field(default_factory=set)

    def take(self, part: dict[str, Any], whole: dict[str, Any], before: dict[str, Any]) -> None:
        """Take what was rendered in part, with what was there before, and compare it with all."""
        for kind in ("rendered", "hooks"):
            found = {**{name: before[kind][name] for name in part["kept"][kind]}, **part[kind]}
            assert found.keys() == whole[kind].keys()
            for name, each in whole[kind].items():
                assert without_trace(found[name]) == without_trace(each), name
        self.last = {name.split(".")[2] for name in (*part["rendered"], *part["hooks"])}
        self.all = {name.split(".")[2] for name in (*whole["rendered"], *whole["hooks"])}
        self.in_a_set |= {each["sql"] for name, each in whole["rendered"].items() if name.endswith(".in_a_set")}


def without_trace(each: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in each.items() if key != "made_of"}


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> Rendered:
    """Let dbt render all beside what it renders in each load."""
    found, ask = Rendered(), DbtProcess.ask
    whole: dict[str, Any] = {}

    def twice(process: DbtProcess, name: str, /, **arguments: Any) -> Any:
        answer = ask(process, name, **arguments)
        if name == "prepare":
            nothing = {"before": {"rendered": {}, "hooks": {}}, "environment": []}
            before = dict(whole)
            whole.update(json.loads(ask(process, name, **{**arguments, **nothing})))
            found.take(json.loads(answer), whole, before)
        return answer

    monkeypatch.setattr(DbtProcess, "ask", twice)
    return found


@pytest.fixture
def more(little: LittleProject) -> LittleProject:
    """The project, with templates that look at all kinds of things."""
    for name, text in MORE.items():
        little.write(name, text)
    return little


ALWAYS = {"counts", "in_a_set", "behind_ref", "behind_var", "text_of_a_macro"}
"""What looks at more than it is known to."""

EDITS: dict[str, tuple[Callable[[LittleProject], object], set[str]]] = {
    "a model": (lambda little: little.replace("models/big.sql", "count(*)", "sum(1)"), {"big"}),
    "a macro that is dispatched": (
        lambda little: little.replace("macros/more.sql", "/ 100", "/ 50"),
        {"fractions"},
    ),
    "a macro that is found by a text": (
        lambda little: little.replace("macros/all.sql", "* 100", "* 10"),
        {"orders", "dynamic"},
    ),
    "a variable that macros, an ephemeral model and a test look up": (
        lambda little: little.replace("dbt_project.yml", "least: 0", "least: 2"),
        {"some", "reads_some", "above_fractions_part"},
    ),
    "a variable that is a template": (
        lambda little: little.replace("dbt_project.yml", "target.schema", "target.name"),
        {"shown"},
    ),
    "a description": (lambda little: little.replace("models/more.yml", "first", "second"), {"described"}),
    "a configuration of the project": (
        lambda little: little.replace(
            "dbt_project.yml", "+materialized", "configured: {+word: some}\n    +materialized"
        ),
        {"configured"},
    ),
    "where a source is": (
        lambda little: little.replace("models/sources.yml", "{name: people}", "{name: people, identifier: orders}"),
        {"people", "people_over_time"},
    ),
    "a model that is gone": (lambda little: (little.folder / "models/described.sql").unlink(), set()),
}


@pytest.mark.parametrize("seed", [0])
def test_edits_render_what_they_may_change(more: LittleProject, rendered: Rendered, seed: int) -> None:
    edits = [*EDITS.values()]
    random.Random(seed).shuffle(edits)
    more.open()
    for start in range(0, len(edits), 3):
        expected = set(ALWAYS)
        for edit, changed in edits[start : start + 3]:
            edit(more)
            expected |= changed
        more.open()
        assert expected & rendered.all <= rendered.last
        assert len(rendered.last - expected) <= 1  # dbt 1.9 describes a neighbour otherwise that it has parsed again
    more.replace("models/some.sql", "ephemeral", "view")
    more.open()
    assert rendered.last == {"some", "reads_some"} | ALWAYS
    more.write("macros/another.sql", "{% macro duckdb__fraction(column) %}1{% endmacro %}")
    more.open()
    assert rendered.last == rendered.all
    assert len(rendered.in_a_set) == 1
