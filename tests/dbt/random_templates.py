"""Random templates that do all kinds of things with what differs between runs."""

from __future__ import annotations

from hypothesis import strategies as st

MACROS = (
    "{% macro passed(v) %}{{ v }}{% endmacro %}"
    "{% macro in_a_block(v) %}{% set text %}at {{ v }}{% endset %}{{ text }}{% endmacro %}"
    "{% macro around() %}({{ caller() }}){% endmacro %}"
    "{% set form = '%s-%s' %}"
)
VALUES = (
    "run_started_at",
    "run_started_at.strftime('%H')",
    "run_started_at.strftime('%Y-%m-%d')",
    "run_started_at.replace(hour=6)",
    "(run_started_at - modules.datetime.timedelta(hours=5)).date()",
    "modules.datetime.datetime.now()",
    "modules.datetime.date.today()",
    "invocation_id",
)
WORDS = ("'06'", "'06, 07'", "'2001-01'", "7")
FILTERS = (
    *("string", "upper", "int", "float", "replace('0', '1')", "length", "default('none')", "trim", "first", "last"),
    *("list", "reverse", "truncate(5)", "tojson", "string | int", "string | list | join('.')", "center(40)"),
)
MADE_OF_IT = (
    *("passed({v})", "in_a_block({v})", "({v} ~ 'x')", "('x' + {v})", "({v} + 'x')", "({v})[0:4]", "({v} or 'none')"),
    *("([{v}, 'x'] | join('-'))", "'-'.join([{v}, 'x'])", "('%s-%s' % ({v}, 'x'))", "(form % ({v}, 'x'))"),
    *("'{{}}'.format({v})", "([{v}] | map('string') | first)", "([{v}, 'a'] | sort | first)", "{{'k': {v}}}['k']"),
    *("dict(k={v}).k", "namespace(k={v}).k", "modules.re.sub('0', 'o', {v})", "({v} if {v} else 'none')"),
)
CONDITIONS = (
    *("{v} == {word}", "{word} < {v}", "{v} > {word}", "{v} in {word}", "{v} not in {word}", "{v} in [{word}]"),
    *("{word} in {v}", "{v} is in [{word}]", "{v} is eq {word}", "{v} is odd", "({v}).startswith({word})"),
)
WRITTEN = (
    *("{{{{ {v} }}}}", "{{% set kept = {v} %}}{{{{ kept }}}}", "{{% call around() %}}{{{{ {v} }}}}{{% endcall %}}"),
    *("{{% filter upper %}}{{{{ {v} }}}}{{% endfilter %}}", "{{% for each in {v} %}}{{{{ each }}}},{{% endfor %}}"),
)
DECIDED = (
    "{{% if {condition} %}}one{{% else %}}other{{% endif %}}",
    "{{% set kept %}}{{{{ {v} }}}}{{% endset %}}{{% if kept > {word} %}}one{{% endif %}}",
)


def _in(forms: tuple[str, ...], **parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return forms with what stands in them."""
    return st.builds(lambda form, **given: form.format(**given), st.sampled_from(forms), **parts)


def _made_of(v: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(_in(MADE_OF_IT, v=v), _in(("({v} | {filter})",), v=v, filter=st.sampled_from(FILTERS)))


_words = st.sampled_from(WORDS)
_values = st.sampled_from(VALUES)
_values = st.one_of(_values, _made_of(_values), _made_of(_made_of(_values)))
_decided = _in(DECIDED, condition=_in(CONDITIONS, v=_values, word=_words), v=_values, word=_words)
templates = st.one_of(_in(WRITTEN, v=_values), _decided).map(MACROS.__add__)
"""Templates of Jinja; many of them fail."""
