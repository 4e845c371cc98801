select * from {{ source('files', 'extra') }} union all by name select * from {{ source('files', 'called') }}
