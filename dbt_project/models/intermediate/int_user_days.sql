-- Grain: one row per user and date with activity.
{{ config(
    pre_hook="{{ delete_window('activity_date') }}",
    indexes=btree([['activity_date'], ['user_id']])
) }}

with events as (
    select * from {{ ref('stg_events') }}
)

select
    events.event_date as activity_date,
    events.user_id
from events
where
    {{ in_window('events.event_date') }}
    and events.is_activity
    and events.user_id is not null
group by events.event_date, events.user_id
