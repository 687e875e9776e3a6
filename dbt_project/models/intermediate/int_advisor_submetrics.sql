-- Grain: one row per date, scored advisor and sub-metric.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

{% set peer_weight = var('peer_weight') | float -%}
with valued as (
    select * from {{ ref('int_advisor_values') }}
),

compared as (
    select
        valued.*,
        row_number() over (
            partition by valued.as_of_date, valued.sub_metric order by valued.value
        ) - 1 as place,
        {{ peer_counts('valued.value', ['valued.as_of_date', 'valued.sub_metric'], 'valued.tier') }}
    from valued
),

-- A percentile given as data: the two values around its place, weighted by how near they are.
platform as (
    select
        compared.as_of_date,
        compared.sub_metric,
        {{ percentile('compared.value', 0.75) }} as platform_p75,
        sum(
            compared.value * greatest(
                0, 1 - abs(compared.place - compared.defined_threshold * (compared.all_peers - 1))
            )
        ) as platform_percentile
    from compared
    where compared.value is not null
    group by compared.as_of_date, compared.sub_metric
),

judged as (
    select
        compared.*,
        platform.platform_p75,
        case compared.threshold_kind
            when 'above_platform_percentile' then platform.platform_percentile
            else compared.defined_threshold
        end as threshold,
        {{ peer_percentile('compared.value', 'compared') }} as peer_percentile
    from compared
    left join platform
        on compared.as_of_date = platform.as_of_date and compared.sub_metric = platform.sub_metric
),

excelled as (
    select
        judged.*,
        case judged.threshold_kind
            when 'at_least' then {{ is_at_least('judged.value', 'judged.threshold') }}
            else {{ is_above('judged.value', 'judged.threshold') }}
        end as is_excellent
    from judged
),

-- Attainment of who does not excel; a threshold of 0 is attained by everyone.
attained as (
    select
        excelled.*,
        case
            when excelled.value is null then null
            when excelled.is_excellent or excelled.threshold <= {{ tolerance() }} then 100
            else 100 * least(1, {{ rate('excelled.value', 'excelled.threshold') }})
        end as attainment,
        case when excelled.value is null then 0 else excelled.sub_metric_weight end as valued_weight
    from excelled
),

shared as (
    select
        attained.*,
        (1 - {{ peer_weight }}) * attained.attainment
        + {{ peer_weight }} * coalesce(attained.peer_percentile, attained.attainment) as score,
        attained.component_weight * {{ rate(
            'attained.valued_weight',
            'sum(attained.valued_weight) over ('
            ~ 'partition by attained.as_of_date, attained.advisor_id_hash, attained.component)'
        ) }} as base_weight
    from attained
),

weighted as (
    select
        shared.*,
        coalesce({{ rate(
            'shared.base_weight',
            'sum(shared.base_weight) over (partition by shared.as_of_date, shared.advisor_id_hash)'
        ) }}, 0) as weight
    from shared
)

select
    weighted.as_of_date,
    weighted.advisor_id_hash,
    weighted.sub_metric,
    weighted.component,
    weighted.tier,
    weighted.numerator,
    weighted.denominator,
    weighted.value,
    weighted.threshold,
    weighted.platform_p75,
    weighted.is_excellent,
    weighted.peer_percentile,
    weighted.score,
    weighted.component_weight,
    weighted.sub_metric_weight,
    weighted.weight,
    weighted.weight * coalesce(weighted.score, 0) as contribution,
    weighted.weight * (100 - coalesce(weighted.score, 100)) as points_to_gain
from weighted
