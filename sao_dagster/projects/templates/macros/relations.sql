{# What dbt asks of relations and columns, and of its settings. #}

{% macro should_full_refresh() %}{%- set own = config.get('full_refresh') -%}{{ return(flags.FULL_REFRESH if own is none else own) }}{% endmacro %}
{% macro should_store_failures() %}{%- set own = config.get('store_failures') -%}{{ return(flags.STORE_FAILURES if own is none else own) }}{% endmacro %}

{% macro get_columns_in_relation(relation) %}{{ return(adapter.dispatch('get_columns_in_relation', 'dbt')(relation)) }}{% endmacro %}
{% macro default__get_columns_in_relation(relation) %}{{ return(adapter.get_columns_in_relation(relation)) }}{% endmacro %}
{% macro sql_convert_columns_in_relation(table) %}
{%- set columns = [] -%}{%- for row in table -%}{%- do columns.append(api.Column(*row)) -%}{%- endfor -%}{{ return(columns) }}
{% endmacro %}
{% macro get_list_of_column_names(columns) %}{{ return(columns | map(attribute='name') | list) }}{% endmacro %}
{% macro get_empty_subquery_sql(select_sql, select_sql_header=none) %}{{ return(adapter.dispatch('get_empty_subquery_sql', 'dbt')(select_sql, select_sql_header)) }}{% endmacro %}
{% macro default__get_empty_subquery_sql(select_sql, select_sql_header) %}{{ select_sql_header if select_sql_header is not none }} select * from ({{ select_sql }}) as __dbt_sbq where false limit 0{% endmacro %}
{% macro get_columns_in_query(select_sql) %}{{ return(adapter.dispatch('get_columns_in_query', 'dbt')(select_sql)) }}{% endmacro %}
{% macro default__get_columns_in_query(select_sql) %}
{%- call statement('get_columns_in_query', fetch_result=True, auto_begin=False) -%}{{ get_empty_subquery_sql(select_sql) }}{%- endcall -%}
{{ return(load_result('get_columns_in_query').table.columns | map(attribute='name') | list) }}
{% endmacro %}
{% macro get_column_schema_from_query(select_sql, select_sql_header=none) %}{{ return(adapter.get_column_schema_from_query(get_empty_subquery_sql(select_sql, select_sql_header))) }}{% endmacro %}
{% macro get_quoted_csv(column_names) %}{%- set quoted = [] -%}{%- for name in column_names -%}{%- do quoted.append(adapter.quote(name)) -%}{%- endfor -%}{{ return(quoted | join(', ')) }}{% endmacro %}
{% macro load_cached_relation(relation) %}{{ return(adapter.get_relation(database=relation.database, schema=relation.schema, identifier=relation.identifier)) }}{% endmacro %}
{% macro load_relation(relation) %}{{ return(load_cached_relation(relation)) }}{% endmacro %}
{% macro drop_relation_if_exists(relation) %}{%- if relation is not none -%}{%- do adapter.drop_relation(relation) -%}{%- endif -%}{% endmacro %}
{% macro get_or_create_relation(database, schema, identifier, type) %}{{ return(adapter.dispatch('get_or_create_relation', 'dbt')(database, schema, identifier, type)) }}{% endmacro %}
{% macro default__get_or_create_relation(database, schema, identifier, type) %}
{%- set there = adapter.get_relation(database=database, schema=schema, identifier=identifier) -%}
{{ return([true, there] if there else [false, api.Relation.create(database=database, schema=schema, identifier=identifier, type=type)]) }}
{% endmacro %}
{% macro make_temp_relation(base_relation, suffix='__dbt_tmp') %}{{ return(adapter.dispatch('make_temp_relation', 'dbt')(base_relation, suffix)) }}{% endmacro %}
{% macro default__make_temp_relation(base_relation, suffix) %}{{ return(base_relation.incorporate(path={'identifier': base_relation.identifier ~ suffix})) }}{% endmacro %}
{% macro make_intermediate_relation(base_relation, suffix='__dbt_tmp') %}{{ return(adapter.dispatch('make_intermediate_relation', 'dbt')(base_relation, suffix)) }}{% endmacro %}
{% macro default__make_intermediate_relation(base_relation, suffix) %}{{ return(default__make_temp_relation(base_relation, suffix)) }}{% endmacro %}
{% macro create_schema(relation) %}{%- do adapter.create_schema(relation) -%}{% endmacro %}
{% macro drop_schema(relation) %}{%- do adapter.drop_schema(relation) -%}{% endmacro %}
{% macro drop_relation(relation) %}{%- do adapter.drop_relation(relation) -%}{% endmacro %}
{% macro truncate_relation(relation) %}{%- do adapter.truncate_relation(relation) -%}{% endmacro %}
{% macro information_schema_name(database) %}{{ return((database ~ '.' if database else '') ~ 'INFORMATION_SCHEMA') }}{% endmacro %}
