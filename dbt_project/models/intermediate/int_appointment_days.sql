-- Grain: one row per agent and date with an appointment booked, kept or missed.
{{ config(pre_hook="{{ delete_window('event_date') }}", indexes=btree([['event_date']])) }}

with events as (
    select * from {{ ref('stg_conversations') }}
)

select
    events.event_date,
    events.agent_id,
    {{ count_where("events.event_name = 'appointment_booked'") }} as appointments_booked,
    {{ count_where("events.event_name = 'appointment_completed'") }} as appointments_completed,
    {{ count_where("events.event_name = 'appointment_no_show'") }} as appointments_missed
from events
where
    {{ in_window('events.event_date') }}
    and events.event_name in (
        'appointment_booked', 'appointment_completed', 'appointment_no_show'
    )
group by events.event_date, events.agent_id
