-- Grain: one row per metric_date and channel.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with messaging as (
    select * from {{ ref('stg_messaging') }}
),

chat_events as (
    select * from {{ ref('int_chat_events') }}
),

counts as (
    select
        messaging.event_date as metric_date,
        messaging.channel,
        {{ count_where("messaging.event_name = 'message_received'") }} as messages_received,
        {{ count_where("messaging.event_name = 'message_sent'") }} as messages_sent,
        {{ count_where("messaging.event_name = 'message_delivered'") }} as messages_delivered,
        {{ count_where("messaging.event_name = 'message_read'") }} as messages_read,
        {{ count_where("messaging.event_name = 'message_failed'") }} as messages_failed,
        {{ count_where("messaging.event_name = 'campaign_sent'") }} as campaigns_sent,
        {{ total_where('messaging.recipient_count', "messaging.event_name = 'campaign_sent'") }}
            as campaign_recipients,
        {{ count_where("messaging.event_name = 'contact_created'") }} as contacts_created,
        {{ count_where("messaging.event_name = 'chat_assigned'") }} as chats_assigned,
        {{ count_where("messaging.event_name = 'chat_resolved'") }} as chats_resolved
    from messaging
    -- Links of identities are counted nowhere: alone they make no row.
    where {{ in_window('messaging.event_date') }} and messaging.event_name <> 'user_identified'
    group by messaging.event_date, messaging.channel
),

marked as (
    select
        chat_events.*,
        case when chat_events.responses = 1 then chat_events.response_ms end as first_response_ms
    from chat_events
    where {{ in_window('chat_events.event_date') }}
),

chats as (
    select
        marked.event_date as metric_date,
        marked.channel,
        count(marked.response_ms) as responses,
        {{ average_seconds('marked.response_ms') }} as response_seconds_avg,
        {{ percentile_seconds('marked.response_ms', 0.5) }} as response_seconds_p50,
        {{ percentile_seconds('marked.response_ms', 0.95) }} as response_seconds_p95,
        {{ average_seconds('marked.first_response_ms') }} as first_response_seconds_avg,
        {{ percentile_seconds('marked.first_response_ms', 0.5) }} as first_response_seconds_p50,
        -- Whole milliseconds where we know both ends, what producers say where we do not.
        {{ rate(
            'coalesce(sum(marked.resolution_ms), 0)'
            ' + coalesce(sum(marked.reported_resolution_seconds), 0) * 1000',
            '(count(marked.resolution_ms) + count(marked.reported_resolution_seconds)) * 1000'
        ) }} as resolution_seconds_avg
    from marked
    group by marked.event_date, marked.channel
)

select
    counts.metric_date,
    counts.channel,
    counts.messages_received,
    counts.messages_sent,
    counts.messages_delivered,
    counts.messages_read,
    counts.messages_failed,
    counts.campaigns_sent,
    counts.campaign_recipients,
    counts.contacts_created,
    counts.chats_assigned,
    counts.chats_resolved,
    {{ rate('counts.messages_delivered', 'counts.messages_sent') }} as delivery_rate,
    {{ rate('counts.messages_read', 'counts.messages_delivered') }} as read_rate,
    coalesce(chats.responses, 0) as responses,
    chats.response_seconds_avg,
    chats.response_seconds_p50,
    chats.response_seconds_p95,
    chats.first_response_seconds_avg,
    chats.first_response_seconds_p50,
    chats.resolution_seconds_avg
from counts
left join chats
    on
        counts.metric_date = chats.metric_date
        and counts.channel = chats.channel
