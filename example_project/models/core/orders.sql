select o.order_id, o.customer_id, o.status, o.ordered_at, o.order_date, coalesce(t.paid_cents, 0) as paid_cents
from {{ ref('stg_orders') }} as o
left join {{ ref('int_order_totals') }} as t on t.order_id = o.order_id
