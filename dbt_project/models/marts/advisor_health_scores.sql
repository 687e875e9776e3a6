-- Grain: one row per as_of_date and advisor with an advisory event in the 30 dates up to it.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

with scores as (
    select * from {{ ref('int_advisor_health_scores') }}
)

select
    scores.as_of_date,
    scores.advisor_id_hash,
    scores.tier,
    scores.period_days,
    scores.content_creation_consistency,
    scores.delivery_performance,
    scores.client_engagement_effectiveness,
    scores.platform_utilization,
    scores.base_score,
    scores.trend_adjustment,
    scores.tier_bonus,
    scores.health_score,
    scores.category
from scores
where {{ in_window('scores.as_of_date') }}
