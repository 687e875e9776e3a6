-- Grain: one row per as_of_date, scored advisor and trigger that holds.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

with scores as (
    select * from {{ ref('int_advisor_health_scores') }}
),

triggers as (
    select * from {{ ref('advisor_triggers') }}
),

-- One date more than is written, to tell what is new; and the four weeks it looks back on.
weekly_means as (
    select
        scores.as_of_date,
        scores.advisor_id_hash,
        {%- for weeks in range(4) %}
        {{ mean_health_score(7 * weeks + 6, 7 * weeks) }} as mean_{{ weeks }}_weeks_ago,
        {%- endfor %}
        scores.health_score
    from scores
    where {{ in_window('scores.as_of_date', reach=28) }}
),

declines as (
    select
        weekly_means.*,
        case
            {%- for weeks in range(3) %}
            when
                {{ is_above(
                    'weekly_means.mean_' ~ (weeks + 1) ~ '_weeks_ago',
                    'weekly_means.mean_' ~ weeks ~ '_weeks_ago'
                ) }} is not true
                then {{ weeks }}
            {%- endfor %}
            else 3
        end as weeks_declining
    from weekly_means
    where {{ in_window('weekly_means.as_of_date', reach=1) }}
),

holding as (
    select
        declines.as_of_date,
        declines.advisor_id_hash,
        declines.health_score,
        triggers.trigger,
        triggers.response,
        triggers.action,
        lag(declines.as_of_date) over (
            partition by declines.advisor_id_hash, triggers.trigger order by declines.as_of_date
        ) as previous_date
    from declines
    inner join triggers
        on
            case triggers.rule
                when 'score_below' then declines.health_score < triggers.threshold
                when 'score_at_least' then declines.health_score >= triggers.threshold
                when 'weeks_declining' then declines.weeks_declining >= triggers.threshold
            end
)

select
    holding.as_of_date,
    holding.advisor_id_hash,
    holding.trigger,
    holding.response,
    holding.action,
    holding.health_score,
    coalesce(holding.previous_date < holding.as_of_date - 1, true) as is_new
from holding
where {{ in_window('holding.as_of_date') }}
