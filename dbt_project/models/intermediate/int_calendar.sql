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

-- Dates before the window stand already: the earliest event date is never looked up in old events,
-- which retention may have removed.
span as (
    select
        {%- if is_incremental() %}
        case
            when exists (
                select past.calendar_date
                from {{ this }} as past
                where {{ before_window('past.calendar_date') }}
            ) then {{ window_start() }}
            else event_span.first_event_date
        end as first_date,
        {%- else %}
        event_span.first_event_date as first_date,
        {%- endif %}
        case
            when {{ window_end() }} = cast('9999-12-31' as date) then event_span.last_event_date
            else {{ window_end() }} - 1
        end as last_date
    from event_span
)

select {{ each_date('span.first_date', 'span.last_date') }} as calendar_date
from span
