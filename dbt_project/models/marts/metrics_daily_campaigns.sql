-- Grain: one row per metric_date, campaign (source, medium, campaign) and model, sparse.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with session_days as (
    select * from {{ ref('int_session_days') }}
),

credits as (
    select * from {{ ref('conversion_attribution') }}
),

models as (
    {{ attribution_models() }}
),

-- The origin of a session as known at the end of its date is the one of its first date.
visits as (
    select
        session_days.session_date as metric_date,
        {%- for column in campaign_columns() %}
        coalesce(session_days.{{ column }}, 'unknown') as {{ column }},
        {%- endfor %}
        session_days.session_id
    from session_days
    where
        {{ in_window('session_days.event_date') }}
        and session_days.event_date = session_days.session_date
),

daily_visits as (
    select
        visits.metric_date,
        {%- for column in campaign_columns() %}
        visits.{{ column }},
        {%- endfor %}
        count(*) as sessions
    from visits
    group by {{ listed(['metric_date'] + campaign_columns(), 'visits.{name}') }}
),

daily_credits as (
    select
        credits.metric_date,
        {%- for column in campaign_columns() %}
        coalesce(credits.{{ column }}, 'unknown') as {{ column }},
        {%- endfor %}
        credits.model,
        credits.credit as conversions,
        credits.credit * credits.value_cents as revenue_cents
    from credits
    where {{ in_window('credits.metric_date') }}
),

parts as (
    select
        daily_visits.*,
        models.model,
        cast(0 as double precision) as conversions,
        cast(0 as double precision) as revenue_cents
    from daily_visits
    cross join models
    union all
    select
        {{ listed(['metric_date'] + campaign_columns(), 'daily_credits.{name}') }},
        0 as sessions,
        daily_credits.model,
        daily_credits.conversions,
        daily_credits.revenue_cents
    from daily_credits
)

select
    {{ listed(['metric_date'] + campaign_columns() + ['model'], 'parts.{name}') }},
    {{ total('parts.sessions') }} as sessions,
    sum(parts.conversions) as conversions,
    sum(parts.revenue_cents) as revenue_cents
from parts
group by {{ listed(['metric_date'] + campaign_columns() + ['model'], 'parts.{name}') }}
