-- Grain: one row per date and advisor with an advisory event in the 30 dates up to it.
{{ config(
    pre_hook="{{ delete_window('as_of_date') }}",
    indexes=btree([['as_of_date']])
) }}

{% set daily_counts = [
    'advisory_events', 'content_days', 'contents_created', 'messages_sent', 'messages_delivered',
    'responses', 'tickets', 'quality_high_days', 'quality_rated_days',
] -%}
{% set span_counts = [
    'content_types', 'contents_decided', 'contents_approved', 'contents_due', 'contents_on_time',
    'delivered_of_sent', 'read_of_delivered', 'messages_forwarded', 'features_adopted',
    'dashboard_views',
] -%}
with calendar as (
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

features as (
    select * from {{ ref('platform_features') }}
),

counted_days as (
    select
        days.*,
        case when days.contents_created > 0 then 1 else 0 end as content_days,
        case when days.last_quality_rating = 'high' then 1 else 0 end as quality_high_days,
        case when days.last_quality_rating is not null then 1 else 0 end as quality_rated_days
    from days
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

-- What a day counted enters the window on its date and leaves it 30 dates later.
changes as (
    {%- for date, sign in [('counted_days.event_date', ''), ('counted_days.event_date + 30', '-')] %}
    select
        counted_days.advisor_id_hash,
        {{ date }} as change_date,
        0 as is_scored,
        {%- for name in daily_counts %}
        {{ sign }}counted_days.{{ name }} as {{ name }},
        {%- endfor %}
        {%- for name in span_counts %}
        0 as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from counted_days
    union all
    {%- endfor %}
    {%- for date, sign in [('spans.starts_on', ''), ('spans.ends_on', '-')] %}
    select
        spans.advisor_id_hash,
        {{ date }} as change_date,
        0 as is_scored,
        {%- for name in daily_counts %}
        0 as {{ name }},
        {%- endfor %}
        {%- for name in span_counts %}
        case spans.measure when '{{ name }}' then {{ sign }}spans.amount else 0 end as {{ name }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from spans
    union all
    {%- endfor %}
    select
        active_spans.advisor_id_hash,
        calendar.calendar_date as change_date,
        1 as is_scored,
        {%- for name in daily_counts + span_counts %}
        0 as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from active_spans
    inner join calendar
        on
            active_spans.starts_on <= calendar.calendar_date
            and active_spans.ends_on > calendar.calendar_date
    where {{ in_window('calendar.calendar_date') }}
),

daily_changes as (
    select
        changes.advisor_id_hash,
        changes.change_date,
        max(changes.is_scored) as is_scored,
        {%- for name in daily_counts + span_counts %}
        {{ total('changes.' ~ name) }} as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from changes
    where changes.change_date < {{ window_end() }}
    group by changes.advisor_id_hash, changes.change_date
),

running as (
    select
        daily_changes.advisor_id_hash,
        daily_changes.change_date as as_of_date,
        daily_changes.is_scored,
        {%- for name in daily_counts + span_counts %}
        cast(sum(daily_changes.{{ name }}) over up_to_date as bigint) as {{ name }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from daily_changes
    window up_to_date as (
        partition by daily_changes.advisor_id_hash order by daily_changes.change_date
    )
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
    {%- for name in daily_counts + span_counts %}
    running.{{ name }},
    {%- endfor %}
    (select count(distinct features.feature) from features) as features_offered
from running
inner join tier_spans
    on
        running.advisor_id_hash = tier_spans.advisor_id_hash
        and running.as_of_date >= tier_spans.valid_from
        and running.as_of_date < coalesce(tier_spans.valid_until, {{ window_end() }})
where running.is_scored = 1
