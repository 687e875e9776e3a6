-- Grain: one row per metric_date, dense.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with calendar as (
    select * from {{ ref('int_calendar') }}
),

content as (
    select * from {{ ref('stg_content') }}
),

moderation as (
    select * from {{ ref('stg_moderation') }}
),

horoscope_events as (
    select * from {{ ref('int_horoscope_events') }}
),

daily_horoscopes as (
    select
        content.event_date as metric_date,
        {{ count_where("content.event_name = 'horoscope_uploaded'") }} as horoscopes_uploaded,
        {{ count_where("content.event_name = 'horoscope_approved'") }} as horoscopes_approved,
        {{ count_where("content.event_name = 'horoscope_published'") }} as horoscopes_published,
        {{ count_distinct_where(
            'content.zodiac_sign', "content.event_name = 'horoscope_published'"
        ) }} as signs_published
    from content
    where
        {{ in_window('content.event_date') }}
        and content.event_name <> 'horoscope_listened'
    group by content.event_date
),

daily_latencies as (
    select
        horoscope_events.event_date as metric_date,
        {{ average_seconds('horoscope_events.approval_latency_ms') }}
            as approval_latency_seconds_avg,
        {{ percentile_seconds('horoscope_events.approval_latency_ms', 0.95) }}
            as approval_latency_seconds_p95
    from horoscope_events
    where {{ in_window('horoscope_events.event_date') }}
    group by horoscope_events.event_date
),

daily_moderation as (
    select
        moderation.event_date as metric_date,
        {{ count_where(
            "moderation.event_name = 'moderation_decision'"
            ~ " and moderation.entity_type = 'horoscope' and moderation.status = 'rejected'"
        ) }} as horoscopes_rejected,
        {{ count_where("moderation.event_name = 'content_flagged'") }} as items_flagged,
        {{ count_where("moderation.event_name = 'moderation_decision'") }} as moderation_decisions,
        {{ count_where("moderation.event_name = 'appeal_submitted'") }} as appeals_submitted
    from moderation
    where {{ in_window('moderation.event_date') }}
    group by moderation.event_date
),

daily as (
    select
        calendar.calendar_date as metric_date,
        coalesce(daily_horoscopes.horoscopes_uploaded, 0) as horoscopes_uploaded,
        coalesce(daily_horoscopes.horoscopes_approved, 0) as horoscopes_approved,
        coalesce(daily_horoscopes.horoscopes_published, 0) as horoscopes_published,
        coalesce(daily_moderation.horoscopes_rejected, 0) as horoscopes_rejected,
        coalesce(daily_horoscopes.signs_published, 0) as signs_published,
        daily_latencies.approval_latency_seconds_avg,
        daily_latencies.approval_latency_seconds_p95,
        coalesce(daily_moderation.items_flagged, 0) as items_flagged,
        coalesce(daily_moderation.moderation_decisions, 0) as moderation_decisions,
        coalesce(daily_moderation.appeals_submitted, 0) as appeals_submitted
    from calendar
    left join daily_horoscopes on calendar.calendar_date = daily_horoscopes.metric_date
    left join daily_latencies on calendar.calendar_date = daily_latencies.metric_date
    left join daily_moderation on calendar.calendar_date = daily_moderation.metric_date
    where {{ in_window('calendar.calendar_date') }}
)

select
    daily.metric_date,
    daily.horoscopes_uploaded,
    daily.horoscopes_approved,
    daily.horoscopes_published,
    daily.horoscopes_rejected,
    daily.signs_published,
    {{ rate('daily.signs_published', 12) }} as coverage_rate,
    {{ rate(
        'daily.horoscopes_approved', '(daily.horoscopes_approved + daily.horoscopes_rejected)'
    ) }} as approval_rate,
    daily.approval_latency_seconds_avg,
    daily.approval_latency_seconds_p95,
    daily.items_flagged,
    daily.moderation_decisions,
    daily.appeals_submitted
from daily
