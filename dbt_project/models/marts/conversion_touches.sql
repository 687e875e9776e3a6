-- Grain: one row per conversion and session that it may be due to; without one, `direct`.
{{ config(
    pre_hook="{{ delete_window('metric_date') }}",
    indexes=btree([['metric_date'], ['conversion_event_id'], ['touch_session_id']])
) }}

with conversions as (
    select * from {{ ref('int_attribution_conversions') }}
),

touches as (
    select * from {{ ref('int_attribution_touches') }}
)

select
    conversions.event_date as metric_date,
    conversions.conversion_event_id,
    touches.touch_session_id,
    conversions.conversion_name,
    conversions.converted_at,
    conversions.person_id,
    conversions.value_cents,
    {%- for column in campaign_columns() %}
    touches.{{ column }},
    {%- endfor %}
    touches.touch_position,
    touches.touch_count,
    touches.session_start_at,
    {%- for model_name in attribution_model_names() %}
    {{ attribution_credit("'" ~ model_name ~ "'", 'touches') }} as {{ model_name }}_credit,
    {%- endfor %}
    touches.is_direct
from touches
inner join conversions
    on
        touches.conversion_event_id = conversions.conversion_event_id
        and touches.event_date = conversions.event_date
where
    {{ in_window('touches.event_date') }}
    and {{ in_window('conversions.event_date') }}
