with own as (select id from {{ ref('base') }})
select a.id, a.amount from {{ ref('above') }} a join own o on o.id = a.id
