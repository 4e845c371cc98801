{{ config(materialized='ephemeral') }}
with b as (select * from {{ ref('base') }}) select id, amount + 1 as amount from b
