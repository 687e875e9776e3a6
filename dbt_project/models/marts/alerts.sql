-- Grain: one row per metric_date, rule and subject that broke it.
{{ config(pre_hook="{{ delete_alert_window() }}", indexes=btree([['metric_date']])) }}

with rules as (
    select * from {{ ref('alert_rules') }}
),

{{ alert_comparisons() }}

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
where {{ is_alert('compared', 'compared.threshold') }}
