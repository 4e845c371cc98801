{{ config(materialized='view', alias='noted_here', schema='extra', meta={'owner': 'me'},
          pre_hook="delete from main_log.notes where note = 'old'", post_hook="{{ note(this) }}") }}
select id from {{ ref('reads_both') }}
