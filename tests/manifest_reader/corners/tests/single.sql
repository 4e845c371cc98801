{{ config(severity='warn') }}
select * from {{ ref('reads_both') }} where id < {{ var('least') }}
