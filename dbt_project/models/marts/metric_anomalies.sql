-- Grain: one row per metric_date and monitored metric with a value on it.
{{ config(pre_hook="{{ delete_from_window('metric_date') }}", indexes=btree([['metric_date']])) }}

{% set past_values = anomaly_past_values() -%}
with recursive metrics as (
    select * from {{ ref('monitored_metrics') }}
),

calendar as (
    select * from {{ ref('int_calendar') }}
),

monitored_rows as (
    {{ monitored_rows() }}
),

daily as (
    select
        monitored_rows.metric_date,
        monitored_rows.relation,
        monitored_rows.metric,
        case monitored_rows.aggregate
            when 'sum' then sum(monitored_rows.value)
            when 'max' then max(monitored_rows.value)
            else {{ rate(
                'sum(monitored_rows.value * monitored_rows.weight)',
                'sum(monitored_rows.weight) filter (where monitored_rows.value is not null)'
            ) }}
        end as value
    from monitored_rows
    group by
        monitored_rows.metric_date,
        monitored_rows.relation,
        monitored_rows.metric,
        monitored_rows.aggregate
),

-- A sum of no rows is 0: what stopped altogether is worth an anomaly.
measured as (
    select
        calendar.calendar_date as metric_date,
        metrics.relation,
        metrics.metric,
        metrics.least_spread,
        case when metrics.aggregate = 'sum' then coalesce(daily.value, 0) else daily.value end
            as value
    from calendar
    cross join metrics
    left join daily
        on
            calendar.calendar_date = daily.metric_date
            and metrics.relation = daily.relation
            and metrics.metric = daily.metric
    where {{ from_window('calendar.calendar_date') }}
),

span as (
    select
        min(measured.metric_date) as first_date,
        max(measured.metric_date) as last_date
    from measured
),

-- The seven dates before the first one, a weekday each, and what they were compared with.
starts as (
    {{ anomaly_starts(past_values) }}
),

-- A verdict depends on the verdicts before it, of the same weekday: one step a week.
weeks as (
    select starts.* from starts
    union all
    {{ anomaly_step('weeks', past_values) }}
),

flagged as (
    select
        weeks.*,
        max(case when weeks.is_anomaly then 1 else 0 end) over (
            partition by weeks.relation, weeks.metric
            order by weeks.metric_date
            range between interval '1 day' preceding and interval '1 day' preceding
        ) as was_anomaly
    from weeks
)

select
    flagged.metric_date,
    flagged.relation,
    flagged.metric,
    flagged.value,
    flagged.values_compared,
    flagged.expected,
    flagged.spread,
    flagged.expected - {{ var('anomaly_threshold') | float }} * flagged.spread as lower_bound,
    flagged.expected + {{ var('anomaly_threshold') | float }} * flagged.spread as upper_bound,
    flagged.deviation,
    flagged.is_anomaly,
    flagged.is_anomaly and coalesce(flagged.was_anomaly, 0) = 0 as is_new
from flagged
inner join span on flagged.metric_date >= span.first_date
where flagged.value is not null
