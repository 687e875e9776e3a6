-- Grain: one row per week (Monday to Sunday) and advisor with a health score in it.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

{% set components = advisor_components() -%}
with weeks as not materialized (
    select * from {{ ref('int_advisor_weeks') }}
),

scores as (
    select * from {{ ref('int_advisor_health_scores') }}
),

submetrics as (
    select * from {{ ref('int_advisor_submetrics') }}
),

ranked as (
    select
        weeks.*,
        {{ peer_counts('weeks.mean_score', ['weeks.week_end'], 'weeks.tier') }}
    from weeks
    where {{ in_window('weeks.week_end') }}
),

component_scores as (
    {%- for name in components %}
    select
        scores.as_of_date,
        scores.advisor_id_hash,
        {{ loop.index }} as position,
        '{{ name }}' as component,
        scores.{{ name }} as score,
        avg(scores.{{ name }}) over (partition by scores.as_of_date) as mean_score,
        least(
            {%- for other in components %}
            scores.{{ other }}{{ ',' if not loop.last }}
            {%- endfor %}
        ) as lowest_score
    from scores
    where {{ in_window('scores.as_of_date', reach=6) }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

components as (
    select
        component_scores.as_of_date,
        component_scores.advisor_id_hash,
        min({{ byte_order('component_scores.component') }}) filter (
            where not {{ is_above('component_scores.score', 'component_scores.lowest_score') }}
        ) as weakest_component,
        string_agg(component_scores.component, ',' order by component_scores.position) filter (
            where {{ is_above('component_scores.mean_score', 'component_scores.score') }}
        ) as components_below_mean
    from component_scores
    group by component_scores.as_of_date, component_scores.advisor_id_hash
),

opportunities as (
    select
        submetrics.as_of_date,
        submetrics.advisor_id_hash,
        submetrics.sub_metric,
        (submetrics.platform_p75 - submetrics.value)
        * submetrics.component_weight * submetrics.sub_metric_weight as opportunity
    from submetrics
    where
        {{ in_window('submetrics.as_of_date', reach=6) }}
        and submetrics.value is not null
),

compared_opportunities as (
    select
        opportunities.*,
        max(opportunities.opportunity) over (
            partition by opportunities.as_of_date, opportunities.advisor_id_hash
        ) as largest_opportunity
    from opportunities
),

strongest as (
    select
        compared_opportunities.as_of_date,
        compared_opportunities.advisor_id_hash,
        min({{ byte_order('compared_opportunities.sub_metric') }}) as strongest_opportunity
    from compared_opportunities
    where not {{ is_above(
        'compared_opportunities.largest_opportunity', 'compared_opportunities.opportunity'
    ) }}
    group by compared_opportunities.as_of_date, compared_opportunities.advisor_id_hash
)

select
    ranked.week_end - 6 as week_start,
    ranked.advisor_id_hash,
    ranked.week_end as metric_date,
    ranked.mean_score,
    ranked.mean_score - week_before.mean_score as score_change,
    {{ peer_percentile('ranked.mean_score', 'ranked') }} as peer_percentile,
    components.weakest_component,
    coalesce(components.components_below_mean, '') as components_below_mean,
    strongest.strongest_opportunity,
    ranked.forecast_score_7d
from ranked
inner join components
    on
        ranked.last_date = components.as_of_date
        and ranked.advisor_id_hash = components.advisor_id_hash
inner join strongest
    on
        ranked.last_date = strongest.as_of_date
        and ranked.advisor_id_hash = strongest.advisor_id_hash
left join weeks as week_before
    on
        ranked.week_end - 7 = week_before.week_end
        and ranked.advisor_id_hash = week_before.advisor_id_hash
