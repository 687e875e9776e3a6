-- Grain: one row per cohort_date and retention_day.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with calendar as (
    select * from {{ ref('int_calendar') }}
),

first_dates as not materialized (
    select * from {{ ref('int_user_first_dates') }}
),

user_days as (
    select * from {{ ref('int_user_days') }}
),

retention_days as (
    {{ number_rows('retention_days', 'retention_day') }}
),

-- A cohort comes up once for every retention day, in the partition of that date.
due as (
    select
        calendar.calendar_date as metric_date,
        calendar.calendar_date - cast(retention_days.retention_day as integer) as cohort_date,
        retention_days.retention_day
    from calendar
    cross join retention_days
    where {{ in_window('calendar.calendar_date') }}
),

cohorts as (
    select
        due.metric_date,
        due.cohort_date,
        due.retention_day,
        count(*) as cohort_size
    from due
    inner join first_dates on due.cohort_date = first_dates.first_date
    group by due.metric_date, due.cohort_date, due.retention_day
),

-- Days of the week before each date, with their distance from the user's first one.
active_days as (
    select
        user_days.user_id,
        first_dates.first_date as cohort_date,
        user_days.activity_date,
        user_days.activity_date - first_dates.first_date as day_number
    from user_days
    inner join first_dates
        on
            user_days.user_id = first_dates.user_id
            and user_days.activity_date > first_dates.first_date
    where {{ in_window('user_days.activity_date', reach=6) }}
),

retained as (
    select
        due.cohort_date,
        due.retention_day,
        {{ count_where('active_days.activity_date = due.metric_date') }} as retained_users,
        count(distinct active_days.user_id) as retained_in_window_users
    from due
    inner join active_days
        on
            due.cohort_date = active_days.cohort_date
            and active_days.day_number between due.retention_day - 6 and due.retention_day
    group by due.cohort_date, due.retention_day
),

counted as (
    select
        cohorts.*,
        -- On day 0 everybody is there, and the window after the first date is empty.
        case
            when cohorts.retention_day = 0 then cohorts.cohort_size
            else coalesce(retained.retained_users, 0)
        end as retained_users,
        coalesce(retained.retained_in_window_users, 0) as retained_in_window_users
    from cohorts
    left join retained
        on
            cohorts.cohort_date = retained.cohort_date
            and cohorts.retention_day = retained.retention_day
)

select
    counted.metric_date,
    counted.cohort_date,
    counted.retention_day,
    counted.cohort_size,
    counted.retained_users,
    {{ rate('counted.retained_users', 'counted.cohort_size') }} as retention_rate,
    counted.retained_in_window_users,
    {{ rate('counted.retained_in_window_users', 'counted.cohort_size') }} as window_retention_rate
from counted
