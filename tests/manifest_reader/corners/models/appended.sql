{{ config(materialized='incremental') }}
select id, amount from {{ ref('reads_both') }} {% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}
