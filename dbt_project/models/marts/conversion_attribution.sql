-- Grain: one row per conversion, model and session that it credits; without one, `direct`.
{{ config(materialized='view') }}

with touches as (
    select * from {{ ref('conversion_touches') }}
),

models as (
    {{ attribution_models() }}
),

credited as (
    select
        touches.*,
        models.model,
        case models.model
            {%- for model_name in attribution_model_names() %}
            when '{{ model_name }}' then touches.{{ model_name }}_credit
            {%- endfor %}
        end as credit
    from touches
    cross join models
)

select
    credited.metric_date,
    credited.conversion_event_id,
    credited.model,
    credited.touch_session_id,
    credited.credit,
    credited.conversion_name,
    credited.converted_at,
    credited.person_id,
    credited.value_cents,
    {%- for column in campaign_columns() %}
    credited.{{ column }},
    {%- endfor %}
    credited.touch_position,
    credited.touch_count,
    credited.session_start_at,
    credited.is_direct
from credited
where credited.credit > 0
