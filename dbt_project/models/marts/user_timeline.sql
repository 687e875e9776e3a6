-- Grain: one row per event of a person, as the persons are known at the end of the last date run.
{{ config(materialized='view') }}

with timeline_events as (
    select * from {{ ref('timeline_events') }}
),

identity_map as (
    select * from {{ ref('identity_map') }}
)

select
    identity_map.person_id,
    timeline_events.occurred_at,
    timeline_events.event_id,
    timeline_events.channel,
    timeline_events.event_name,
    timeline_events.session_id,
    row_number() over in_order as step,
    {{ rate(
        milliseconds_between(
            'lag(timeline_events.occurred_at) over in_order', 'timeline_events.occurred_at'
        ),
        1000
    ) }} as seconds_since_previous
from timeline_events
inner join identity_map
    on
        timeline_events.user_key_hash = {{
            key_hash('identity_map.identifier_type', 'identity_map.identifier')
        }}
        and timeline_events.user_key = identity_map.identifier
        and timeline_events.user_key_type = identity_map.identifier_type
window in_order as (
    partition by identity_map.person_id
    order by {{ event_order('timeline_events') }}
)
