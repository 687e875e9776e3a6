-- Grain: one row per as_of_date, advisor and sub-metric.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

with submetrics as (
    select * from {{ ref('int_advisor_submetrics') }}
)

select
    submetrics.as_of_date,
    submetrics.advisor_id_hash,
    submetrics.sub_metric,
    submetrics.component,
    submetrics.value,
    submetrics.peer_percentile,
    submetrics.is_excellent,
    submetrics.score,
    submetrics.numerator,
    submetrics.denominator,
    submetrics.threshold,
    submetrics.weight,
    submetrics.contribution,
    submetrics.points_to_gain
from submetrics
where {{ in_window('submetrics.as_of_date') }}
