select customer_id, name, country_code, last_seen_at from {{ source('raw', 'customers') }}
