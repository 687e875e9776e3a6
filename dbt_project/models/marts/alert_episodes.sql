-- Grain: one row per rule, subject and opening of an episode of alerts, as of the last date run.
{{ config(materialized='view') }}

with episode_days as not materialized (
    select * from {{ ref('alert_episode_days') }}
),

totals as (
    select
        episode_days.rule,
        episode_days.subject_id,
        episode_days.opened_on,
        max(episode_days.metric_date) as last_date,
        max(episode_days.metric_date) filter (where episode_days.is_raised) as last_raised_on,
        {{ count_where('episode_days.is_raised') }} as dates_raised,
        {{ count_where('episode_days.is_resolved') }} as times_resolved,
        max(episode_days.value) filter (where episode_days.is_raised) as highest_value,
        min(episode_days.value) filter (where episode_days.is_raised) as lowest_value,
        max(episode_days.value) filter (where episode_days.metric_date = episode_days.opened_on)
            as first_value
    from episode_days
    group by episode_days.rule, episode_days.subject_id, episode_days.opened_on
)

select
    totals.rule,
    latest.subject_type,
    totals.subject_id,
    totals.opened_on,
    totals.last_raised_on,
    case when latest.is_resolved then totals.last_date end as resolved_on,
    case when latest.is_resolved then 'resolved' else 'open' end as status,
    totals.dates_raised,
    -- Resolved before the last time, and broken again within the cool-down.
    totals.times_resolved - case when latest.is_resolved then 1 else 0 end as times_reopened,
    totals.first_value,
    case when latest.comparison = 'above' then totals.highest_value else totals.lowest_value end
        as worst_value,
    latest.value as last_value,
    totals.last_date,
    latest.threshold,
    latest.clear_threshold,
    latest.severity,
    latest.message,
    latest.type,
    latest.relation,
    latest.metric,
    latest.comparison
from totals
inner join episode_days as latest
    on
        totals.rule = latest.rule
        and totals.subject_id = latest.subject_id
        and totals.last_date = latest.metric_date
