-- Funnels whose steps name different windows.
select funnels.funnel
from {{ ref('funnels') }} as funnels
group by funnels.funnel
having count(distinct funnels.window_hours) <> 1
