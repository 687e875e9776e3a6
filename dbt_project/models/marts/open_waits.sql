-- Grain: one row per as_of_date and chat in which somebody waits at the end of the date.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

with calendar as (
    select * from {{ ref('int_calendar') }}
),

chat_events as (
    select * from {{ ref('int_chat_events') }}
),

-- How chats stood at the end of their dates, and until when they stood like that.
states as (
    select
        chat_events.*,
        cast({{ business_time('chat_events.waiting_since') }} as date) as waiting_date,
        lead(chat_events.event_date) over (
            partition by chat_events.chat_id order by chat_events.event_date
        ) as next_date
    from chat_events
    where
        {{ in_window('chat_events.event_date', reach=var('open_wait_days')) }}
        and chat_events.is_last_of_date
),

days as (
    select
        states.*,
        {{ each_date(
            'greatest(states.event_date, ' ~ window_start() ~ ')',
            'least(states.next_date - 1, states.waiting_date + ' ~ var('open_wait_days') ~ ', '
            ~ window_end() ~ ' - 1)'
        ) }} as as_of_date
    from states
    where states.waiting_since is not null
)

select
    days.as_of_date,
    days.chat_id,
    days.waiting_channel as channel,
    days.waiting_since,
    {{ rate(
        milliseconds_between(
            'days.waiting_since', utc_time('cast(days.as_of_date + 1 as timestamp)')
        ), 1000
    ) }} as waiting_seconds,
    days.chat_agent_id as agent_id,
    days.unresolved_since is null as is_resolved
from days
inner join calendar on days.as_of_date = calendar.calendar_date
