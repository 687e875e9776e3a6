-- Grain: one row per metric_date, campaign (source, medium, campaign) and model, sparse.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with conversions as (
    select * from {{ ref('int_attribution_conversions') }}
),

touches as (
    select * from {{ ref('int_attribution_touches') }}
),

refunds as (
    select * from {{ ref('int_refunds') }}
),

spend as (
    select * from {{ ref('campaign_spend') }}
),

calendar as (
    select * from {{ ref('int_calendar') }}
),

models as (
    {{ attribution_models() }}
),

-- What came in on the date, and what went back on it, by the conversion that it belongs to.
moved as (
    select
        conversions.event_date as metric_date,
        conversions.event_date as conversion_date,
        conversions.conversion_event_id,
        conversions.value_cents as revenue_cents,
        0 as refunded_cents
    from conversions
    where {{ in_window('conversions.event_date') }}
    union all
    select
        refunds.event_date as metric_date,
        refunds.conversion_date,
        refunds.conversion_event_id,
        0 as revenue_cents,
        refunds.refunded_cents
    from refunds
    where {{ in_window('refunds.event_date') }}
),

parts as (
    select
        moved.metric_date,
        {%- for column in campaign_columns() %}
        coalesce(touches.{{ column }}, 'unknown') as {{ column }},
        {%- endfor %}
        models.model,
        {{ attribution_credit('models.model', 'touches') }} as credit,
        moved.revenue_cents,
        moved.refunded_cents,
        0 as cost_cents
    from moved
    inner join touches
        on
            moved.conversion_event_id = touches.conversion_event_id
            and moved.conversion_date = touches.event_date
    cross join models
    where moved.revenue_cents + moved.refunded_cents > 0
    union all
    select
        spend.spend_date as metric_date,
        {%- for column in campaign_columns() %}
        coalesce(spend.{{ column }}, 'unknown') as {{ column }},
        {%- endfor %}
        models.model,
        cast(0 as double precision) as credit,
        0 as revenue_cents,
        0 as refunded_cents,
        spend.amount_cents as cost_cents
    from spend
    inner join calendar on spend.spend_date = calendar.calendar_date
    cross join models
    where
        {{ in_window('spend.spend_date') }}
        and {{ is_reported_money('spend') }}
),

daily as (
    select
        {{ listed(['metric_date'] + campaign_columns() + ['model'], 'parts.{name}') }},
        sum(parts.credit * parts.revenue_cents) as revenue_cents,
        sum(parts.credit * parts.refunded_cents) as refunded_cents,
        {{ total('parts.cost_cents') }} as cost_cents
    from parts
    group by {{ listed(['metric_date'] + campaign_columns() + ['model'], 'parts.{name}') }}
)

select
    {{ listed(['metric_date'] + campaign_columns() + ['model'], 'daily.{name}') }},
    daily.revenue_cents,
    daily.refunded_cents,
    daily.revenue_cents - daily.refunded_cents as net_revenue_cents,
    daily.cost_cents,
    {{ rate(
        '(daily.revenue_cents - daily.refunded_cents - daily.cost_cents)', 'daily.cost_cents'
    ) }} as return_on_spend
from daily
where daily.revenue_cents + daily.refunded_cents + daily.cost_cents > 0
