select
    $day as metric_date,
    count(distinct case when event_date = $day then user_id end) as daily_active_users,
    count(distinct case when event_date > $day - 7 then user_id end) as weekly_active_users,
    count(distinct user_id) as monthly_active_users,
    (
        select count(*) from (
            select user_id from raw.events
            where event_date <= $day and user_id is not null and event_name in ($activity)
            group by user_id
            having min(event_date) = $day
        ) as first_seen
    ) as new_users
from raw.events
where
    event_date > $day - 30 and event_date <= $day
    and user_id is not null and event_name in ($activity)
