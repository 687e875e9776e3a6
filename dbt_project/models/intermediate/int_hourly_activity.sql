-- Grain: one row per event_date, hour and channel.
{{ config(pre_hook="{{ delete_window('event_date') }}", indexes=btree([['event_date']])) }}

with all_events as (
    select * from {{ ref('stg_events') }}
)

select
    all_events.event_date,
    cast(all_events.event_hour as bigint) as hour,
    coalesce(all_events.channel, 'unknown') as channel,
    count(*) as events,
    {{ count_distinct_where('all_events.user_id', 'all_events.is_activity') }} as active_users
from all_events
where {{ in_window('all_events.event_date') }}
group by all_events.event_date, all_events.event_hour, coalesce(all_events.channel, 'unknown')
