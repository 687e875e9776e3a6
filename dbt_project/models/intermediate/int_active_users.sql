-- Grain: one row per calendar date: how many users were active on it, and of which kind.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with calendar as not materialized (
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
        lead(user_days.activity_date) over (
            partition by user_days.user_id order by user_days.activity_date
        ) as next_date
    from user_days
    where {{ in_window('user_days.activity_date', reach=30) }}
),

spans as (
    select
        active_days.activity_date,
        active_days.next_date,
        count(*) as users
    from active_days
    group by active_days.activity_date, active_days.next_date
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
-- number of spans that cover a date is the exact number of distinct users of its last 7 (30)
-- days, in one pass and without joining users to dates.
changes as (
    select
        spans.activity_date as change_date,
        spans.users as daily_users,
        0 as returning_users,
        spans.users as weekly_change,
        spans.users as monthly_change
    from spans
    union all
    select
        least(spans.activity_date + 7, spans.next_date) as change_date,
        0 as daily_users,
        0 as returning_users,
        -spans.users as weekly_change,
        0 as monthly_change
    from spans
    union all
    select
        least(spans.activity_date + 30, spans.next_date) as change_date,
        0 as daily_users,
        case when spans.next_date <= spans.activity_date + 30 then spans.users else 0 end
            as returning_users,
        0 as weekly_change,
        -spans.users as monthly_change
    from spans
    union all
    select
        calendar.calendar_date as change_date,
        0 as daily_users,
        0 as returning_users,
        0 as weekly_change,
        0 as monthly_change
    from calendar
    where {{ in_window('calendar.calendar_date') }}
),

daily_changes as (
    select
        changes.change_date,
        {{ total('changes.daily_users') }} as daily_active_users,
        {{ total('changes.returning_users') }} as returning_users,
        sum(changes.weekly_change) as weekly_change,
        sum(changes.monthly_change) as monthly_change
    from changes
    group by changes.change_date
),

rolling_users as (
    select
        daily_changes.change_date as metric_date,
        daily_changes.daily_active_users,
        daily_changes.returning_users,
        cast(sum(daily_changes.weekly_change) over up_to_date as bigint) as weekly_active_users,
        cast(sum(daily_changes.monthly_change) over up_to_date as bigint) as monthly_active_users
    from daily_changes
    window up_to_date as (order by daily_changes.change_date)
)

select
    calendar.calendar_date as metric_date,
    rolling_users.daily_active_users,
    rolling_users.weekly_active_users,
    rolling_users.monthly_active_users,
    coalesce(daily_new_users.new_users, 0) as new_users,
    rolling_users.returning_users
from calendar
inner join rolling_users on calendar.calendar_date = rolling_users.metric_date
left join daily_new_users on calendar.calendar_date = daily_new_users.metric_date
where {{ in_window('calendar.calendar_date') }}
