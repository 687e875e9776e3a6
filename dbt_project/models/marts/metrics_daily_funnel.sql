-- Grain: one row per metric_date, funnel and step that somebody reached.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with funnel_steps as (
    select * from {{ ref('int_funnel_steps') }}
),

counted as (
    select
        funnel_steps.metric_date,
        funnel_steps.entry_date,
        funnel_steps.funnel,
        funnel_steps.step,
        count(*) as users,
        {{ percentile_seconds('funnel_steps.step_ms', 0.5) }} as median_seconds_from_previous
    from funnel_steps
    where {{ in_window('funnel_steps.metric_date') }}
    group by
        funnel_steps.metric_date,
        funnel_steps.entry_date,
        funnel_steps.funnel,
        funnel_steps.step
)

select
    counted.metric_date,
    counted.funnel,
    counted.step,
    counted.entry_date,
    counted.users,
    {{ rate('counted.users', 'lag(counted.users) over steps') }} as conversion_from_previous,
    counted.median_seconds_from_previous,
    {{ rate('counted.users', 'first_value(counted.users) over steps') }} as conversion_from_first
from counted
window steps as (
    partition by counted.metric_date, counted.funnel
    order by counted.step
)
