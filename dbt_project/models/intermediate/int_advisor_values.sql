-- Grain: one row per date, scored advisor and sub-metric: what is divided by what.
{#- Not stored: int_advisor_submetrics holds the same rows with what follows from them. -#}
{{ config(materialized='ephemeral', contract={'enforced': false}) }}

{% set measures = [
    'period_days', 'content_days', 'contents_created', 'messages_sent', 'messages_delivered',
    'responses', 'tickets', 'quality_high_days', 'quality_rated_days', 'content_types',
    'contents_decided', 'contents_approved', 'contents_due', 'contents_on_time',
    'delivered_of_sent', 'read_of_delivered', 'messages_forwarded', 'features_adopted',
    'features_offered', 'dashboard_views',
] -%}
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
        {%- for part in ['numerator', 'denominator'] %}
        cast(case definitions.{{ part }}
            {%- for name in measures %}
            when '{{ name }}' then windows.{{ name }}
            {%- endfor %}
            {{- ' else definitions.denominator_number' if part == 'denominator' }}
        end as double precision) as {{ part }}{{ ',' if not loop.last }}
        {%- endfor %}
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
