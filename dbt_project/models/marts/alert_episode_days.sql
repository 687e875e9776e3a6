-- Grain: one row per metric_date, rule and subject on which an episode of alerts goes on.
{{ config(
    pre_hook="{{ delete_from_window('metric_date') }}",
    indexes=btree([['metric_date'], ['rule', 'subject_id', 'metric_date']])
) }}

with alert_rules as (
    select * from {{ ref('alert_rules') }}
),

alert_policies as (
    select * from {{ ref('alert_policies') }}
),

rules as (
    select
        alert_rules.*,
        alert_policies.sample_metric,
        alert_policies.minimum_sample,
        coalesce(alert_policies.clear_threshold, alert_rules.threshold) as clear_threshold,
        coalesce(alert_policies.resolve_after_dates, {{ var('alert_resolve_after_dates') | int }})
            as resolve_after_dates,
        coalesce(alert_policies.cool_down_dates, {{ var('alert_cool_down_dates') | int }})
            as cool_down_dates
    from alert_rules
    left join alert_policies on alert_rules.rule = alert_policies.rule
),

{{ alert_comparisons(from_on=true, sample='sample_metric') }},

judged as (
    select
        compared.*,
        {{ is_alert('compared', 'compared.threshold') }} as is_raised,
        not {{ is_alert('compared', 'compared.threshold') }}
        and not {{ is_alert('compared', 'compared.clear_threshold') }} as is_good
    from compared
    -- What too few say says nothing, neither good nor bad. Without a sample there is no minimum.
    where coalesce(compared.sample >= compared.minimum_sample, true)
),

-- The row of where an episode stood before the window opens a stretch as a broken date does.
days as (
    select
        judged.metric_date,
        judged.rule,
        judged.subject_id,
        judged.is_raised as is_break,
        judged.is_good,
        judged.resolve_after_dates,
        judged.cool_down_dates,
        0 as past_good_dates,
        cast(null as date) as past_opened_on,
        cast(null as date) as past_resolved_on
    from judged
    where judged.is_raised is not null
    {%- if is_incremental() %}
    union all
    select
        past.metric_date,
        past.rule,
        past.subject_id,
        true as is_break,
        false as is_good,
        rules.resolve_after_dates,
        rules.cool_down_dates,
        past.good_dates as past_good_dates,
        past.opened_on as past_opened_on,
        case when past.is_resolved then past.metric_date end as past_resolved_on
    from ({{ latest_episode_days('judged') }}) as past
    inner join rules on past.rule = rules.rule
    {%- endif %}
),

{{ episodes_of('days') }}

select
    judged.metric_date,
    judged.rule,
    judged.subject_type,
    judged.subject_id,
    episodes.opened_on,
    judged.value,
    judged.compared_to,
    judged.is_raised,
    judged.is_good,
    episodes.good_dates,
    coalesce(judged.metric_date = episodes.resolved_on, false) as is_resolved,
    judged.threshold,
    judged.clear_threshold,
    judged.severity,
    judged.message,
    judged.type,
    judged.relation,
    judged.metric,
    judged.comparison
from judged
inner join episodes
    on
        judged.metric_date = episodes.metric_date
        and judged.rule = episodes.rule
        and judged.subject_id = episodes.subject_id
