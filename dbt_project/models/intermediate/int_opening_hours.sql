-- Grain: one row per calendar date and opening of the business (a closed date has one row).
{{ config(pre_hook="{{ delete_window('calendar_date') }}", indexes=btree([['calendar_date']])) }}

with calendar as not materialized (
    select * from {{ ref('int_calendar') }}
),

business_hours as (
    select * from {{ ref('business_hours') }}
),

holidays as (
    select * from {{ ref('holidays') }}
),

closed_dates as (
    select distinct holidays.date as closed_date
    from holidays
),

minutes as (
    select
        business_hours.weekday,
        {{ minutes_of('business_hours.opens_at') }} as opens,
        {{ minutes_of('business_hours.closes_at') }} as closes
    from business_hours
),

openings as (
    select
        calendar.calendar_date,
        row_number() over (
            partition by calendar.calendar_date order by minutes.opens
        ) as opening_number,
        {{ utc_time(
            "(cast(calendar.calendar_date as timestamp) + minutes.opens * interval '1 minute')"
        ) }} as opens_at,
        {{ utc_time(
            "(cast(calendar.calendar_date as timestamp) + minutes.closes * interval '1 minute')"
        ) }} as closes_at
    from calendar
    left join closed_dates on calendar.calendar_date = closed_dates.closed_date
    left join minutes
        on
            minutes.weekday = cast(extract(isodow from calendar.calendar_date) as integer)
            and closed_dates.closed_date is null
    where {{ in_window('calendar.calendar_date') }}
)

select
    openings.calendar_date,
    openings.opening_number,
    openings.opens_at,
    -- Clocks that are put forward may pass over an opening: it is as long as what is left of it.
    greatest(
        coalesce({{ milliseconds_between('openings.opens_at', 'openings.closes_at') }}, 0), 0
    ) as open_ms
from openings
