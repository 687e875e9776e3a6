-- Grain: one row per event that says a message was sent, delivered or read.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['message_id']])
) }}

with messaging as (
    select * from {{ ref('stg_messaging') }}
)

select
    messaging.event_date,
    messaging.entity_id as message_id,
    messaging.occurred_at,
    messaging.event_id,
    messaging.event_name in ('message_delivered', 'message_read') as is_delivery,
    messaging.channel,
    messaging.country_code,
    messaging.pricing_type,
    messaging.pricing_category,
    messaging.template_id,
    messaging.chat_id
from messaging
where
    {{ in_window('messaging.event_date') }}
    and messaging.event_name in ('message_sent', 'message_delivered', 'message_read')
    and messaging.entity_id is not null
