-- Grain: one row per date, scored advisor and sub-metric: what is divided by what.
{#- Not stored: int_advisor_submetrics holds the same rows with what follows from them. -#}
{{ config(materialized='ephemeral', contract={'enforced': false}) }}

{% set measures = (
    ['period_days', 'features_offered'] + advisor_daily_counts() + advisor_span_counts()
) -%}
{% set whens = listed(measures, "when '{name}' then windows.{name}", separator=' ') -%}
with windows as (
    select * from {{ ref('int_advisor_windows') }}
),

definitions as (
    select * from {{ ref('advisor_sub_metrics') }}
),

counted as (
    select
        windows.as_of_date,
        windows.advisor_id_hash,
        windows.tier,
        definitions.component,
        definitions.component_weight,
        definitions.sub_metric,
        definitions.sub_metric_weight,
        definitions.shape,
        definitions.threshold_kind,
        definitions.threshold as defined_threshold,
        cast(case definitions.numerator
            {{ whens }}
        end as double precision) as numerator,
        cast(case definitions.denominator
            {{ whens }}
            else definitions.denominator_number
        end as double precision) as denominator
    from windows
    cross join definitions
    where {{ in_window('windows.as_of_date') }}
)

select
    counted.*,
    case
        when counted.denominator = 0 then null
        when counted.shape = 'capped'
            then least(1, {{ rate('counted.numerator', 'counted.denominator') }})
        when counted.shape = 'inverted'
            then greatest(0, 1 - {{ rate('counted.numerator', 'counted.denominator') }})
        else {{ rate('counted.numerator', 'counted.denominator') }}
    end as value
from counted
