-- Grain: one row per as_of_date and agent with a conversation or a booking in its 30 dates.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

with scores as not materialized (
    select * from {{ ref('int_agent_scores') }}
),

grades as (
    select * from {{ ref('agent_grades') }}
),

areas as (
    select * from {{ ref('agent_areas') }}
),

grade_spans as (
    select
        grades.*,
        lead(grades.minimum_score) over (order by grades.minimum_score) as next_minimum_score
    from grades
),

area_values as (
    select
        scores.as_of_date,
        scores.agent_id,
        areas.*,
        case areas.metric
            {%- for metric in agent_area_metrics() %}
            when '{{ metric }}' then scores.{{ metric }}
            {%- endfor %}
        end as value
    from scores
    cross join areas
    where {{ in_window('scores.as_of_date') }}
),

judged_areas as (
    select
        area_values.as_of_date,
        area_values.agent_id,
        {{ codes_of_areas('strength') }} as strengths,
        {{ codes_of_areas('improvement') }} as improvement_areas
    from area_values
    group by area_values.as_of_date, area_values.agent_id
)

select
    scores.as_of_date,
    scores.agent_id,
    scores.total_conversations,
    scores.average_duration_seconds,
    scores.average_response_time_ms,
    scores.completion_rate,
    scores.customer_satisfaction_avg,
    scores.escalation_rate,
    scores.total_revenue_cents,
    scores.conversions,
    scores.conversion_rate,
    scores.average_order_value_cents,
    scores.appointments_booked,
    scores.appointment_completion_rate,
    scores.no_show_rate,
    scores.quality_score,
    scores.conversion_score,
    scores.efficiency_score,
    scores.performance_score,
    grade_spans.grade,
    coalesce(judged_areas.strengths, '') as strengths,
    coalesce(judged_areas.improvement_areas, '') as improvement_areas
from scores
left join judged_areas
    on
        scores.as_of_date = judged_areas.as_of_date
        and scores.agent_id = judged_areas.agent_id
left join grade_spans
    on
        {{ is_at_least('scores.performance_score', 'grade_spans.minimum_score') }}
        and {{ is_at_least(
            'scores.performance_score', 'grade_spans.next_minimum_score'
        ) }} is not true
where {{ in_window('scores.as_of_date') }}
