{{ config(freshness={'build_after': {'updates_on': 'all'}}) }}
-- only once there are new items *and* new prices
select p.category, sum(i.quantity) as items, avg(p.price) as average_price
from {{ ref('order_items') }} as i
join {{ ref('products') }} as p on p.product_id = i.product_id
group by p.category
