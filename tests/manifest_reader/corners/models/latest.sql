select * from {{ ref('priced') }} union all by name select * from {{ ref('priced', v=1) }}
