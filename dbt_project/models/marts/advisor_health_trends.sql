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
        {{ rate(
            'sum(scores.health_score) over last_' ~ days, 'count(*) over last_' ~ days
        ) }}
        - {{ rate(
            'sum(scores.health_score) over prior_' ~ days, 'count(*) over prior_' ~ days
        ) }} as change_{{ days }}d,
        {%- endfor %}
        max(scores.health_score) over last_30 - min(scores.health_score) over last_30 as score_range
    from scores
    where {{ in_window('scores.as_of_date', reach=179) }}
    window
        {%- for days in spans %}
        last_{{ days }} as (
            partition by scores.advisor_id_hash order by scores.as_of_date
            range between interval '{{ days - 1 }} days' preceding and current row
        ),
        prior_{{ days }} as (
            partition by scores.advisor_id_hash order by scores.as_of_date
            range between interval '{{ 2 * days - 1 }} days' preceding
            and interval '{{ days }} days' preceding
        ){{ ',' if not loop.last }}
        {%- endfor %}
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
