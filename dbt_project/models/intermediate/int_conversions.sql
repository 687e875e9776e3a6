-- Grain: one row per conversion of a known user.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['user_id']])
) }}

with events as (
    select * from {{ ref('stg_events') }}
)

select
    events.event_date,
    events.event_id,
    events.event_name,
    events.occurred_at,
    events.user_id
from events
where
    {{ in_window('events.event_date') }}
    and {{ is_conversion('events.event_name') }}
    and events.user_id is not null
