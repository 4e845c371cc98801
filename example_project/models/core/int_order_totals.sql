{{ config(materialized='ephemeral') }}
-- ephemeral: becomes part of the queries that read it
select order_id, sum(amount_cents) as paid_cents
from {{ ref('stg_payments') }}
group by order_id
