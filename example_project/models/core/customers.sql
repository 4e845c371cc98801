{{ config(freshness={'build_after': {'count': 4, 'period': 'hour'}}) }}
-- at most every four hours, however often orders come in
select
    c.customer_id,
    c.name,
    c.country_code,
    count(o.order_id) as orders,
    coalesce(sum(o.paid_cents), 0) as spent_cents,
    max(o.order_date) as last_order_date,
    count(o.order_id) >= {{ var('loyal_orders') }} as is_loyal
from {{ ref('customer_base') }} as c
left join {{ ref('orders') }} as o on o.customer_id = c.customer_id
group by all
