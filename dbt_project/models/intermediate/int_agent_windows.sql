-- Grain: one row per date and agent with a conversation or a booking in the 30 dates up to it.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

{% set counts = [
    'conversations', 'conversations_completed', 'conversions', 'escalations', 'durations',
    'response_times', 'satisfactions', 'duration_ms', 'revenue_cents', 'appointments_booked',
    'appointments_completed', 'appointments_missed',
] -%}
{% set sums = ['response_time_ms', 'satisfaction'] -%}
with calendar as (
    select * from {{ ref('int_calendar') }}
),

conversation_days as (
    select * from {{ ref('int_conversation_days') }}
),

appointment_days as (
    select * from {{ ref('int_appointment_days') }}
),

-- A record counts for 30 dates, or until the conversation's next one takes over.
record_spans as (
    select
        conversation_days.*,
        least(
            conversation_days.event_date + 30,
            lead(conversation_days.event_date) over (
                partition by conversation_days.conversation_id
                order by conversation_days.event_date
            )
        ) as ends_on
    from conversation_days
    where {{ in_window('conversation_days.event_date', reach=29) }}
),

-- Few rows an agent and date, so that spreading them over their dates costs little; and unlike
-- running sums no value that has left the window can leave a remainder.
spans as (
    select
        record_spans.agent_id,
        record_spans.event_date as starts_on,
        record_spans.ends_on,
        count(*) as conversations,
        {{ count_where('record_spans.completed') }} as conversations_completed,
        count(record_spans.conversion_type) as conversions,
        {{ count_where('record_spans.escalation_required') }} as escalations,
        count(record_spans.duration_ms) as durations,
        count(record_spans.response_time_avg_ms) as response_times,
        count(record_spans.customer_satisfaction_score) as satisfactions,
        {{ total('record_spans.duration_ms') }} as duration_ms,
        {{ total('record_spans.revenue_cents') }} as revenue_cents,
        0 as appointments_booked,
        0 as appointments_completed,
        0 as appointments_missed,
        sum(record_spans.response_time_avg_ms) as response_time_ms,
        sum(record_spans.customer_satisfaction_score) as satisfaction
    from record_spans
    group by record_spans.agent_id, record_spans.event_date, record_spans.ends_on
    union all
    select
        appointment_days.agent_id,
        appointment_days.event_date as starts_on,
        appointment_days.event_date + 30 as ends_on,
        {{ listed(counts[:9], '0 as {name}') }},
        appointment_days.appointments_booked,
        appointment_days.appointments_completed,
        appointment_days.appointments_missed,
        {{ listed(sums, '0 as {name}') }}
    from appointment_days
    where {{ in_window('appointment_days.event_date', reach=29) }}
)

select
    calendar.calendar_date as as_of_date,
    spans.agent_id,
    {{ listed(counts, total('spans.{name}') ~ ' as {name}') }},
    {{ listed(sums, 'cast(coalesce(sum(spans.{name}), 0) as double precision) as {name}') }}
from spans
inner join calendar
    on
        spans.starts_on <= calendar.calendar_date
        and spans.ends_on > calendar.calendar_date
where {{ in_window('calendar.calendar_date') }}
group by calendar.calendar_date, spans.agent_id
having sum(spans.conversations) + sum(spans.appointments_booked) > 0
