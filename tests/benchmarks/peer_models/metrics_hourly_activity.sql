select
    event_date as metric_date,
    event_hour as hour,
    channel,
    count(*) as events,
    count(distinct case when event_name in ($activity) then user_id end) as active_users
from raw.events
where event_date = $day
group by 1, 2, 3
