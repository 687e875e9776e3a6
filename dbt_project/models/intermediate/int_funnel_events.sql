-- Grain: one row per event of a user that is a step of some funnel.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['user_id']])
) }}

with events as (
    select * from {{ ref('stg_events') }}
),

funnels as (
    select * from {{ ref('funnels') }}
)

select
    events.event_date,
    events.user_id,
    events.occurred_at,
    events.event_id,
    events.event_name
from events
where
    {{ in_window('events.event_date') }}
    and events.user_id is not null
    and events.event_name in (select funnels.event_name from funnels)
