-- Grain: one row per conversation.
{{ config(
    pre_hook="{{ delete_replaced_conversations() }}",
    post_hook="{{ delete_lost_conversations() }}",
    indexes=btree([['conversation_id'], ['record_date']])
) }}

with conversation_days as not materialized (
    select * from {{ ref('int_conversation_days') }}
),

recorded as (
    select
        conversation_days.conversation_id,
        max(conversation_days.event_date) as record_date
    from conversation_days
    where {{ in_window('conversation_days.event_date') }}
    group by conversation_days.conversation_id
    {%- if is_incremental() %}
    union all
    select
        conversation_days.conversation_id,
        max(conversation_days.event_date) as record_date
    from conversation_days
    inner join {{ this }} as lost on conversation_days.conversation_id = lost.conversation_id
    where
        {{ before_window('conversation_days.event_date') }}
        and {{ in_window('lost.record_date') }}
    group by conversation_days.conversation_id
    {%- endif %}
),

latest as (
    select recorded.*
    from recorded
    {%- if is_incremental() %}
    where
        not exists (
            select later.conversation_id
            from {{ this }} as later
            where
                later.conversation_id = recorded.conversation_id
                and later.record_date >= {{ window_end() }}
        )
    {%- endif %}
)

select
    conversation_days.conversation_id,
    conversation_days.agent_id,
    conversation_days.user_id,
    conversation_days.channel,
    conversation_days.recorded_at,
    conversation_days.event_date as record_date,
    conversation_days.event_id,
    {{ rate('conversation_days.duration_ms', 1000) }} as duration_seconds,
    {{ listed(conversation_properties(), 'conversation_days.{name}') }},
    conversation_days.currency
from conversation_days
inner join latest
    on
        conversation_days.conversation_id = latest.conversation_id
        and conversation_days.event_date = latest.record_date
