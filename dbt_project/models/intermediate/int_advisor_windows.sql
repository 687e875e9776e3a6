-- Grain: one row per date and advisor with an advisory event in the 30 dates up to it.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

{% set daily_counts = advisor_daily_counts() -%}
{% set span_counts = advisor_span_counts() -%}
{% set counts = daily_counts + span_counts -%}
with calendar as not materialized (
    select * from {{ ref('int_calendar') }}
),

days as (
    select * from {{ ref('int_advisor_days') }}
),

spans as (
    select * from {{ ref('int_advisor_spans') }}
),

tiers as (
    select * from {{ ref('int_advisor_tiers') }}
),

counted_days as (
    select * from days
    where {{ in_window('days.event_date', reach=29) }}
),

active_spans as (
    select
        counted_days.advisor_id_hash,
        counted_days.event_date as starts_on,
        least(
            counted_days.event_date + 30,
            lead(counted_days.event_date) over (
                partition by counted_days.advisor_id_hash order by counted_days.event_date
            )
        ) as ends_on
    from counted_days
    where counted_days.advisory_events > 0
),

-- What a day counted enters the window on its date and leaves it 30 dates later; a span likewise.
moves (sign, days_later) as (
    values (1, 0), (-1, 30)
),

changes as (
    select
        counted_days.advisor_id_hash,
        counted_days.event_date + moves.days_later as change_date,
        {{ listed(daily_counts, 'moves.sign * counted_days.{name} as {name}') }},
        {{ listed(span_counts, '0 as {name}') }}
    from counted_days
    cross join moves
    union all
    select
        spans.advisor_id_hash,
        case moves.sign when 1 then spans.starts_on else spans.ends_on end as change_date,
        {{ listed(daily_counts, '0 as {name}') }},
        {{ listed(
            span_counts,
            "case spans.measure when '{name}' then moves.sign * spans.amount end as {name}"
        ) }}
    from spans
    cross join moves
    union all
    select
        active_spans.advisor_id_hash,
        calendar.calendar_date as change_date,
        {{ listed(counts, '0 as {name}') }}
    from active_spans
    inner join calendar
        on
            active_spans.starts_on <= calendar.calendar_date
            and active_spans.ends_on > calendar.calendar_date
    where {{ in_window('calendar.calendar_date') }}
),

running as (
    select
        changes.advisor_id_hash,
        changes.change_date as as_of_date,
        {{ listed(counts, running_total('changes.{name}', 'up_to_date') ~ ' as {name}') }}
    from changes
    where changes.change_date < {{ window_end() }}
    group by changes.advisor_id_hash, changes.change_date
    window up_to_date as (partition by changes.advisor_id_hash order by changes.change_date)
),

tier_spans as (
    select
        tiers.*,
        lead(tiers.valid_from) over (
            partition by tiers.advisor_id_hash order by tiers.valid_from
        ) as valid_until
    from tiers
    where tiers.valid_from < {{ window_end() }}
)

select
    running.as_of_date,
    running.advisor_id_hash,
    tier_spans.tier,
    cast(least(30, running.as_of_date - tier_spans.first_date + 1) as bigint) as period_days,
    {{ listed(counts, 'running.{name}') }},
    (
        select count(distinct features.feature) from {{ ref('platform_features') }} as features
    ) as features_offered
from running
inner join calendar on running.as_of_date = calendar.calendar_date
inner join tier_spans
    on
        running.advisor_id_hash = tier_spans.advisor_id_hash
        and running.as_of_date >= tier_spans.valid_from
        and running.as_of_date < coalesce(tier_spans.valid_until, {{ window_end() }})
where
    {{ in_window('running.as_of_date') }}
    and running.advisory_events > 0
