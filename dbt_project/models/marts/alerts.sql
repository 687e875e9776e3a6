-- Grain: one row per metric_date, rule and subject that broke it.
{{ config(pre_hook="{{ delete_alert_window() }}", indexes=btree([['metric_date']])) }}

with rules as (
    select * from {{ ref('alert_rules') }}
),

subject_values as (
    {{ alert_values() }}
),

-- Dates of the calendar, however many of them have a row: the mean is over the values there are.
known as (
    select
        subject_values.*,
        max(subject_values.value) over date_before as previous_value,
        avg(subject_values.value) over week_before as usual_value
    from subject_values
    window
        date_before as (
            partition by subject_values.rule, subject_values.subject_id
            order by subject_values.metric_date
            range between interval '1 day' preceding and interval '1 day' preceding
        ),
        week_before as (
            partition by subject_values.rule, subject_values.subject_id
            order by subject_values.metric_date
            range between interval '7 days' preceding and interval '1 day' preceding
        )
),

compared as (
    select
        known.metric_date,
        known.subject_type,
        known.subject_id,
        known.value,
        rules.*,
        case rules.comparison
            when 'below_share_of_previous_date' then known.previous_value
            when 'below_share_of_mean_of_7_dates' then known.usual_value
        end as compared_to
    from known
    inner join rules on known.rule = rules.rule
    where {{ in_alert_window('known.metric_date') }}
)

select
    compared.metric_date,
    compared.rule,
    compared.subject_type,
    compared.subject_id,
    compared.value,
    compared.threshold,
    compared.compared_to,
    compared.severity,
    compared.message,
    compared.type,
    compared.relation,
    compared.metric,
    compared.comparison
from compared
where
    case compared.comparison
        when 'above' then {{ is_above('compared.value', 'compared.threshold') }}
        when 'below' then {{ is_above('compared.threshold', 'compared.value') }}
        else {{ is_above('compared.threshold * compared.compared_to', 'compared.value') }}
    end
