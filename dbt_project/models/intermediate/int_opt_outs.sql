-- Grain: one row per user and date on which the user opted out of notifications.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['user_id']])
) }}

with notifications as (
    select * from {{ ref('stg_notifications') }}
)

select
    notifications.event_date,
    notifications.user_id
from notifications
where
    {{ in_window('notifications.event_date') }}
    and notifications.event_name = 'notification_opted_out'
    and notifications.user_id is not null
group by notifications.event_date, notifications.user_id
