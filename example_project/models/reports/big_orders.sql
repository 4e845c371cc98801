{{ config(state={'lag_tolerance': '30m'}) }}
-- news may wait for half an hour
select order_id, customer_id, paid_cents, now() as loaded_at
from {{ ref('orders') }}
where paid_cents > 5000
