-- Grain: one row per session and date on which the session holds a conversion.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['session_id']])
) }}

with session_days as (
    select * from {{ ref('int_session_days') }}
),

conversions as (
    select * from {{ ref('int_conversions') }}
),

days_later as (
    {{ days_within_reach() }}
),

-- What happens after the last event of a date counts on the date on which the session goes on.
counted as (
    select
        conversions.user_id,
        conversions.occurred_at,
        conversions.event_date + days_later.days as counted_on
    from conversions
    cross join days_later
    where {{ in_window('conversions.event_date', reach=session_reach()) }}
)

select distinct
    session_days.event_date,
    session_days.session_id
from session_days
inner join counted
    on
        session_days.user_key = counted.user_id
        and session_days.event_date = counted.counted_on
        and counted.occurred_at between session_days.covered_from and session_days.last_at
where
    {{ in_window('session_days.event_date') }}
    and session_days.user_key_type = 'user_id'
