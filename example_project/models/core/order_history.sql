{{ config(materialized='incremental', unique_key='order_id') }}
-- incremental: a build adds the orders that are newer than what is there
select order_id, customer_id, status, ordered_at
from {{ ref('stg_orders') }}
{% if is_incremental() %}
where ordered_at > (select max(ordered_at) from {{ this }})
{% endif %}
