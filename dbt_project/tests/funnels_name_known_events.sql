-- Steps whose event no contract knows: nobody would ever reach them.
select
    funnels.funnel,
    funnels.step,
    funnels.event_name
from {{ ref('funnels') }} as funnels
where funnels.event_name not in ({{ sql_texts(known_events()) }})
