-- Grain: one row per metric_date and channel.
{{ config(
    pre_hook="{{ delete_dates_of_changed_sessions() }}",
    indexes=btree([['metric_date']])
) }}

with sessions as (
    select * from {{ ref('sessions') }}
),

changed_dates as (
    {{ dates_of_changed_sessions() }}
),

-- Without it a planner takes them for any dates of all of history.
span as (
    select
        min(changed_dates.session_date) as first_date,
        max(changed_dates.session_date) as last_date
    from changed_dates
),

changed as (
    select
        sessions.*,
        sessions.user_key_type || ':' || sessions.user_key as typed_key,
        {{ milliseconds_between('sessions.session_start_at', 'sessions.session_end_at') }}
            as duration_ms
    from sessions
    where
        sessions.session_date >= (select span.first_date from span)
        and sessions.session_date <= (select span.last_date from span)
        and sessions.session_date in (select changed_dates.session_date from changed_dates)
),

daily as (
    select
        changed.session_date as metric_date,
        changed.channel,
        count(*) as sessions,
        count(distinct changed.typed_key) as users,
        {{ total('changed.event_count') }} as events,
        {{ count_where('changed.is_bounce') }} as bounced_sessions,
        {{ count_where('changed.has_conversion') }} as converted_sessions,
        {{ average_seconds('changed.duration_ms') }} as duration_seconds_avg,
        {{ percentile_seconds('changed.duration_ms', 0.5) }} as duration_seconds_p50
    from changed
    group by changed.session_date, changed.channel
)

select
    daily.metric_date,
    daily.channel,
    daily.sessions,
    daily.users,
    {{ rate('daily.events', 'daily.sessions') }} as events_per_session_avg,
    daily.duration_seconds_avg,
    daily.duration_seconds_p50,
    {{ rate('daily.bounced_sessions', 'daily.sessions') }} as bounce_rate,
    {{ rate('daily.converted_sessions', 'daily.sessions') }} as conversion_rate,
    daily.events,
    daily.bounced_sessions,
    daily.converted_sessions
from daily
