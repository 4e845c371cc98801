select payment_id, order_id, amount_cents, paid_at from {{ source('raw', 'payments') }}
