-- Grain: one row per calendar date, from the earliest event date to the last date run.
{{ config(pre_hook="{{ delete_window('calendar_date') }}", indexes=btree([['calendar_date']])) }}

with events as (
    select * from {{ ref('stg_events') }}
),

event_span as (
    select
        min(events.event_date) as first_event_date,
        max(events.event_date) as last_event_date
    from events
    where {{ in_window('events.event_date') }}
),

-- Who runs a window knows the first date: its events may be gone, by retention or an erasure.
span as (
    select
        case
            when {{ window_start() }} = cast('0001-01-01' as date) then event_span.first_event_date
            else {{ window_start() }}
        end as first_date,
        case
            when {{ window_end() }} = cast('9999-12-31' as date) then event_span.last_event_date
            else {{ window_end() }} - 1
        end as last_date
    from event_span
)

select {{ each_date('span.first_date', 'span.last_date') }} as calendar_date
from span
