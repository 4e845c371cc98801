{{ config(materialized='incremental', unique_key=['id'], incremental_strategy='delete+insert') }}
select id, amount from {{ ref('reads_both') }}
