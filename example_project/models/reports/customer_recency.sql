-- volatile: the result changes each day although no data does
select customer_id, name, date_diff('day', last_order_date, current_date) as days_since_last_order
from {{ ref('customers') }}
