-- Grain: one row per metric_date, channel, weekday and hour.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with hourly as (
    select * from {{ ref('int_hourly_activity') }}
),

calendar as not materialized (
    select * from {{ ref('int_calendar') }}
),

-- The four weeks that each date looks at, itself included.
past_dates as (
    select
        calendar.calendar_date as metric_date,
        past.calendar_date as past_date,
        cast(extract(isodow from past.calendar_date) as bigint) as weekday
    from calendar
    inner join calendar as past
        on past.calendar_date between calendar.calendar_date - 27 and calendar.calendar_date
    where
        {{ in_window('calendar.calendar_date') }}
        and {{ in_window('past.calendar_date', reach=27) }}
),

weekdays as (
    select
        past_dates.metric_date,
        past_dates.weekday,
        count(*) as dates
    from past_dates
    group by past_dates.metric_date, past_dates.weekday
),

cells as (
    select
        past_dates.metric_date,
        hourly.channel,
        past_dates.weekday,
        hourly.hour,
        {{ total('hourly.events') }} as events,
        {{ total('hourly.active_users') }} as active_users
    from past_dates
    inner join hourly on past_dates.past_date = hourly.event_date
    where {{ in_window('hourly.event_date', reach=27) }}
    group by past_dates.metric_date, hourly.channel, past_dates.weekday, hourly.hour
)

select
    cells.metric_date,
    cells.channel,
    cells.weekday,
    cells.hour,
    weekdays.dates,
    cells.events,
    {{ rate('cells.events', 'weekdays.dates') }} as events_avg,
    {{ rate('cells.active_users', 'weekdays.dates') }} as active_users_avg,
    {{ rate(
        'cells.events', 'sum(cells.events) over (partition by cells.metric_date, cells.channel)'
    ) }} as events_share
from cells
inner join weekdays
    on cells.metric_date = weekdays.metric_date and cells.weekday = weekdays.weekday
