-- Funnels whose steps do not go from 1 without a gap or a repetition.
select funnels.funnel
from {{ ref('funnels') }} as funnels
group by funnels.funnel
having
    min(funnels.step) <> 1
    or max(funnels.step) <> count(*)
    or count(distinct funnels.step) <> count(*)
