{% macro note(relation) %}insert into {{ target.schema }}_log.notes select 'rows: ' || count(*) from {{ relation }}{% endmacro %}
{% test odd(model, column_name, least) %}select * from {{ model }} where {{ column_name }} < {{ least }}{% endtest %}
