-- Openings of a weekday that begin before an earlier one has ended.
select
    later.weekday,
    later.opens_at
from {{ ref('business_hours') }} as earlier
inner join {{ ref('business_hours') }} as later
    on
        earlier.weekday = later.weekday
        and earlier.opens_at < later.opens_at
        and earlier.closes_at > later.opens_at
union all
select
    hours.weekday,
    hours.opens_at
from {{ ref('business_hours') }} as hours
group by hours.weekday, hours.opens_at
having count(*) > 1
