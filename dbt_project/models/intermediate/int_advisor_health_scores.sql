-- Grain: one row per date and scored advisor.
{{ config(
    pre_hook="{{ delete_window('as_of_date') }}",
    indexes=btree([['as_of_date'], ['advisor_id_hash']])
) }}

{% set components = advisor_components() -%}
with submetrics as (
    select * from {{ ref('int_advisor_submetrics') }}
),

windows as (
    select * from {{ ref('int_advisor_windows') }}
),

tiers as (
    select * from {{ ref('advisor_tiers') }}
),

categories as (
    select * from {{ ref('advisor_categories') }}
),

base_scores as (
    select
        submetrics.as_of_date,
        submetrics.advisor_id_hash,
        {%- for name in components %}
        {{ rate(
            "sum(submetrics.weight * submetrics.score) filter (where submetrics.component = '"
            ~ name ~ "')",
            "sum(submetrics.weight) filter (where submetrics.component = '" ~ name ~ "')"
        ) }} as {{ name }},
        {%- endfor %}
        {{ held_within(0, 100, 'sum(submetrics.contribution)') }} as base_score
    from submetrics
    where {{ in_window('submetrics.as_of_date') }}
    group by submetrics.as_of_date, submetrics.advisor_id_hash
),

all_base_scores as (
    select
        base_scores.as_of_date,
        base_scores.advisor_id_hash,
        base_scores.base_score
    from base_scores
    {%- if is_incremental() %}
    union all
    select
        past.as_of_date,
        past.advisor_id_hash,
        past.base_score
    from {{ this }} as past
    where
        {{ in_window('past.as_of_date', reach=7) }}
        and {{ before_window('past.as_of_date') }}
    {%- endif %}
),

adjusted as (
    select
        base_scores.*,
        windows.tier,
        windows.period_days,
        {{ held_within(-5, 5, 'coalesce(base_scores.base_score - week_ago.base_score, 0)') }}
            as trend_adjustment
    from base_scores
    inner join windows
        on
            base_scores.as_of_date = windows.as_of_date
            and base_scores.advisor_id_hash = windows.advisor_id_hash
    left join all_base_scores as week_ago
        on
            base_scores.as_of_date - 7 = week_ago.as_of_date
            and base_scores.advisor_id_hash = week_ago.advisor_id_hash
),

-- Rounded half up, with room for what doubles lose.
scored as (
    select
        adjusted.*,
        tiers.bonus as tier_bonus,
        cast({{ held_within(0, 100, 'floor(adjusted.base_score + adjusted.trend_adjustment'
            ~ ' + tiers.bonus + 0.5 + ' ~ tolerance() ~ ')') }} as bigint) as health_score
    from adjusted
    left join tiers on adjusted.tier = tiers.tier
),

category_spans as (
    select
        categories.category,
        categories.minimum_score,
        lead(categories.minimum_score) over (order by categories.minimum_score) as next_minimum
    from categories
)

select
    scored.as_of_date,
    scored.advisor_id_hash,
    scored.tier,
    scored.period_days,
    {%- for name in components %}
    scored.{{ name }},
    {%- endfor %}
    scored.base_score,
    scored.trend_adjustment,
    scored.tier_bonus,
    scored.health_score,
    category_spans.category
from scored
left join category_spans
    on
        scored.health_score >= category_spans.minimum_score
        and scored.health_score < coalesce(category_spans.next_minimum, 101)
