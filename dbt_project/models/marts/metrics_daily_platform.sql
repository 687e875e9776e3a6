-- Grain: one row per metric_date and channel with a conversation recorded.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with conversation_days as (
    select * from {{ ref('int_conversation_days') }}
),

daily as (
    select
        conversation_days.event_date as metric_date,
        conversation_days.channel,
        count(distinct conversation_days.agent_id) as active_agents,
        count(distinct conversation_days.user_id) as customers,
        count(*) as conversations,
        {{ total('conversation_days.revenue_cents') }} as revenue_cents,
        count(conversation_days.conversion_type) as conversions,
        {{ count_where('conversation_days.escalation_required') }} as escalations,
        sum(conversation_days.response_time_avg_ms) as response_time_ms,
        count(conversation_days.response_time_avg_ms) as response_times,
        sum(conversation_days.customer_satisfaction_score) as satisfaction,
        count(conversation_days.customer_satisfaction_score) as satisfactions
    from conversation_days
    where {{ in_window('conversation_days.event_date') }}
    group by conversation_days.event_date, conversation_days.channel
)

select
    daily.metric_date,
    daily.channel,
    daily.active_agents,
    daily.customers,
    daily.conversations,
    daily.revenue_cents,
    {{ rate('daily.conversions', 'daily.conversations') }} as conversion_rate,
    {{ rate('daily.response_time_ms', 'daily.response_times') }} as response_time_ms_avg,
    {{ rate('daily.satisfaction', 'daily.satisfactions') }} as satisfaction_avg,
    {{ rate('daily.escalations', 'daily.conversations') }} as escalation_rate
from daily
