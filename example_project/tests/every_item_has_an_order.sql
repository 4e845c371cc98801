select i.order_item_id
from {{ ref('order_items') }} as i
left join {{ ref('orders') }} as o on o.order_id = i.order_id
where o.order_id is null
