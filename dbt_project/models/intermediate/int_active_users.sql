-- Grain: one row per calendar date: how many users were active on it, and of which kind.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with calendar as (
    select * from {{ ref('int_calendar') }}
),

user_days as (
    select * from {{ ref('int_user_days') }}
),

first_dates as (
    select * from {{ ref('int_user_first_dates') }}
),

-- Thirty days before the window are enough: what a date looks back on reaches no further.
active_days as (
    select
        user_days.activity_date,
        lag(user_days.activity_date) over by_user as previous_date,
        lead(user_days.activity_date) over by_user as next_date
    from user_days
    where {{ in_window('user_days.activity_date', reach=30) }}
    window by_user as (partition by user_days.user_id order by user_days.activity_date)
),

daily_users as (
    select
        active_days.activity_date as metric_date,
        count(*) as daily_active_users,
        {{ count_where('active_days.previous_date >= active_days.activity_date - 30') }}
            as returning_users
    from active_days
    where {{ in_window('active_days.activity_date') }}
    group by active_days.activity_date
),

daily_new_users as (
    select
        first_dates.first_date as metric_date,
        count(*) as new_users
    from first_dates
    where {{ in_window('first_dates.first_date') }}
    group by first_dates.first_date
),

-- An active day covers itself and the 6 (29) days after it, up to the user's next active day: the
-- number of intervals that cover a date is the exact number of distinct users of its last 7 (30)
-- days, in one pass and without joining users to dates.
changes as (
    select
        active_days.activity_date as change_date,
        1 as weekly_change,
        1 as monthly_change
    from active_days
    union all
    select
        least(active_days.activity_date + 7, active_days.next_date) as change_date,
        -1 as weekly_change,
        0 as monthly_change
    from active_days
    union all
    select
        least(active_days.activity_date + 30, active_days.next_date) as change_date,
        0 as weekly_change,
        -1 as monthly_change
    from active_days
    union all
    select
        calendar.calendar_date as change_date,
        0 as weekly_change,
        0 as monthly_change
    from calendar
    where {{ in_window('calendar.calendar_date') }}
),

daily_changes as (
    select
        changes.change_date,
        sum(changes.weekly_change) as weekly_change,
        sum(changes.monthly_change) as monthly_change
    from changes
    group by changes.change_date
),

rolling_users as (
    select
        daily_changes.change_date as metric_date,
        cast(sum(daily_changes.weekly_change) over up_to_date as bigint) as weekly_active_users,
        cast(sum(daily_changes.monthly_change) over up_to_date as bigint) as monthly_active_users
    from daily_changes
    window up_to_date as (order by daily_changes.change_date)
)

select
    calendar.calendar_date as metric_date,
    coalesce(daily_users.daily_active_users, 0) as daily_active_users,
    rolling_users.weekly_active_users,
    rolling_users.monthly_active_users,
    coalesce(daily_new_users.new_users, 0) as new_users,
    coalesce(daily_users.returning_users, 0) as returning_users
from calendar
inner join rolling_users on calendar.calendar_date = rolling_users.metric_date
left join daily_users on calendar.calendar_date = daily_users.metric_date
left join daily_new_users on calendar.calendar_date = daily_new_users.metric_date
where {{ in_window('calendar.calendar_date') }}
