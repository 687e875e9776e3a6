-- Grain: one row per date and agent with a conversation or a booking in the 30 dates up to it.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

with windows as (
    select * from {{ ref('int_agent_windows') }}
),

score_weights as (
    select * from {{ ref('agent_scores') }}
),

rated as (
    select
        windows.*,
        {{ rate('windows.duration_ms', 'windows.durations * 1000') }} as average_duration_seconds,
        {{ rate('windows.response_time_ms', 'windows.response_times') }}
            as average_response_time_ms,
        {{ rate('windows.conversations_completed', 'windows.conversations') }} as completion_rate,
        {{ rate('windows.satisfaction', 'windows.satisfactions') }} as customer_satisfaction_avg,
        {{ rate('windows.escalations', 'windows.conversations') }} as escalation_rate,
        {{ rate('windows.conversions', 'windows.conversations') }} as conversion_rate,
        {{ rate('windows.revenue_cents', 'windows.conversions') }} as average_order_value_cents,
        {{ rate('windows.appointments_completed', 'windows.appointments_booked') }}
            as appointment_completion_rate,
        {{ rate('windows.appointments_missed', 'windows.appointments_booked') }} as no_show_rate,
        100 * {{ rate(
            'windows.revenue_cents',
            'windows.conversations * ' ~ var('revenue_target_cents_per_conversation') | int
        ) }} as target_percent
    from windows
    where {{ in_window('windows.as_of_date') }}
),

-- Null where there is nothing to judge: greatest and least would make a bound of it.
parts as (
    select
        rated.*,
        100 * {{ rate('rated.customer_satisfaction_avg', 5) }} as satisfaction_part,
        100 * rated.completion_rate as completion_part,
        100 * rated.conversion_rate as conversion_part,
        case when rated.target_percent is not null then least(100, rated.target_percent) end
            as revenue_part,
        case
            when rated.average_response_time_ms is not null
                then greatest(0, 100 * (1 - {{ rate('rated.average_response_time_ms', 60000) }}))
        end as response_part,
        100 * (1 - rated.escalation_rate) as escalation_part
    from rated
),

scored as (
    select
        parts.*,
        {{ mean_of_known([('parts.satisfaction_part', 1), ('parts.completion_part', 1)]) }}
            as quality_score,
        {{ mean_of_known([('parts.conversion_part', 1), ('parts.revenue_part', 1)]) }}
            as conversion_score,
        {{ mean_of_known([('parts.response_part', 1), ('parts.escalation_part', 1)]) }}
            as efficiency_score
    from parts
),

weights as (
    select
        {{ listed(
            ['quality_score', 'conversion_score', 'efficiency_score'],
            "max(score_weights.weight) filter (where score_weights.score = '{name}') as {name}"
        ) }}
    from score_weights
)

select
    scored.as_of_date,
    scored.agent_id,
    scored.conversations as total_conversations,
    scored.average_duration_seconds,
    scored.average_response_time_ms,
    scored.completion_rate,
    scored.customer_satisfaction_avg,
    scored.escalation_rate,
    scored.revenue_cents as total_revenue_cents,
    scored.conversions,
    scored.conversion_rate,
    scored.average_order_value_cents,
    scored.appointments_booked,
    scored.appointment_completion_rate,
    scored.no_show_rate,
    scored.quality_score,
    scored.conversion_score,
    scored.efficiency_score,
    {{ mean_of_known([
        ('scored.quality_score', 'weights.quality_score'),
        ('scored.conversion_score', 'weights.conversion_score'),
        ('scored.efficiency_score', 'weights.efficiency_score'),
    ]) }} as performance_score
from scored
cross join weights
