-- Grain: one row per conversion, model and session that it credits; without one, `direct`.
{{ config(
    pre_hook="{{ delete_window('metric_date') }}",
    indexes=btree([['metric_date'], ['conversion_event_id'], ['touch_session_id']])
) }}

with conversions as (
    select * from {{ ref('int_attribution_conversions') }}
),

touches as (
    select * from {{ ref('int_attribution_touches') }}
),

models as (
    {{ attribution_models() }}
),

credited as (
    select
        touches.*,
        models.model,
        {{ attribution_credit('models.model', 'touches') }} as credit
    from touches
    cross join models
    where {{ in_window('touches.event_date') }}
)

select
    conversions.event_date as metric_date,
    credited.conversion_event_id,
    credited.model,
    credited.touch_session_id,
    credited.credit,
    conversions.conversion_name,
    conversions.converted_at,
    conversions.person_id,
    conversions.value_cents,
    {%- for column in campaign_columns() %}
    credited.{{ column }},
    {%- endfor %}
    credited.touch_position,
    credited.touch_count,
    credited.session_start_at,
    credited.is_direct
from credited
inner join conversions
    on
        credited.conversion_event_id = conversions.conversion_event_id
        and credited.event_date = conversions.event_date
where
    {{ in_window('conversions.event_date') }}
    and credited.credit > 0
