-- Grain: one row per funnel, step after the first, and event that leads to it or may come before.
{{ config(materialized='ephemeral', contract={'enforced': false}) }}

with funnels as not materialized (
    select * from {{ ref('funnels') }}
)

select
    later.funnel,
    later.step,
    funnels.event_name,
    max(case when funnels.step < later.step then 1 else 0 end) as is_from,
    max(case when funnels.step = later.step then 1 else 0 end) as is_to
from funnels as later
inner join funnels
    on later.funnel = funnels.funnel and funnels.step in (later.step - 1, later.step)
where later.step > 1
group by later.funnel, later.step, funnels.event_name
