{# What dbt brings along: data tests, naming, and the SQL functions that differ between warehouses. #}

{% macro test_unique(model, column_name) %}{{ return(adapter.dispatch('test_unique', 'dbt')(model, column_name)) }}{% endmacro %}
{% macro default__test_unique(model, column_name) %}
select {{ column_name }} as unique_field, count(*) as n_records
from {{ model }}
where {{ column_name }} is not null
group by {{ column_name }}
having count(*) > 1
{% endmacro %}

{% macro test_not_null(model, column_name) %}{{ return(adapter.dispatch('test_not_null', 'dbt')(model, column_name)) }}{% endmacro %}
{% macro default__test_not_null(model, column_name) %}
select * from {{ model }} where {{ column_name }} is null
{% endmacro %}

{% macro test_accepted_values(model, column_name, values, quote=True) %}{{ return(adapter.dispatch('test_accepted_values', 'dbt')(model, column_name, values, quote)) }}{% endmacro %}
{% macro default__test_accepted_values(model, column_name, values, quote=True) %}
select value_field, n_records
from (
    select {{ column_name }} as value_field, count(*) as n_records from {{ model }} group by {{ column_name }}
) as all_values
where value_field not in (
    {%- for value in values -%}
    {%- if quote -%} '{{ (value ~ "") | replace("'", "''") }}' {%- else -%} {{ value }} {%- endif -%}
    {%- if not loop.last %}, {% endif -%}
    {%- endfor -%}
)
{% endmacro %}

{% macro test_relationships(model, column_name, to, field) %}{{ return(adapter.dispatch('test_relationships', 'dbt')(model, column_name, to, field)) }}{% endmacro %}
{% macro default__test_relationships(model, column_name, to, field) %}
select child.from_field
from (select {{ column_name }} as from_field from {{ model }} where {{ column_name }} is not null) as child
left join (select {{ field }} as to_field from {{ to }}) as parent on child.from_field = parent.to_field
where parent.to_field is null
{% endmacro %}

{% macro get_where_subquery(relation) %}{{ return(adapter.dispatch('get_where_subquery', 'dbt')(relation)) }}{% endmacro %}
{% macro default__get_where_subquery(relation) -%}
{%- set where = config.get('where') -%}
{%- if where -%}(select * from {{ relation }} where {{ where }}) dbt_subquery{%- else -%}{{ return(relation) }}{%- endif -%}
{%- endmacro %}

{% macro generate_schema_name(custom_schema_name=none, node=none) %}{{ return(adapter.dispatch('generate_schema_name', 'dbt')(custom_schema_name, node)) }}{% endmacro %}
{% macro default__generate_schema_name(custom_schema_name=none, node=none) -%}
{{ target.schema if custom_schema_name is none else target.schema ~ '_' ~ (custom_schema_name | trim) }}
{%- endmacro %}
{% macro generate_schema_name_for_env(custom_schema_name=none, node=none) -%}
{{ custom_schema_name | trim if target.name == 'prod' and custom_schema_name is not none else target.schema }}
{%- endmacro %}
{% macro generate_alias_name(custom_alias_name=none, node=none) %}{{ return(adapter.dispatch('generate_alias_name', 'dbt')(custom_alias_name, node)) }}{% endmacro %}
{% macro default__generate_alias_name(custom_alias_name=none, node=none) -%}
{{ custom_alias_name | trim if custom_alias_name else node.name ~ ('_v' ~ (node.version | replace('.', '_')) if node.version else '') }}
{%- endmacro %}
{% macro generate_database_name(custom_database_name=none, node=none) %}{{ return(adapter.dispatch('generate_database_name', 'dbt')(custom_database_name, node)) }}{% endmacro %}
{% macro default__generate_database_name(custom_database_name=none, node=none) -%}
{{ target.database if custom_database_name is none else custom_database_name | trim }}
{%- endmacro %}

{% macro type_string() %}{{ return(adapter.dispatch('type_string', 'dbt')()) }}{% endmacro %}
{% macro default__type_string() %}{{ return('varchar') }}{% endmacro %}
{% macro postgres__type_string() %}{{ return('text') }}{% endmacro %}
{% macro type_int() %}{{ return('int') }}{% endmacro %}
{% macro type_bigint() %}{{ return('bigint') }}{% endmacro %}
{% macro type_float() %}{{ return('float') }}{% endmacro %}
{% macro type_numeric() %}{{ return('numeric(28,6)') }}{% endmacro %}
{% macro type_boolean() %}{{ return('boolean') }}{% endmacro %}
{% macro type_timestamp() %}{{ return('timestamp') }}{% endmacro %}

{% macro current_timestamp() %}{{ return(adapter.dispatch('current_timestamp', 'dbt')()) }}{% endmacro %}
{% macro default__current_timestamp() %}{{ return('now()') }}{% endmacro %}
{% macro cast(field, type) %}{{ return('cast(' ~ field ~ ' as ' ~ type ~ ')') }}{% endmacro %}
{% macro safe_cast(field, type) %}{{ return(adapter.dispatch('safe_cast', 'dbt')(field, type)) }}{% endmacro %}
{% macro default__safe_cast(field, type) %}{{ return('cast(' ~ field ~ ' as ' ~ type ~ ')') }}{% endmacro %}
{% macro duckdb__safe_cast(field, type) %}{{ return('try_cast(' ~ field ~ ' as ' ~ type ~ ')') }}{% endmacro %}
{% macro cast_bool_to_text(field) %}{{ return('cast(' ~ field ~ ' as ' ~ type_string() ~ ')') }}{% endmacro %}

{% macro date_trunc(datepart, date) %}{{ return("date_trunc('" ~ datepart ~ "', " ~ date ~ ")") }}{% endmacro %}
{% macro dateadd(datepart, interval, from_date_or_timestamp) %}{{ return(adapter.dispatch('dateadd', 'dbt')(datepart, interval, from_date_or_timestamp)) }}{% endmacro %}
{% macro default__dateadd(datepart, interval, from_date_or_timestamp) %}{{ return('(' ~ from_date_or_timestamp ~ ' + ((' ~ interval ~ ') * (interval \'1 ' ~ datepart ~ '\')))') }}{% endmacro %}
{% macro datediff(first_date, second_date, datepart) %}{{ return(adapter.dispatch('datediff', 'dbt')(first_date, second_date, datepart)) }}{% endmacro %}
{% macro duckdb__datediff(first_date, second_date, datepart) %}{{ return("date_diff('" ~ datepart ~ "', cast(" ~ first_date ~ " as timestamp), cast(" ~ second_date ~ " as timestamp))") }}{% endmacro %}
{% macro last_day(date, datepart) %}{{ return('cast(' ~ dateadd('day', '-1', dateadd(datepart, '1', date_trunc(datepart, date))) ~ ' as date)') }}{% endmacro %}

{% macro concat(fields) %}{{ return(fields | join(' || ')) }}{% endmacro %}
{% macro hash(field) %}{{ return('md5(cast(' ~ field ~ ' as ' ~ type_string() ~ '))') }}{% endmacro %}
{% macro length(expression) %}{{ return('length(' ~ expression ~ ')') }}{% endmacro %}
{% macro position(substring_text, string_text) %}{{ return('position(' ~ substring_text ~ ' in ' ~ string_text ~ ')') }}{% endmacro %}
{% macro replace(field, old_chars, new_chars) %}{{ return('replace(' ~ field ~ ', ' ~ old_chars ~ ', ' ~ new_chars ~ ')') }}{% endmacro %}
{% macro right(string_text, length_expression) %}{{ return('right(' ~ string_text ~ ', ' ~ length_expression ~ ')') }}{% endmacro %}
{% macro split_part(string_text, delimiter_text, part_number) %}{{ return('split_part(' ~ string_text ~ ', ' ~ delimiter_text ~ ', ' ~ part_number ~ ')') }}{% endmacro %}
{% macro string_literal(value) %}{{ return("'" ~ value ~ "'") }}{% endmacro %}
{% macro escape_single_quotes(expression) %}{{ return(expression | replace("'", "''")) }}{% endmacro %}
{% macro any_value(expression) %}{{ return('any_value(' ~ expression ~ ')') }}{% endmacro %}
{% macro bool_or(expression) %}{{ return('bool_or(' ~ expression ~ ')') }}{% endmacro %}
{% macro listagg(measure, delimiter_text="','", order_by_clause=none, limit_num=none) %}{{ return(adapter.dispatch('listagg', 'dbt')(measure, delimiter_text, order_by_clause, limit_num)) }}{% endmacro %}
{% macro default__listagg(measure, delimiter_text, order_by_clause, limit_num) %}
{%- if limit_num -%}{{ exceptions.raise_compiler_error('listagg with limit_num is not supported here') }}{%- endif -%}
{{ return('string_agg(' ~ measure ~ ', ' ~ delimiter_text ~ (' ' ~ order_by_clause if order_by_clause else '') ~ ')') }}
{% endmacro %}
{% macro except() %}{{ return('except') }}{% endmacro %}
{% macro intersect() %}{{ return('intersect') }}{% endmacro %}
{% macro array_construct(inputs=[], data_type=none) %}{{ return('[' ~ (inputs | join(', ')) ~ ']') }}{% endmacro %}
{% macro limit_zero() %}{{ return('where false limit 0') }}{% endmacro %}
{% macro get_quoted_csv(column_names) %}{%- set quoted = [] -%}{%- for name in column_names -%}{%- do quoted.append(adapter.quote(name)) -%}{%- endfor -%}{{ return(quoted | join(', ')) }}{% endmacro %}
{% macro load_relation(relation) %}{{ return(adapter.get_relation(database=relation.database, schema=relation.schema, identifier=relation.identifier)) }}{% endmacro %}
