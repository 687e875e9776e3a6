-- Grain: one row per as_of_date and scored advisor.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

{% set spans = [7, 30, 90] -%}
with scores as (
    select * from {{ ref('int_advisor_health_scores') }}
),

-- Twice ninety dates are what the longest change looks at.
compared as (
    select
        scores.as_of_date,
        scores.advisor_id_hash,
        {%- for days in spans %}
        {{ mean_health_score(days - 1, 0) }}
        - {{ mean_health_score(2 * days - 1, days) }} as change_{{ days }}d,
        {%- endfor %}
        max(scores.health_score) over (
            {{ dates_before('scores', 'advisor_id_hash', 'as_of_date', 29, 0) }}
        ) - min(scores.health_score) over (
            {{ dates_before('scores', 'advisor_id_hash', 'as_of_date', 29, 0) }}
        ) as score_range
    from scores
    where {{ in_window('scores.as_of_date', reach=179) }}
),

judged as (
    select
        compared.*,
        greatest(compared.change_7d, compared.change_30d, compared.change_90d) as largest_change,
        least(compared.change_7d, compared.change_30d, compared.change_90d) as smallest_change
    from compared
    where {{ in_window('compared.as_of_date') }}
)

select
    judged.as_of_date,
    judged.advisor_id_hash,
    judged.change_7d,
    judged.change_30d,
    judged.change_90d,
    case
        when judged.score_range <= 5 then 'stable'
        when {{ is_above('judged.smallest_change', 0) }} then 'improving'
        when {{ is_above('0', 'judged.largest_change') }} then 'declining'
        else 'volatile'
    end as trend
from judged
