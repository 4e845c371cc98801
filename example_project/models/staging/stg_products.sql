select product_id, title, category, {{ euros('price_cents') }} as price from {{ source('raw', 'products') }}
