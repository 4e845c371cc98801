select t.country, count(*) as customers
from {{ ref('customer_base') }} as c
join {{ ref('countries') }} as t on t.country_code = c.country_code
group by t.country
