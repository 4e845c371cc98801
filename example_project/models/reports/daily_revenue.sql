{{ config(max_age='24h') }}
select order_date, count(*) as orders, {{ euros('sum(paid_cents)') }} as revenue
from {{ ref('orders') }}
group by order_date
